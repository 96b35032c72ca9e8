"""Does the ledger of a run balance? All commit rows together, and the files that they name, counted again.

Independent counts meet here: what a stage says it gave and what the next says it took; what a ledger says and
how many rows the footers of the Parquet and Arrow files hold; tokens dealt and tokens in shards.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dedup.candidates import FAMILIES
from pipeline.ledger import IN, OUT, Totals, find_imbalances
from pipeline.pack.phase import planned_shards, shard_number
from pipeline.parts import PartFile
from pipeline.phase import Job, Row, need_rows
from pipeline.storage import Storage

PER_PART = (
    "documents",
    "measures",
    "work/signatures",
    "clusters",
    "decisions",
    "work/encoded",
    "work/exchange",
)
_READERS = 16

# (giving stage, taking stage): the records of one must be those of the other.
_LINKS = (
    ("read", "text"),
    ("text", "gate"),
    ("gate", "measures"),
    ("gate", "signatures"),
    ("gate", "cluster"),
    ("gate", "decide"),
    ("decide", "encode"),
    ("encode", "mix"),
    ("copies", "shards"),
)


@dataclass(frozen=True, slots=True)
class Audit:
    """All commit rows of a run by step, their totals, and what does not balance (nothing, if all is well)."""

    rows: dict[str, list[Row]]
    totals: Totals
    problems: list[str]


def collect_rows(job: Job) -> dict[str, list[Row]]:
    """Commit rows of all steps before the report; raises RuntimeError if a step is not complete."""
    rows = {step: need_rows(job, step, range(job.parts)) for step in PER_PART}
    rows["work/candidates"] = need_rows(job, "work/candidates", range(len(FAMILIES) * job.partitions))
    rows["work/components"] = need_rows(job, "work/components", [0])
    rows["work/mixture"] = need_rows(job, "work/mixture", [0])
    rows["work/shards"] = need_rows(
        job, "work/shards", [shard_number(*shard) for shard in planned_shards(job)]
    )
    return rows


def audit(job: Job) -> Audit:
    """Collects the rows of a run and holds every equation against them."""
    rows = collect_rows(job)
    totals = Totals(entry for of_step in rows.values() for row in of_step for entry in row.ledger)
    equations = [
        *_between_stages(totals),
        *_tokens(totals, rows["work/shards"], job),
        *_shuffles(rows, totals, job),
        *_footers(job.storage(), rows, totals),
    ]
    equations.append(
        ("splits in the plan and splits in the ledger", job.parts, totals.side("splits", IN).records)
    )
    return Audit(rows, totals, find_imbalances(totals, equations))


def _between_stages(totals: Totals) -> Iterable[tuple[str, int, int]]:
    for before, after in _LINKS:
        yield (
            f"records out of {before} and into {after}",
            totals.side(before, OUT).records,
            totals.side(after, IN).records,
        )


def _tokens(totals: Totals, shards: list[Row], job: Job) -> Iterable[tuple[str, int, int]]:
    dealt = totals.side("copies", OUT)
    yield (
        "tokens dealt with their ends, and tokens in shards",
        dealt.tokens + dealt.records,
        totals.side("shards", IN).tokens,
    )
    yield (
        "tokens gathered and tokens written",
        totals.side("shards", IN).tokens,
        totals.side("shards", OUT).tokens,
    )
    for row in shards:
        rows_needed = -(-row.notes["tokens"] // job.recipe.pack.row_tokens)
        in_files = sum(file.rows for file in row.files)
        yield (
            f"rows of {row.notes['split']} shard {row.notes['shard']} by tokens and by row",
            rows_needed,
            in_files,
        )


def _shuffles(rows: dict[str, list[Row]], totals: Totals, job: Job) -> Iterable[tuple[str, int, int]]:
    received = dict.fromkeys(FAMILIES, 0)
    for row in rows["work/candidates"]:
        received[row.notes["family"]] += row.notes["rows"]
    documents = totals.side("gate", OUT).records
    yield "documents and ids that reached the index", documents, received["id"]
    if job.recipe.deduplicate.text:
        yield "documents and text digests that were compared", documents, received["text"]
    if job.recipe.deduplicate.near:
        signed = sum(row.notes["signed"] for row in rows["work/signatures"])
        yield "bands signed and bands compared", signed * job.recipe.minhash.bands, received["band"]


def _footers(storage: Storage, rows: dict[str, list[Row]], totals: Totals) -> Iterable[tuple[str, int, int]]:
    """Rows that the files themselves hold, against the ledger.

    Exchange files are gone when shards are there.
    """
    stages = {
        "documents": "gate",
        "measures": "measures",
        "work/signatures": "signatures",
        "clusters": "cluster",
        "work/encoded": "encode",
    }
    with ThreadPoolExecutor(_READERS) as pool:
        for step, of_step in rows.items():
            if step == "work/exchange":
                continue
            files = [file for row in of_step for file in row.files]
            held = list(pool.map(lambda file: rows_in_file(storage, file), files))
            for file, found in zip(files, held, strict=True):
                yield f"rows of {file.name} in its commit row and in the file", file.rows, found
            if step in stages:
                found = sum(
                    n for file, n in zip(files, held, strict=True) if file.name.startswith(f"{step}/")
                )
                yield (
                    f"records out of {stages[step]} and rows in {step}/",
                    totals.side(stages[step], OUT).records,
                    found,
                )


def rows_in_file(storage: Storage, file: PartFile) -> int:
    """Rows by the footer of a Parquet or Arrow file; -1 if it is not there or has another size."""
    if storage.size(file.name) != file.bytes:
        return -1
    with storage.open_input(file.name) as source:
        if file.name.endswith(".parquet"):
            return pq.ParquetFile(source).metadata.num_rows
        reader = pa.ipc.open_file(source)
        return sum(reader.get_batch(number).num_rows for number in range(reader.num_record_batches))
