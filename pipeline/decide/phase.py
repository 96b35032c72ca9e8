"""The Decide phase: the one place where documents are dropped, by rules and survivors from stored columns.

Members of clusters meet in one packed shuffle by cluster; what they learn goes back to their part in a second
one. Documents that are alone never leave their part.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.decide import survivors
from pipeline.decide.percentiles import bucket_edges
from pipeline.decide.provenance import choices, decided_columns, fail_provenance, provenance_columns
from pipeline.decide.score_sampling import fail_sampling
from pipeline.decide.takedowns import NOBODY, TAKEDOWN, count_taken, taken_by
from pipeline.decide.thresholds import RULE_NAMES, failing_rules, max_test_hits
from pipeline.dedup.earlier import all_parts, earlier_runs, part_batches, whose_part
from pipeline.kernels.keyed import mix
from pipeline.ledger import IN, OUT, Count
from pipeline.parts import PartWriter, read_batches
from pipeline.phase import Job, Step, commit, fingerprint, is_done, need_rows, read_rows
from pipeline.rules import RULES, columns_of
from pipeline.timings import Timings

_VERSION = 2
_BLOCK_ROWS = 50_000  # MEMBER rows per block: about 5 MB
DUPLICATE = "duplicate"

_DOCUMENT_COLUMNS = ["id", "source", "url", "date", "text_digest"]
_MEASURE_COLUMNS = sorted({name for rule in RULES for name in columns_of(rule)} | {"language", "test_hits"})


# --- decisions: rules, then one survivor per cluster --------------------------------------------------------


def _upstream(job: Job) -> list[str]:
    parts = {"documents": range(job.parts), "measures": range(job.parts), "clusters": all_parts(job)}
    return [row.content for step, numbers in parts.items() for row in need_rows(job, step, numbers)]


def _keys_of_decisions(job: Job) -> Iterator[tuple[int, bytes]]:
    """The parts that have to be decided: all, where a survivor may have changed."""
    sources = [(source.name, source.kind, source.priority) for source in job.recipe.sources]
    earlier = [run.content for run in earlier_runs(job)]
    made_of = fingerprint(_VERSION, job.recipe.seed, choices(job), sources, _upstream(job), earlier)
    for part, row in enumerate(read_rows(job, "decisions", range(job.parts))):
        if not is_done(job, row, made_of):
            yield part, made_of.encode()


def _plan_decisions(job: Job) -> Iterator[tuple[int, bytes]]:
    if any(True for _ in _keys_of_decisions(job)):
        yield from ((part, b"") for part in all_parts(job))


def joined_batches(
    job: Job, part: int, columns: list[str]
) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch, pa.RecordBatch]]:
    """(documents, measures, clusters) batches of a part, row-aligned, one per row group."""
    storage = job.storage()
    rows = [need_rows(job, step, [part])[0].file(step) for step in ("documents", "measures", "clusters")]
    clusters = pa.Table.from_batches(
        list(read_batches(storage, rows[2])), schema.arrow_schema(schema.CLUSTERS)
    ).combine_chunks()
    start = 0
    for documents, measures in zip(
        read_batches(storage, rows[0], columns=columns),
        read_batches(storage, rows[1], columns=_MEASURE_COLUMNS),
        strict=True,
    ):
        yield documents, measures, clusters.slice(start, documents.num_rows).to_batches()[0]
        start += documents.num_rows


def evaluate_rules(job: Job, documents: pa.RecordBatch, measures: pa.RecordBatch) -> np.ndarray:
    """bool [rows, len(RULE_NAMES)] of failing rules for documents of one part (one source)."""
    if not documents.num_rows:
        return np.zeros((0, len(RULE_NAMES)), bool)
    name = documents["source"][0].as_py()
    source = next(source for source in job.recipe.sources if source.name == name)
    most = max_test_hits(job.recipe.decontaminate)
    table = job.recipe.decide.thresholds
    failing = failing_rules(measures, source.kind, table, most, bucket_edges(job))
    fail_provenance(job, documents, source, failing)
    thresholds, seed = job.recipe.decide.thresholds, job.recipe.seed
    fail_sampling(documents, measures, source.kind, thresholds, seed, failing)
    return failing


def find_members(job: Job, part: int) -> Iterator[np.ndarray]:
    """MEMBER rows of a part's documents that are in clusters of two or more, batch by batch."""
    if part >= job.parts:
        yield from _find_earlier_members(job, part)
        return
    ranks = {source.name: (source.priority, source.dump) for source in job.recipe.sources}
    start = schema.locator(part, 0)
    columns = list(dict.fromkeys([*_DOCUMENT_COLUMNS, *provenance_columns(job)]))
    for documents, measures, clusters in joined_batches(job, part, columns):
        shared = clusters["cluster_size"].to_numpy() > 1
        members = np.zeros(documents.num_rows, survivors.MEMBER)
        members["cluster"] = clusters["cluster"].to_numpy()
        members["locator"] = np.arange(start, start + documents.num_rows, dtype=np.uint64)
        members["passes"] = ~evaluate_rules(job, documents, measures).any(axis=1)
        found = np.array([ranks[name] for name in documents["source"].to_pylist()], np.int64).reshape(-1, 2)
        wide = {"date": documents["date"], "url": documents["url"]}
        wide |= {name: measures[name] for name in ("characters", "language_score")}
        wide |= {"priority": pa.array(found[:, 0]), "dump": pa.array(found[:, 1])}
        members["keys"] = survivors.survivor_keys(pa.record_batch(wide), job.recipe.decide.survivor)
        members["digest"], members["id"] = _big_endian(documents["text_digest"]), _big_endian(documents["id"])
        start += documents.num_rows
        yield members[shared]


def _find_earlier_members(job: Job, part: int) -> Iterator[np.ndarray]:
    """MEMBER rows of an earlier run's documents that are in a cluster of this one; what it kept passes. They
    carry the id of their cluster there.
    """
    file = need_rows(job, "clusters", [part])[0].file("clusters")
    clusters = [batch.to_struct_array() for batch in read_batches(job.storage(), file)]
    joined = pa.concat_arrays(clusters) if clusters else pa.array([], pa.struct([]))
    start = 0
    _, number, _ = whose_part(job, part)  # where it survived, also if it was taken down: its text stays out
    for decisions in part_batches(job, part, "decisions", ["survivor", "cluster_id"]):
        here = pa.RecordBatch.from_struct_array(joined.slice(start, decisions.num_rows))
        members = np.zeros(decisions.num_rows, survivors.MEMBER)
        first = schema.locator(part, start)
        members["cluster"] = here["cluster"].to_numpy()
        members["locator"] = np.arange(first, first + decisions.num_rows, dtype=np.uint64)
        members["passes"] = survivors.stands_for_itself(decisions["survivor"], schema.locator(number, start))
        members["id"] = members["digest"] = _big_endian(decisions["cluster_id"])
        start += decisions.num_rows
        yield members[here["cluster_size"].to_numpy() > 1]


def _scatter_members(
    job: Job, part: int, payload: bytes, blocks: Iterable[bytes]
) -> Iterator[tuple[int, bytes]]:
    """Members of clusters of two or more, to their cluster's partition."""
    for members in find_members(job, part):
        yield from _by_partition(members, job.partitions)


def _by_partition(members: np.ndarray, partitions: int) -> Iterator[tuple[int, bytes]]:
    partition = mix(members["cluster"]) % np.uint64(partitions)
    for number in np.unique(partition):
        rows = members[partition == number]
        for start in range(0, len(rows), _BLOCK_ROWS):
            yield int(number), rows[start : start + _BLOCK_ROWS].tobytes()


def judge_members(job: Job, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(part, VERDICT row) for every MEMBER row of whole clusters that is of this run: who survives, and who
    is held out. A document that meets earlier runs has a row for every partner.
    """
    verdicts = np.zeros(len(members), survivors.VERDICT)
    verdicts["row"] = members["locator"] & np.uint64(0xFFFFFFFF)
    if earlier_runs(job):
        members = survivors.earlier_first(members, job.parts)
    verdicts["survivor"], verdicts["cluster_id"], verdicts["by"] = survivors.choose_survivors(members)
    decide = job.recipe.decide
    verdicts["validation"] = survivors.is_validation(
        verdicts["cluster_id"], decide.validation_share, job.recipe.seed
    )
    parts = (members["locator"] >> np.uint64(32)).astype(np.int64)
    if not earlier_runs(job):
        return parts, verdicts
    met, partners = survivors.find_partners(members, job.parts)
    alone = np.setdiff1d(np.flatnonzero(parts < job.parts), met)
    of_partners = verdicts[met]
    of_partners["has_partner"], of_partners["partner"] = 1, partners
    return parts[np.append(alone, met)], np.append(verdicts[alone], of_partners)


def _scatter_verdicts(
    job: Job, key: int, payload: bytes, blocks: Iterable[bytes]
) -> Iterator[tuple[int, bytes]]:
    """Chooses the survivors of whole clusters and tells every member's part."""
    members = np.frombuffer(b"".join(blocks), survivors.MEMBER)
    parts, verdicts = judge_members(job, members)
    for part in np.unique(parts):
        rows = verdicts[parts == part]
        for start in range(0, len(rows), _BLOCK_ROWS):
            yield int(part), rows[start : start + _BLOCK_ROWS].tobytes()


def _finish_decisions(job: Job, part: int, payload: bytes, blocks: Iterable[bytes]) -> None:
    timings, storage, count = Timings(), job.storage(), Count()
    verdicts = np.frombuffer(b"".join(blocks), survivors.VERDICT)
    decisions = schema.arrow_schema(schema.DECISIONS)
    taken: Counter[int] = Counter()
    start = 0
    with storage.scratch() as scratch:
        writer = PartWriter(scratch, "decisions", part, decisions)
        for documents, measures, clusters in joined_batches(job, part, decided_columns(job)):
            with timings.stage("rules"):
                failing = evaluate_rules(job, documents, measures)
            with timings.stage("survivors"):
                here = verdicts[(verdicts["row"] >= start) & (verdicts["row"] < start + documents.num_rows)]
                batch = decide_batch(job, start + schema.locator(part, 0), documents, clusters, failing, here)
            count.add("decide", IN, documents.num_rows)
            count.add("decide", OUT, int(np.count_nonzero(batch["kept"].to_numpy(zero_copy_only=False))))
            for reason in batch["reason"].drop_null().value_counts().to_pylist():
                if reason["values"]:
                    count.add("decide", reason["values"], reason["counts"])
            count_taken(job, documents, taken)
            writer.write(batch)
            start += documents.num_rows
        notes = {"taken": sorted(taken.items())} if taken else {}  # documents by the number of the request
        files, made_of = [writer.finish()], payload.decode()
        commit(job, "decisions", part, made_of=made_of, files=files, count=count, notes=notes)
    timings.save(storage, "decisions", part)


def decide_batch(
    job: Job,
    first: int,
    documents: pa.RecordBatch,
    clusters: pa.RecordBatch,
    failing: np.ndarray,
    verdicts: np.ndarray,
) -> pa.RecordBatch:
    """DECISIONS of one batch whose first document has the locator `first`; `verdicts` are those of its
    members.
    """
    rows = documents.num_rows
    locators = np.arange(first, first + rows, dtype=np.uint64)
    passes = ~failing.any(axis=1)
    survivor = np.where(passes, locators, survivors.NONE)
    cluster_id = _big_endian(documents["id"]).astype(">u8").view("S16").ravel().copy()
    validation = survivors.is_validation(cluster_id, job.recipe.decide.validation_share, job.recipe.seed)
    partners = _partners(verdicts, first, rows)
    verdicts = verdicts[np.unique(verdicts["row"], return_index=True)[1]]
    at = (verdicts["row"] - np.uint32(first & 0xFFFFFFFF)).astype(np.int64)
    shared = clusters["cluster_size"].to_numpy() > 1
    if len(at) != np.count_nonzero(shared) or not shared[at].all():
        raise RuntimeError(
            f"{np.count_nonzero(shared)} documents are in clusters, but {len(at)} came back from them"
        )
    survivor[at], cluster_id[at], validation[at] = (
        verdicts["survivor"],
        verdicts["cluster_id"],
        verdicts["validation"],
    )
    by = np.full(rows, "", object)
    by[at] = survivors.name_deciders(verdicts["by"], job.recipe.decide.survivor)
    by[survivor == survivors.NONE] = ""
    taken = taken_by(job, documents) != NOBODY
    kept = passes & (survivor == locators) & ~taken
    first_rule = failing.argmax(axis=1)
    names = np.asarray([*RULE_NAMES, DUPLICATE, ""], object)
    reason = names[np.where(kept, len(RULE_NAMES) + 1, np.where(passes, len(RULE_NAMES), first_rule))]
    reason[taken] = TAKEDOWN
    where, which = np.nonzero(failing)
    offsets = np.searchsorted(where, np.arange(rows + 1)).astype(np.int32)
    failing_names = pa.DictionaryArray.from_arrays(which.astype(np.int32), pa.array(RULE_NAMES)).cast(
        pa.string()
    )
    return pa.RecordBatch.from_arrays(
        [
            pa.array(kept),
            pa.array(reason.tolist(), pa.string()),
            pa.ListArray.from_arrays(pa.array(offsets), failing_names),
            pa.Array.from_buffers(pa.binary(16), rows, [None, pa.py_buffer(cluster_id.tobytes())]),
            pa.array(survivor, mask=survivor == survivors.NONE),
            pa.array(by.tolist(), pa.string()),
            pa.array(validation),
            partners,
        ],
        schema=schema.arrow_schema(schema.DECISIONS),
    )


def _partners(verdicts: np.ndarray, first: int, rows: int) -> pa.ListArray:
    """The partners of each row of a batch whose first document has the locator `first`."""
    named = verdicts[verdicts["has_partner"] == 1]
    named = named[np.argsort(named["row"], kind="stable")]
    bounds = np.searchsorted(
        named["row"], np.arange(rows + 1, dtype=np.uint64) + np.uint64(first & 0xFFFFFFFF)
    )
    ids = pa.Array.from_buffers(
        schema.ID, len(named), [None, pa.py_buffer(np.ascontiguousarray(named["partner"]).tobytes())]
    )
    return pa.ListArray.from_arrays(pa.array(bounds.astype(np.int32)), ids)


def _big_endian(digests: pa.Array) -> np.ndarray:
    """uint64 [n, 2] of 16-byte values whose numeric order is their byte order."""
    return np.frombuffer(b"".join(digests.to_pylist()), ">u8").reshape(-1, 2)


DECISIONS = Step(
    "decisions", _plan_decisions, _finish_decisions, (_scatter_members, _scatter_verdicts), _keys_of_decisions
)
