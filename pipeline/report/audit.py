"""Does the ledger of a run balance? All commit rows together, and the files that they name, counted again.

Independent counts meet here: what a stage says it gave and what the next says it took; what a ledger says
and what the files hold (pipeline/report/recount.py); tokens dealt and tokens in shards. Equations hold part
by part where they can, so that errors of two parts cannot hide each other.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.annotate.quarantine import ONLY_COUNTED
from pipeline.decide.lists import has_lists
from pipeline.dedup.candidates import FAMILIES
from pipeline.dedup.earlier import all_parts, earlier_runs
from pipeline.dedup.phase import candidate_keys
from pipeline.dedup.stars import star_rows
from pipeline.ledger import IN, OUT, Totals, find_imbalances
from pipeline.pack.phase import SPLITS, planned_shards, shard_number
from pipeline.phase import Job, Row, need_rows
from pipeline.report.recount import Group, Held, recount

PER_PART = (
    "documents",
    "measures",
    "work/signatures",
    "clusters",
    "decisions",
    "work/encoded",
    "work/exchange",
)
# (giving stage, taking stage) inside of one part: the records of one must be those of the other.
_LINKS = (
    ("read", "text"),
    ("text", "gate"),
    ("gate", "measures"),
    ("gate", "signatures"),
    ("gate", "cluster"),
    ("gate", "decide"),
    ("decide", "encode"),
    ("encode", "mix"),
)
# The row-aligned files of a part: the stage whose records out they hold.
_ROW_ALIGNED = {
    "documents": "gate",
    "measures": "measures",
    "work/signatures": "signatures",
    "clusters": "cluster",
    "work/encoded": "encode",
}

# (step, folder of one of its files, the note that counts the file's rows)
_NOTED = (
    ("work/candidates", "work/buckets", "members"),
    ("work/groups", "work/groups", "members"),
    ("work/verified", "work/verified", "verified"),
    ("work/verified", "work/followed", "followed"),
)

Equation = tuple[str, int, int]  # (what is compared, left, right)
HeldByName = dict[str, Held]


@dataclass(frozen=True, slots=True)
class Audit:
    """All commit rows of a run by step, their totals, and what does not balance (nothing, if all is well)."""

    rows: dict[str, list[Row]]
    totals: Totals
    problems: list[str]


def collect_rows(job: Job) -> dict[str, list[Row]]:
    """Commit rows of all steps before the report; raises RuntimeError if a step is not complete."""
    rows = {step: need_rows(job, step, range(job.parts)) for step in PER_PART}
    rows["clusters"] = need_rows(job, "clusters", all_parts(job))
    rows["work/candidates"] = need_rows(job, "work/candidates", candidate_keys(job))
    for step in ("work/groups", "work/verified"):
        rows[step] = need_rows(job, step, range(job.partitions))
    if job.recipe.deduplicate.components == "stars":
        rows |= star_rows(job)
    else:
        rows["work/components"] = need_rows(job, "work/components", [0])
    if has_lists(job):
        rows["work/lists"] = need_rows(job, "work/lists", [0])
    if job.recipe.annotate.perplexity:
        rows["work/perplexity"] = need_rows(job, "work/perplexity", [0])
    if job.recipe.decide.repeated != "none":
        rows["work/repeats"] = need_rows(job, "work/repeats", range(job.parts))
    rows["work/recall"] = need_rows(job, "work/recall", range(job.parts))
    rows["work/precision"] = need_rows(job, "work/precision", [0])
    rows["work/mixture"] = need_rows(job, "work/mixture", [0])
    numbers = [shard_number(*shard) for shard in planned_shards(job)]
    rows["work/shards"] = need_rows(job, "work/shards", numbers)
    return rows


def audit(job: Job) -> Audit:
    """Collects the rows of a run and holds every equation against them and against the files."""
    rows = collect_rows(job)
    totals = Totals(entry for of_step in rows.values() for row in of_step for entry in row.ledger)
    # Exchange files are gone when the shards are there.
    files = [file for step in rows if step != "work/exchange" for row in rows[step] for file in row.files]
    held: HeldByName = {}
    equations: list[Equation] = []
    for file, found in recount(job.storage(), files):
        held[file.name] = found
        equations.append((f"rows of {file.name} in its commit row and in the file", file.rows, found.rows))
    for part in range(job.parts):
        of_part = {step: rows[step][part] for step in PER_PART}
        equations += [(f"part {part}: {what}", a, b) for what, a, b in _in_part(job, of_part, held)]
    equations += _cut_out(rows, held)
    equations += _shuffles(job, rows, held)
    equations += _mixture(rows)
    equations += _shards(job, rows, totals)
    splits = totals.side("splits", IN).records
    equations.append(("splits in the plan and splits in the ledger", job.parts, splits))
    return Audit(rows, totals, [*_stages(rows), *find_imbalances(totals, equations)])


def _stages(rows: dict[str, list[Row]]) -> Iterator[str]:
    """What does not balance inside of one commit row."""
    for step, of_step in rows.items():
        for row in of_step:
            for problem in find_imbalances(Totals(row.ledger), ()):
                yield f"{step} {row.number}: {problem}"


def _in_part(job: Job, rows: dict[str, Row], held: HeldByName) -> Iterator[Equation]:
    """Between the stages of one part, and between them and its files."""
    totals = Totals(entry for row in rows.values() for entry in row.ledger)
    for before, after in _LINKS:
        left, right = totals.side(before, OUT).records, totals.side(after, IN).records
        yield f"records out of {before} and into {after}", left, right
    if read := totals.side("read", IN).bytes:  # rows of Parquet have no bytes of their own
        yield "bytes of spans and bytes of records", totals.side("input bytes", OUT).records, read
    for step, stage in _ROW_ALIGNED.items():
        found = held[rows[step].file(step).name].rows
        yield f"records out of {stage} and rows in {step}/", totals.side(stage, OUT).records, found
    yield from _set_aside(rows["documents"], totals, held)
    yield from _decided(rows["decisions"], totals, held)
    if (noted := rows["measures"].notes.get("overlaps")) is not None:
        overlaps = held[rows["measures"].file("work/overlaps").name].rows
        yield "n-grams of evaluation sets and rows of work/overlaps", noted, overlaps
    signed = held[rows["work/signatures"].file("work/signatures").name].values
    permutations = job.recipe.minhash.bands * job.recipe.minhash.rows
    values = totals.side("signatures", OUT).records * permutations
    yield "values of the signatures and of the file", values, signed.get("signature.list.element", 0)
    planted = held[rows["work/signatures"].file("work/planted").name].rows
    yield "copies planted and rows of the file", rows["work/signatures"].notes["planted"], planted
    tokens = held[rows["work/encoded"].file("work/encoded").name].values.get("tokens.list.element", 0)
    kept = rows["work/encoded"].notes["kept"]
    encoded, copies = totals.side("encode", OUT), totals.side("copies", OUT)
    yield "tokens encoded and tokens in the file", encoded.tokens, tokens
    yield "tokens encoded and tokens noted by source", encoded.tokens, sum(entry[4] for entry in kept)
    yield "documents encoded and noted by source", encoded.records, sum(entry[3] for entry in kept)
    yield "tokens of the copies drawn and dealt", totals.side("copies", IN).tokens, copies.tokens
    after = sum(rows["work/exchange"].notes["tokens_after"].values())
    yield "tokens dealt with their ends, and noted by source", copies.tokens + copies.records, after


def _set_aside(documents: Row, totals: Totals, held: HeldByName) -> Iterator[Equation]:
    """Every record that is to be kept for replay, by reason."""
    sampled = documents.notes.get("sampled", {})
    expected: dict[Group, int] = {("gate", reason): count for reason, count in sampled.items()}
    for stage, only_counted in ONLY_COUNTED.items():
        for entry in totals.dropped(stage):
            if entry.reason not in only_counted:
                expected[stage, entry.reason] = entry.records
    found = held[documents.file("quarantine").name].groups
    for key in sorted({*expected, *found}):
        yield f"records dropped and set aside as {key[0]} {key[1]}", expected.get(key, 0), found.get(key, 0)


def _decided(decisions: Row, totals: Totals, held: HeldByName) -> Iterator[Equation]:
    """Every decision, by reason."""
    expected: dict[Group, int] = {(True, ""): totals.side("decide", OUT).records}
    expected |= {(False, entry.reason): entry.records for entry in totals.dropped("decide")}
    found = held[decisions.file("decisions").name].groups
    for key in sorted({*expected, *found}):
        what = f"documents dropped as {key[1]}" if key[1] else "documents kept"
        yield f"{what}, by the ledger and in the file", expected.get(key, 0), found.get(key, 0)


def _cut_out(rows: dict[str, list[Row]], held: HeldByName) -> Iterator[Equation]:
    """The edits of repeated passages are row-aligned, if the recipe asks for them."""
    for row in rows.get("work/repeats", ()):
        documents = rows["documents"][row.number].file("documents").rows
        found = held[row.file("work/repeats").name].rows
        yield f"part {row.number}: documents and rows of work/repeats", documents, found


def _shuffles(job: Job, rows: dict[str, list[Row]], held: HeldByName) -> Iterator[Equation]:
    """What was sent into the shuffle of candidates, what came out of it, and what became of it."""
    received, indexed = dict.fromkeys(FAMILIES, 0), dict.fromkeys(FAMILIES, 0)
    edges = sum(row.notes["verified"] for row in rows["work/verified"])
    for row in rows["work/candidates"]:
        family = row.notes["family"]
        received[family] += row.notes["rows"]
        edges += row.notes["edges"]
        found = held[row.file("work/candidates").name].rows
        yield f"edges of partition {row.number} and rows in its file", row.notes["edges"], found
        for file in row.files:
            if file.name.startswith("index/"):
                indexed[family] += held[file.name].rows
    for step, folder, noted in _NOTED:
        for row in rows[step]:
            if noted in row.notes:
                found = held[row.file(folder).name].rows
                yield f"{noted} of {step} {row.number} and rows of {folder}", row.notes[noted], found
    for row in rows.get("work/components", ()):
        joined = held[row.file("work/components").name].rows
        yield "edges found and edges joined", edges, row.notes["edges"]
        yield "documents joined and rows of the forest", row.notes["joined"], joined
    files = [held[row.file("documents").name] for row in rows["documents"]]
    documents = sum(file.rows for file in files)
    yield "documents and ids that reached the index", documents, indexed["id"]
    urls = sum(file.values.get("url_digest", 0) for file in files)
    yield "documents with a URL and URLs that reached the index", urls, indexed["url"]
    if earlier_runs(job):  # whose documents were received, too
        return
    if job.recipe.deduplicate.text or job.recipe.deduplicate.near:
        yield "documents and text digests that were compared", documents, received["text"]
    if job.recipe.deduplicate.near:  # of equal texts in a part, one sends its bands
        signed = sum(row.notes["texts"] + row.notes["planted"] for row in rows["work/signatures"])
        yield "bands signed and bands compared", signed * job.recipe.minhash.bands, received["band"]


def _mixture(rows: dict[str, list[Row]]) -> Iterator[Equation]:
    """The frozen mixture against what was encoded."""
    kept = [entry for row in rows["work/encoded"] for entry in row.notes["kept"]]
    sources = rows["work/mixture"][0].notes["sources"]
    for what, at in (("documents", 3), ("tokens", 4)):
        mixed = sum(source[f"{split}_{what}"] for source in sources for split in SPLITS)
        yield f"{what} encoded and {what} in the mixture", sum(entry[at] for entry in kept), mixed


def _shards(job: Job, rows: dict[str, list[Row]], totals: Totals) -> Iterator[Equation]:
    """What was dealt and what stands in the shards."""
    dealt, came, left = totals.side("copies", OUT), totals.side("shards", IN), totals.side("shards", OUT)
    yield "copies dealt and copies in shards", dealt.records, came.records
    yield "tokens dealt with their ends, and tokens in shards", dealt.tokens + dealt.records, came.tokens
    trained = sum(tokens for row in rows["work/exchange"] for *_, tokens in row.notes["trained"])
    written = sum(row.notes["tokens"] for row in rows["work/shards"] if row.notes["split"] == "train")
    yield "training tokens by source and language, and in shards", trained, written
    yield "tokens gathered and tokens written", came.tokens, left.tokens
    for row in rows["work/shards"]:
        name = f"{row.notes['split']} shard {row.notes['shard']}"
        needed = -(-row.notes["tokens"] // job.recipe.pack.row_tokens)
        yield f"rows of {name} by tokens and by row", needed, sum(file.rows for file in row.files)
        written = Totals(row.ledger).side("shards", OUT).tokens
        yield f"tokens of {name} by ledger and by row", written, row.notes["tokens"]
