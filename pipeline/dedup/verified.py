"""The step work/verified: the members of every group compared, on evidence that their parts send.

A partition asks each part for what it needs of its documents, once (signatures, or with `jaccard` and
`containment` the shingle sets of the text itself), and compares (kernels/compare.py). What it writes are
edges between similar documents, and apart from them which leaders the planted copies followed.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.dedup import candidates
from pipeline.dedup.earlier import chosen_rows, earlier_runs
from pipeline.dedup.evidence import (
    PLANTED,
    REQUEST,
    pack_evidence,
    signature_evidence,
    take_evidence,
    unpack_evidence,
)
from pipeline.dedup.phase import write_edges
from pipeline.dedup.texts import shingle_evidence
from pipeline.kernels import compare
from pipeline.kernels.compare import MILLION, Evidence
from pipeline.ledger import Count
from pipeline.parts import PartWriter, read_batches
from pipeline.phase import Job, Step, commit, fingerprint, is_done, need_rows, read_rows
from pipeline.timings import Timings

_VERSION = 1
_MEASURES = {
    "none": compare.NONE,
    "signature": compare.SIGNATURE,
    "jaccard": compare.JACCARD,
    "containment": compare.CONTAINMENT,
}


def _keys_of_verified(job: Job) -> Iterator[tuple[int, bytes]]:
    choice = job.recipe.deduplicate
    groups = [row.content for row in need_rows(job, "work/groups", range(job.partitions))]
    signatures = [row.content for row in need_rows(job, "work/signatures", range(job.parts))]
    earlier = [run.content for run in earlier_runs(job)]
    parameters = (choice.verify, choice.threshold, job.parts)
    made_of = fingerprint(_VERSION, parameters, groups, signatures, earlier)
    for key, row in enumerate(read_rows(job, "work/verified", range(job.partitions))):
        if not is_done(job, row, made_of):
            yield key, made_of.encode()


def _read_groups(job: Job, number: int) -> dict[str, np.ndarray]:
    """Columns of a partition's groups, sorted by group and order of members."""
    file = need_rows(job, "work/groups", [number])[0].file("work/groups")
    batches = list(read_batches(job.storage(), file, columns=["group", "rank", "locator"]))
    table = pa.Table.from_batches(batches) if batches else schema.GROUPS.empty_table()
    return {name: table[name].to_numpy() for name in ("group", "rank", "locator")}


def _whom(groups: dict[str, np.ndarray]) -> np.ndarray:
    """uint64 per member: its locator, marked if the planted copy of that document is meant."""
    return groups["locator"] | np.where(groups["rank"] == candidates.FOLLOWER, PLANTED, np.uint64(0))


def _scatter_requests(
    job: Job, number: int, payload: bytes, blocks: Iterable[bytes]
) -> Iterator[tuple[int, bytes]]:
    """Asks every part for the evidence of its members of this partition's groups."""
    if job.recipe.deduplicate.verify == "none":
        return
    whom = candidates.distinct_values(_whom(_read_groups(job, number)))
    requests = np.empty(len(whom), REQUEST)
    requests["row"], requests["partition"] = whom & np.uint64(0xFFFFFFFF), number
    requests["planted"] = whom >> np.uint64(63)
    yield from candidates.scatter_blocks(requests, ((whom & ~PLANTED) >> np.uint64(32)).astype(np.int64))


def _scatter_evidence(
    job: Job, part: int, payload: bytes, blocks: Iterable[bytes]
) -> Iterator[tuple[int, bytes]]:
    """Sends every partition the evidence that it asked this part for."""
    timings = Timings()
    requests = np.frombuffer(b"".join(blocks), REQUEST)
    requests = np.sort(requests, order=["row", "planted", "partition"])
    documents, copies = requests[requests["planted"] == 0], requests[requests["planted"] == 1]
    with timings.stage("evidence"):
        yield from _answers(job, part, documents, np.uint64(0), _evidence_of_documents(job, part, documents))
        if len(copies):
            yield from _answers(job, part, copies, PLANTED, _evidence_of_copies(job, part, copies))
    timings.save(job.storage(), "work/verified-evidence", part)


def _answers(
    job: Job, part: int, requests: np.ndarray, mark: np.uint64, found: Iterable[tuple[np.ndarray, Evidence]]
) -> Iterator[tuple[int, bytes]]:
    """Blocks by partition, for evidence that comes as (rows, evidence), in rising order of rows."""
    first = np.uint64(schema.locator(part, 0))
    for rows, evidence in found:
        low, high = np.searchsorted(requests["row"], [rows[0], rows[-1] + 1])
        here = requests[low:high]
        for partition in np.unique(here["partition"]):
            asked = here["row"][here["partition"] == partition]
            chosen = take_evidence(evidence, np.searchsorted(rows, asked))
            for block in pack_evidence(first | asked.astype(np.uint64) | mark, chosen):
                yield int(partition), block


def _evidence_of_documents(
    job: Job, part: int, requests: np.ndarray
) -> Iterator[tuple[np.ndarray, Evidence]]:
    by_text = job.recipe.deduplicate.verify != "signature"
    wanted = candidates.distinct_values(requests["row"])
    step, column = ("documents", "text") if by_text else ("work/signatures", schema.SIGNATURE_FIELD)
    for rows, chosen in chosen_rows(job, part, step, column, wanted):
        yield rows, shingle_evidence(job, chosen) if by_text else signature_evidence(chosen)


def _evidence_of_copies(job: Job, part: int, requests: np.ndarray) -> Iterator[tuple[np.ndarray, Evidence]]:
    file = need_rows(job, "work/signatures", [part])[0].file("work/planted")
    by_text = job.recipe.deduplicate.verify != "signature"
    column = "shingles" if by_text else schema.SIGNATURE_FIELD
    wanted = candidates.distinct_values(requests["row"])
    for batch in read_batches(job.storage(), file, columns=["row", column]):
        rows = batch["row"].to_numpy()
        asked = np.isin(rows, wanted)
        if asked.any():
            chosen = batch[1].filter(pa.array(asked))
            yield rows[asked], _list_evidence(chosen) if by_text else signature_evidence(chosen)


def _list_evidence(sets: pa.Array) -> Evidence:
    lengths = sets.value_lengths().to_numpy().astype(np.int64)
    return Evidence(np.concatenate(([0], np.cumsum(lengths))), sets.flatten().to_numpy())


def least_ppm(job: Job) -> int:
    """The threshold in millionths, exactly as the recipe writes it."""
    return int(Fraction(str(job.recipe.deduplicate.threshold)) * MILLION)


def _finish_verified(job: Job, number: int, payload: bytes, blocks: Iterable[bytes]) -> None:
    timings, storage = Timings(), job.storage()
    with timings.stage("read"):
        groups = _read_groups(job, number)
        whom = _whom(groups)
        found, evidence = unpack_evidence(blocks)
        documents = np.searchsorted(found, whom)
    measure = _MEASURES[job.recipe.deduplicate.verify]
    if measure == compare.NONE:
        documents = np.zeros(len(whom), np.int64)
    elif len(whom) and (documents.max() >= len(found) or (found[documents] != whom).any()):
        raise RuntimeError(f"partition {number}: the evidence of some members did not come")
    follows = groups["rank"] == candidates.FOLLOWER
    with timings.stage("compare"):
        bounds = candidates.run_bounds(groups["group"])
        pairs = compare.match_members(
            bounds, documents, follows, evidence, measure=measure, least=least_ppm(job)
        )
    matched = pairs.leaders >= 0
    ends = np.stack([groups["locator"][pairs.leaders], groups["locator"]], axis=1)
    edges = candidates.distinct_edges(ends[matched & ~follows])
    followed = np.unique(ends[matched & follows][:, ::-1], axis=0)
    notes = {
        "groups": len(bounds) - 1,
        "compared": pairs.compared,
        "verified": len(edges),
        "matched": int(np.count_nonzero(matched & ~follows)),
        "overflow": pairs.overflow,
        "followed": len(followed),
    }
    with storage.scratch() as scratch, timings.stage("write"):
        writer = PartWriter(scratch, "work/followed", number, schema.FOLLOWED)
        writer.write(pa.record_batch([followed[:, 0], followed[:, 1]], schema=schema.FOLLOWED))
        files = [write_edges(scratch, "work/verified", number, edges), writer.finish()]
        made_of = payload.decode()
        commit(job, "work/verified", number, made_of=made_of, files=files, count=Count(), notes=notes)
    timings.save(storage, "work/verified", number)


VERIFIED = Step(
    "work/verified",
    _keys_of_verified,
    _finish_verified,
    (_scatter_requests, _scatter_evidence),
    _keys_of_verified,
)
