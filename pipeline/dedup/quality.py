"""How well a run finds duplicates, measured by the run itself.

Recall: planted copies of sampled documents went through the buckets and the comparison of the corpus as
followers. One is found if a leader that it matched is in the cluster of its original. Counted by language and
by the similarity that original and copy really have, in steps of 0.01.

Precision: of the verified pairs, a bounded sample (by keyed hash) is compared on the texts themselves.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.annotate.derived import shingling_of
from pipeline.dedup.candidates import distinct_values, scatter_blocks
from pipeline.dedup.components import read_edges
from pipeline.dedup.earlier import all_parts, chosen_rows
from pipeline.dedup.evidence import pack_evidence, take_evidence, unpack_evidence
from pipeline.dedup.texts import shingle_evidence
from pipeline.kernels import compare
from pipeline.kernels.keyed import mix, tag_key
from pipeline.ledger import Count
from pipeline.parts import read_batches
from pipeline.phase import Job, Step, commit, fingerprint, is_done, need_rows, read_row, read_rows
from pipeline.timings import Timings

_VERSION = 2
BAND_PPM = 50_000  # similarities are shown in bands of 0.05, and
STEP_PPM = 10_000  # those of planted copies counted in steps of 0.01, because theory changes fast
_SAMPLE = 2_000  # pairs of the whole run, at least _LEAST of every partition
_LEAST = 4
_FOUND = np.dtype([("row", "<u4"), ("cluster", "<u8")])
_FOLLOWED = np.dtype([("original", "<u8"), ("leader", "<u8")])
_ASKED = np.dtype([("row", "<u4"), ("side", "<u8")])  # side: which pair, and which of its two documents
_LOW_32 = np.uint64(0xFFFFFFFF)
_PART_BITS = np.uint64(32)


# --- recall -------------------------------------------------------------------------------------------------


def _keys_of_recall(job: Job) -> Iterator[tuple[int, bytes]]:
    parts = range(job.parts)
    verified = [row.content for row in need_rows(job, "work/verified", range(job.partitions))]
    clusters = [row.content for row in need_rows(job, "clusters", all_parts(job))]
    made_of = fingerprint(_VERSION, verified, clusters)
    signed, measures = need_rows(job, "work/signatures", parts), need_rows(job, "measures", parts)
    for part, row in enumerate(read_rows(job, "work/recall", parts)):
        wanted = fingerprint(made_of, part, signed[part].content, measures[part].content)
        if not is_done(job, row, wanted):
            yield part, wanted.encode()


def _plan_recall(job: Job) -> Iterator[tuple[int, bytes]]:
    if any(True for _ in _keys_of_recall(job)):
        yield from ((number, b"") for number in range(job.partitions))


def _scatter_followed(
    job: Job, number: int, payload: bytes, blocks: Iterable[bytes]
) -> Iterator[tuple[int, bytes]]:
    """What planted copies followed, to the leader's part."""
    file = need_rows(job, "work/verified", [number])[0].file("work/followed")
    for batch in read_batches(job.storage(), file):
        rows = np.empty(batch.num_rows, _FOLLOWED)
        rows["original"], rows["leader"] = batch["original"].to_numpy(), batch["leader"].to_numpy()
        yield from scatter_blocks(rows, (rows["leader"] >> _PART_BITS).astype(np.int64))


def _scatter_found(
    job: Job, part: int, payload: bytes, blocks: Iterable[bytes]
) -> Iterator[tuple[int, bytes]]:
    """The leaders' clusters, to the originals' parts."""
    rows = np.frombuffer(b"".join(blocks), _FOLLOWED)
    found = np.empty(len(rows), _FOUND)
    found["row"] = rows["original"] & _LOW_32
    found["cluster"] = _clusters(job, part)[(rows["leader"] & _LOW_32).astype(np.int64)]
    yield from scatter_blocks(found, (rows["original"] >> _PART_BITS).astype(np.int64))


def _clusters(job: Job, part: int) -> np.ndarray:
    file = need_rows(job, "clusters", [part])[0].file("clusters")
    batches = read_batches(job.storage(), file, columns=["cluster"])
    return np.concatenate([np.empty(0, np.uint64), *(batch[0].to_numpy() for batch in batches)])


def _finish_recall(job: Job, part: int, payload: bytes, blocks: Iterable[bytes]) -> None:
    timings, storage = Timings(), job.storage()
    with timings.stage("recall"):
        followed = np.frombuffer(b"".join(blocks), _FOUND)
        met = followed["row"][_clusters(job, part)[followed["row"].astype(np.int64)] == followed["cluster"]]
        rows, similarity = _planted(job, part)
        languages = _languages(job, part, rows)
        counts: Counter[tuple[str, int, bool]] = Counter()
        for language, ppm, is_found in zip(languages, similarity, np.isin(rows, met), strict=True):
            counts[language, int(ppm) // STEP_PPM, bool(is_found)] += 1
    groups = sorted({key[:2] for key in counts})
    planted = [
        [*key, counts[*key, True] + counts[*key, False], counts[*key, True]] for key in groups
    ]  # language, similarity in steps, planted, found
    made_of = payload.decode()
    commit(job, "work/recall", part, made_of=made_of, files=[], count=Count(), notes={"planted": planted})
    timings.save(storage, "work/recall", part)


def _planted(job: Job, part: int) -> tuple[np.ndarray, np.ndarray]:
    """(row of the original, similarity in millionths) of the planted copies of a part."""
    file = need_rows(job, "work/signatures", [part])[0].file("work/planted")
    found = [(np.empty(0, np.uint32), np.empty(0, np.uint32))]
    for batch in read_batches(job.storage(), file, columns=["row", "jaccard_ppm"]):
        found.append((batch["row"].to_numpy(), batch["jaccard_ppm"].to_numpy()))
    return np.concatenate([rows for rows, _ in found]), np.concatenate([ppm for _, ppm in found])


def _languages(job: Job, part: int, rows: np.ndarray) -> list[str]:
    file = need_rows(job, "measures", [part])[0].file("measures")
    batches = list(read_batches(job.storage(), file, columns=["language"]))
    if not batches:
        return []
    return pa.Table.from_batches(batches)["language"].take(pa.array(rows)).to_pylist()


# --- precision ----------------------------------------------------------------------------------------------


def _precision_made_of(job: Job) -> str:
    verified = [row.content for row in need_rows(job, "work/verified", range(job.partitions))]
    texts = [row.content for row in need_rows(job, "documents", range(job.parts))]
    parameters = (shingling_of(job), job.recipe.deduplicate.verify, job.recipe.seed)
    return fingerprint(_VERSION, parameters, verified, texts)


def _keys_of_precision(job: Job) -> Iterator[tuple[int, bytes]]:
    made_of = _precision_made_of(job)
    if not is_done(job, read_row(job, "work/precision", 0), made_of):
        yield 0, made_of.encode()


def _plan_precision(job: Job) -> Iterator[tuple[int, bytes]]:
    if any(True for _ in _keys_of_precision(job)):
        yield from ((number, b"") for number in range(job.partitions))


def _scatter_sample(
    job: Job, number: int, payload: bytes, blocks: Iterable[bytes]
) -> Iterator[tuple[int, bytes]]:
    """A partition's sampled pairs, to the parts of their documents."""
    file = need_rows(job, "work/verified", [number])[0].file("work/verified")
    edges = np.concatenate([np.empty((0, 2), np.uint64), *read_edges(job, file)])
    drawn = mix(mix(edges[:, 0] ^ np.uint64(tag_key(job.recipe.seed, "precision"))) ^ edges[:, 1])
    chosen = np.sort(np.argsort(drawn, kind="stable")[: max(_LEAST, _SAMPLE // job.partitions)])
    ends = edges[chosen].ravel()  # two by two
    rows = np.empty(len(ends), _ASKED)
    rows["row"], rows["side"] = (
        ends & _LOW_32,
        np.uint64(number) << _PART_BITS | np.arange(len(ends), dtype=np.uint64),
    )
    yield from scatter_blocks(rows, (ends >> _PART_BITS).astype(np.int64))


def _scatter_texts(
    job: Job, part: int, payload: bytes, blocks: Iterable[bytes]
) -> Iterator[tuple[int, bytes]]:
    """The shingle sets of a part's sampled documents, to the one place that compares them."""
    asked = np.sort(np.frombuffer(b"".join(blocks), _ASKED), order=["row", "side"])
    wanted = distinct_values(asked["row"])
    for rows, text in chosen_rows(job, part, "documents", "text", wanted):
        here = asked[slice(*np.searchsorted(asked["row"], [rows[0], rows[-1] + 1]))]
        evidence = take_evidence(shingle_evidence(job, text), np.searchsorted(rows, here["row"]))
        for block in pack_evidence(here["side"], evidence):
            yield 0, block


def _finish_precision(job: Job, number: int, payload: bytes, blocks: Iterable[bytes]) -> None:
    timings = Timings()
    with timings.stage("precision"):
        _, evidence = unpack_evidence(blocks)
        measure = compare.CONTAINMENT if job.recipe.deduplicate.verify == "containment" else compare.JACCARD
        bands: Counter[int] = Counter()
        exact: list[int] = []
        for first in range(0, len(evidence.offsets) - 1, 2):
            one, other = (
                evidence.values[evidence.offsets[at] : evidence.offsets[at + 1]] for at in (first, first + 1)
            )
            exact.append(compare.similarity_ppm(one, other, measure=measure))
            bands[exact[-1] // BAND_PPM] += 1
    notes: dict[str, Any] = {"similarity_ppm": sorted(exact), "bands": sorted(bands.items())}
    made_of = payload.decode()
    commit(job, "work/precision", 0, made_of=made_of, files=[], count=Count(), notes=notes)
    timings.save(job.storage(), "work/precision", 0)


STEPS = (
    Step("work/recall", _plan_recall, _finish_recall, (_scatter_followed, _scatter_found), _keys_of_recall),
    Step(
        "work/precision",
        _plan_precision,
        _finish_precision,
        (_scatter_sample, _scatter_texts),
        _keys_of_precision,
    ),
)
