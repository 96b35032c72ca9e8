"""The Deduplicate phase, first half: digests that are equal become edges, bands that are equal become groups.

Facts only: what survives is decided later. Documents of earlier runs (`deduplicate.against`) take part in the
same shuffle. The rest of the phase: verified.py compares the members of groups, components.py (or stars.py)
and clusters.py make clusters of the edges, quality.py measures how well all of this finds duplicates.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import schema
from pipeline.annotate.derived import text_keys
from pipeline.dedup import candidates
from pipeline.dedup.buckets import GROUPED, distinct_groups, find_groups, partitions_of
from pipeline.dedup.earlier import all_parts, earlier_runs, part_batches, renumbered, whose_part
from pipeline.kernels.minhash import band_keys
from pipeline.ledger import Count
from pipeline.parts import FinishedFile, PartWriter, read_batches
from pipeline.phase import Job, Step, commit, fingerprint, is_done, need_rows, read_rows
from pipeline.timings import Timings

_VERSION = 3
_INDEX_GROUP = 1 << 16  # rows per row group of the index: a look-up reads those whose limits hold its key
_DUMP_BITS = np.uint32(16)


# --- candidates: digests and bands that are equal -----------------------------------------------------------


def candidate_keys(job: Job) -> range:
    """Numbers of the partitions of work/candidates: family by family; labels only with earlier runs."""
    families = len(candidates.FAMILIES) if earlier_runs(job) else candidates.LABEL
    return range(families * job.partitions)


def _candidates_made_of(job: Job) -> str:
    documents = need_rows(job, "documents", range(job.parts))
    signatures = need_rows(job, "work/signatures", range(job.parts))
    choice, minhash = job.recipe.deduplicate, job.recipe.minhash
    parameters = (choice.text, choice.url, choice.near, choice.max_bucket, minhash.bands, minhash.rows)
    dumps = [(source.name, source.dump) for source in job.recipe.sources]
    contents = [row.content for row in (*documents, *signatures)]
    earlier = [run.content for run in earlier_runs(job)]
    return fingerprint(_VERSION, parameters, dumps, job.partitions, contents, earlier)


def _keys_of_candidates(job: Job) -> Iterator[tuple[int, bytes]]:
    made_of = _candidates_made_of(job)
    keys = candidate_keys(job)
    for key, row in zip(keys, read_rows(job, "work/candidates", keys), strict=True):
        if not is_done(job, row, made_of):
            yield key, made_of.encode()


def _plan_candidates(job: Job) -> Iterator[tuple[int, bytes]]:
    if any(True for _ in _keys_of_candidates(job)):
        yield from ((part, b"") for part in all_parts(job))


def _scatter_candidates(
    job: Job, part: int, payload: bytes, blocks: Iterable[bytes]
) -> Iterator[tuple[int, bytes]]:
    timings, choice = Timings(), job.recipe.deduplicate
    is_old = whose_part(job, part)[0] is not job
    wanted = {candidates.ID: "id", candidates.URL: "url_digest"}
    if is_old:  # the index holds this run's documents alone, and reading theirs means checking all their text
        wanted = {candidates.URL: "url_digest"} if choice.url else {}
    if wanted:
        start = schema.locator(part, 0)
        for batch in timings.each("read", part_batches(job, part, "documents", list(wanted.values()))):
            locators = np.arange(start, start + batch.num_rows, dtype=np.uint64)
            start += batch.num_rows
            for family, name in wanted.items():
                rows = candidates.digest_rows(batch[name], locators)
                yield from candidates.scatter_rows(rows, family, job.partitions)
    if choice.text or choice.near:
        yield from _scatter_texts(job, part, timings)
    if is_old:
        yield from _scatter_labels(job, part)
    timings.save(job.storage(), "work/candidates-scatter", part)


def _scatter_texts(job: Job, part: int, timings: Timings) -> Iterator[tuple[int, bytes]]:
    """Digests of folded texts, and bands. Of documents that are equal in both, the first one of a part sends
    its bands for all.
    """
    digests = [batch[0] for batch in part_batches(job, part, "work/signatures", ["fold_digest"])]
    digest = pa.chunked_array(digests, schema.ID).combine_chunks()
    locators = np.arange(schema.locator(part, 0), schema.locator(part, len(digest)), dtype=np.uint64)
    yield from candidates.scatter_rows(
        candidates.digest_rows(digest, locators), candidates.TEXT, job.partitions
    )
    if not job.recipe.deduplicate.near:
        return
    rank, start, seen = _rank_of_part(job, part), 0, np.empty(0, np.uint64)
    wanted = [schema.SIGNATURE_FIELD, "signed", "fold_digest"]
    for batch in timings.each("read", part_batches(job, part, "work/signatures", wanted)):
        with timings.stage("bands"):
            texts = text_keys(batch)
            first = np.sort(np.unique(texts, return_index=True)[1])
            first = first[~np.isin(texts[first], seen)]
            seen = np.append(seen, texts[first])
            here = np.flatnonzero(batch["signed"].to_numpy(zero_copy_only=False))[first]
            keys = _keys_of_bands(job, batch[0].take(pa.array(here)))
            ranks = np.full(len(here), rank, np.uint32)
            banded = candidates.band_rows(keys, ranks, texts[first], locators[start + here])
        start += batch.num_rows
        yield from candidates.scatter_rows(banded, candidates.BAND, job.partitions)
    if whose_part(job, part)[0] is job:
        yield from _scatter_planted(job, part)


def _scatter_planted(job: Job, part: int) -> Iterator[tuple[int, bytes]]:
    """Bands of the planted copies: they follow, and carry the locator of their original."""
    file = need_rows(job, "work/signatures", [part])[0].file("work/planted")
    for batch in read_batches(job.storage(), file, columns=["row", schema.SIGNATURE_FIELD, "digest"]):
        keys = _keys_of_bands(job, batch[1])
        locators = batch["row"].to_numpy() + np.uint64(schema.locator(part, 0))
        ranks = np.full(batch.num_rows, candidates.FOLLOWER)
        rows = candidates.band_rows(keys, ranks, candidates.digest_words(batch["digest"])[:, 0], locators)
        yield from candidates.scatter_rows(rows, candidates.BAND, job.partitions)


def _keys_of_bands(job: Job, signatures: pa.Array) -> np.ndarray:
    return band_keys(signatures, bands=job.recipe.minhash.bands, rows=job.recipe.minhash.rows)


def _rank_of_part(job: Job, part: int) -> np.uint32:
    """When a part's documents came: the run first, then the dump of their source."""
    own, number, time = whose_part(job, part)
    file = need_rows(own, "documents", [number])[0].file("documents")
    name = ""
    with own.storage().open_input(file.name) as source:
        if file.rows:
            name = pq.ParquetFile(source).read_row_group(0, columns=["source"])["source"][0].as_py()
    dump = next((source.dump for source in own.recipe.sources if source.name == name), 0)
    return np.uint32(time) << _DUMP_BITS | np.uint32(dump)


def _scatter_labels(job: Job, part: int) -> Iterator[tuple[int, bytes]]:
    """Members of an earlier run's clusters, to their label: what it found is taken over as edges."""
    own, number, rank = whose_part(job, part)
    known = [part]
    if part == earlier_runs(job)[rank].first:  # its first part also brings what it found in runs before it
        known += [part - number + extra for extra in range(own.parts, earlier_runs(job)[rank].clustered)]
    for place in known:
        shown = place - part + number
        start = np.uint64(schema.locator(shown, 0))
        for batch in part_batches(job, part, "clusters", ["cluster", "cluster_size"], number=shown):
            locators = np.arange(start, start + np.uint64(batch.num_rows), dtype=np.uint64)
            start += np.uint64(batch.num_rows)
            shared = batch["cluster_size"].to_numpy() > 1
            rows = np.empty(int(np.count_nonzero(shared)), candidates.LABELLED)
            rows["key"] = renumbered(job, part, batch["cluster"].to_numpy()[shared])
            rows["locator"] = renumbered(job, part, locators[shared])
            yield from candidates.scatter_rows(rows, candidates.LABEL, job.partitions)


def _finish_candidates(job: Job, key: int, payload: bytes, blocks: Iterable[bytes]) -> None:
    timings, storage, choice = Timings(), job.storage(), job.recipe.deduplicate
    family = key // job.partitions
    rows = np.frombuffer(b"".join(blocks), candidates.ROWS[family])
    notes = {"family": candidates.FAMILIES[family], "rows": len(rows)}
    files: list[FinishedFile] = []
    with storage.scratch() as scratch:
        if family == candidates.BAND:
            with timings.stage("buckets"):
                found = find_groups(rows, parts=job.parts, max_bucket=choice.max_bucket)
            notes |= {"buckets": found.buckets, "cut": found.cut, "largest": found.largest}
            notes["members"] = len(found.members)
            files.append(_write_groups(scratch, "work/buckets", key % job.partitions, found.members))
        if family in (candidates.ID, candidates.URL):
            with timings.stage("index"):
                files.append(_write_index(scratch, job, key, rows))
        with timings.stage("edges"):
            edges = _edges(job, family, rows)
        notes["edges"] = len(edges)
        files.append(write_edges(scratch, "work/candidates", key, edges))
        with timings.stage("write"):
            made_of = payload.decode()
            commit(job, "work/candidates", key, made_of=made_of, files=files, count=Count(), notes=notes)
    timings.save(storage, "work/candidates", key)


def _edges(job: Job, family: int, rows: np.ndarray) -> np.ndarray:
    choice = job.recipe.deduplicate
    if family == candidates.LABEL:
        return candidates.label_edges(rows)
    if (family == candidates.URL and choice.url) or family == candidates.TEXT:
        return candidates.star_edges(candidates.without_old(rows, job.parts) if earlier_runs(job) else rows)
    return np.empty((0, 2), np.uint64)


def _write_index(scratch: Path, job: Job, key: int, rows: np.ndarray) -> FinishedFile:
    """The index of ids or URLs of this run's documents."""
    folder = f"index/{candidates.FAMILIES[key // job.partitions]}"
    writer = PartWriter(scratch, folder, key % job.partitions, schema.INDEX)
    own = rows[rows["locator"] >> np.uint64(32) < np.uint64(job.parts)]
    keyed = candidates.sorted_index(own).cast(schema.INDEX)
    for start in range(0, len(own), _INDEX_GROUP):
        writer.write(keyed.slice(start, _INDEX_GROUP))
    return writer.finish()


def write_edges(scratch: Path, folder: str, number: int, edges: np.ndarray) -> FinishedFile:
    """A file of edges uint64 [n, 2]."""
    writer = PartWriter(scratch, folder, number, schema.NEAR_EDGES)
    writer.write(pa.record_batch([edges[:, 0], edges[:, 1]], schema=schema.NEAR_EDGES))
    return writer.finish()


def _write_groups(scratch: Path, folder: str, number: int, members: np.ndarray) -> FinishedFile:
    writer = PartWriter(scratch, folder, number, schema.GROUPS)
    columns = [pa.array(members[field.name]) for field in schema.GROUPS]
    writer.write(pa.record_batch(columns, schema=schema.GROUPS))
    return writer.finish()


# --- groups: every set of documents that share a bucket, once -----------------------------------------------


def _band_partitions(job: Job) -> range:
    return range(candidates.BAND * job.partitions, (candidates.BAND + 1) * job.partitions)


def _keys_of_groups(job: Job) -> Iterator[tuple[int, bytes]]:
    contents = [row.content for row in need_rows(job, "work/candidates", _band_partitions(job))]
    made_of = fingerprint(_VERSION, contents)
    for key, row in enumerate(read_rows(job, "work/groups", range(job.partitions))):
        if not is_done(job, row, made_of):
            yield key, made_of.encode()


def _plan_groups(job: Job) -> Iterator[tuple[int, bytes]]:
    if any(True for _ in _keys_of_groups(job)):
        yield from ((number, b"") for number in _band_partitions(job))


def _scatter_groups(
    job: Job, number: int, payload: bytes, blocks: Iterable[bytes]
) -> Iterator[tuple[int, bytes]]:
    """The groups of a partition of buckets, each to the partition in which it is compared."""
    file = need_rows(job, "work/candidates", [number])[0].file("work/buckets")
    for batch in read_batches(job.storage(), file):
        members = np.empty(batch.num_rows, GROUPED)
        for name in schema.GROUPS.names:
            members[name] = batch[name].to_numpy()
        yield from candidates.scatter_blocks(members, partitions_of(members, job.partitions))


def _finish_groups(job: Job, number: int, payload: bytes, blocks: Iterable[bytes]) -> None:
    timings, storage = Timings(), job.storage()
    with timings.stage("groups"):
        members = distinct_groups(np.frombuffer(b"".join(blocks), GROUPED))
        groups = len(candidates.run_bounds(members["group"])) - 1
    with storage.scratch() as scratch:
        files = [_write_groups(scratch, "work/groups", number, members)]
        notes = {"groups": groups, "members": len(members)}
        made_of = payload.decode()
        commit(job, "work/groups", number, made_of=made_of, files=files, count=Count(), notes=notes)
    timings.save(storage, "work/groups", number)


CANDIDATES = Step(
    "work/candidates", _plan_candidates, _finish_candidates, (_scatter_candidates,), _keys_of_candidates
)
GROUPS = Step("work/groups", _plan_groups, _finish_groups, (_scatter_groups,), _keys_of_groups)
