"""The Deduplicate phase: facts only. Digests and bands meet in one packed shuffle, edges become connected
components, and every document gets its cluster and the cluster's size. What survives is decided later.

Components run on one worker over all edges (16 bytes each, about one per duplicate document).
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import schema
from pipeline.dedup import candidates
from pipeline.kernels import components, minhash
from pipeline.ledger import IN, OUT, Count
from pipeline.parts import PartWriter, read_batches
from pipeline.phase import Job, Row, Step, commit, fingerprint, is_done, need_rows, read_row, read_rows
from pipeline.timings import Timings

_VERSION = 1
_INDEX_GROUP = (
    1 << 16
)  # rows per row group of the index: a look-up reads the groups whose limits hold its key
_LABEL_GROUP = 1 << 18  # rows per row group of the labels: a part reads the few groups that overlap it


# --- candidates: digests and bands that are equal -----------------------------------------------------------


def _candidates_made_of(job: Job) -> str:
    documents = need_rows(job, "documents", range(job.parts))
    signatures = need_rows(job, "work/signatures", range(job.parts))
    contents = [row.content for row in (*documents, *signatures)]
    minhash_shape = (job.recipe.minhash.bands, job.recipe.minhash.rows)
    return fingerprint(_VERSION, job.recipe.deduplicate, minhash_shape, job.partitions, contents)


def _candidate_keys(job: Job) -> range:
    return range(len(candidates.FAMILIES) * job.partitions)


def _keys_of_candidates(job: Job) -> Iterator[tuple[int, bytes]]:
    """The partitions that have to be made."""
    made_of = _candidates_made_of(job)
    for key, row in enumerate(read_rows(job, "work/candidates", _candidate_keys(job))):
        if not is_done(job, row, made_of):
            yield key, made_of.encode()


def _plan_candidates(job: Job) -> Iterator[tuple[int, bytes]]:
    if any(True for _ in _keys_of_candidates(job)):
        yield from ((part, b"") for part in range(job.parts))


def _scatter_candidates(
    job: Job, part: int, payload: bytes, blocks: Iterable[bytes]
) -> Iterator[tuple[int, bytes]]:
    timings, storage, choice = Timings(), job.storage(), job.recipe.deduplicate
    documents = need_rows(job, "documents", [part])[0].file("documents")
    start = schema.locator(part, 0)
    for batch in read_batches(storage, documents, columns=["id", "url_digest", "text_digest"]):
        with timings.stage("scatter"):
            locators = np.arange(start, start + batch.num_rows, dtype=np.uint64)
            start += batch.num_rows
            for family, name in enumerate(("id", "url_digest", "text_digest")):
                if family != candidates.TEXT or choice.text:
                    rows = candidates.digest_rows(batch[name], locators)
                    yield from candidates.scatter_rows(rows, family, job.partitions)
    if not choice.near:
        return
    signatures = need_rows(job, "work/signatures", [part])[0].file("work/signatures")
    start = schema.locator(part, 0)
    for batch in read_batches(storage, signatures, columns=[schema.SIGNATURE_FIELD]):
        with timings.stage("bands"):
            present = batch[0].is_valid().to_numpy(zero_copy_only=False)
            locators = np.arange(start, start + batch.num_rows, dtype=np.uint64)[present]
            start += batch.num_rows
            signed = batch[0].drop_null()  # a document without words has no signature
            keys = minhash.band_keys(signed, bands=job.recipe.minhash.bands, rows=job.recipe.minhash.rows)
            rows = candidates.band_rows(keys, locators)
        yield from candidates.scatter_rows(rows, candidates.BAND, job.partitions)
    timings.save(storage, "work/candidates-scatter", part)


def _finish_candidates(job: Job, key: int, payload: bytes, blocks: Iterable[bytes]) -> None:
    timings, storage = Timings(), job.storage()
    family = key // job.partitions
    rows = np.frombuffer(
        b"".join(blocks), candidates.BANDED if family == candidates.BAND else candidates.KEYED
    )
    chosen = (False, job.recipe.deduplicate.url, job.recipe.deduplicate.text, job.recipe.deduplicate.near)[
        family
    ]
    with timings.stage("edges"):
        edges = candidates.star_edges(rows) if chosen else np.empty((0, 2), np.uint64)
    with storage.scratch() as scratch:
        with timings.stage("write"):
            writer = PartWriter(scratch, "work/candidates", key, schema.NEAR_EDGES)
            writer.write(pa.record_batch([edges[:, 0], edges[:, 1]], schema=schema.NEAR_EDGES))
            files = [writer.finish()]
        if family in (candidates.ID, candidates.URL):
            with timings.stage("index"):
                folder = f"index/{candidates.FAMILIES[family]}"
                index = PartWriter(scratch, folder, key % job.partitions, schema.INDEX)
                keyed = candidates.sorted_index(rows).cast(schema.INDEX)
                for start in range(0, len(rows), _INDEX_GROUP):
                    index.write(keyed.slice(start, _INDEX_GROUP))
                files.append(index.finish())
        notes = {"family": candidates.FAMILIES[family], "rows": len(rows), "edges": len(edges)}
        made_of = payload.decode()
        commit(job, "work/candidates", key, made_of=made_of, files=files, count=Count(), notes=notes)
    timings.save(storage, "work/candidates", key)


# --- components: edges to labels ----------------------------------------------------------------------------


def _components_made_of(job: Job) -> str:
    rows = need_rows(job, "work/candidates", _candidate_keys(job))
    return fingerprint(_VERSION, [row.content for row in rows])


def _plan_components(job: Job) -> Iterator[tuple[int, bytes]]:
    made_of = _components_made_of(job)
    if not is_done(job, read_row(job, "work/components", 0), made_of):
        yield 0, made_of.encode()


def _finish_components(job: Job, number: int, payload: bytes, blocks: Iterable[bytes]) -> None:
    timings, storage = Timings(), job.storage()
    found = [np.empty((0, 2), np.uint64)]
    with timings.stage("read"):
        for row in need_rows(job, "work/candidates", _candidate_keys(job)):
            for batch in read_batches(storage, row.file("work/candidates")):
                found.append(np.stack([batch["a"].to_numpy(), batch["b"].to_numpy()], axis=1))
    with timings.stage("components"):
        nodes, labels, sizes = components.connected_components(np.concatenate(found))
    with storage.scratch() as scratch:
        writer = PartWriter(scratch, "work/components", 0, schema.LABELS)
        whole = pa.record_batch([nodes, labels, sizes], schema=schema.LABELS)
        for start in range(0, len(nodes), _LABEL_GROUP):
            writer.write(whole.slice(start, _LABEL_GROUP))
        notes = {"edges": sum(map(len, found)), "documents": len(nodes), "clusters": len(np.unique(labels))}
        files = [writer.finish()]
        commit(job, "work/components", 0, made_of=payload.decode(), files=files, count=Count(), notes=notes)
    timings.save(storage, "work/components", 0)


# --- clusters: labels by document ---------------------------------------------------------------------------


def _plan_clusters(job: Job) -> Iterator[tuple[int, bytes]]:
    labels = need_rows(job, "work/components", [0])[0].content
    documents = need_rows(job, "documents", range(job.parts))
    for part, (row, done) in enumerate(
        zip(documents, read_rows(job, "clusters", range(job.parts)), strict=True)
    ):
        made_of = fingerprint(_VERSION, part, row.file("documents").rows, labels)
        if not is_done(job, done, made_of):
            yield part, made_of.encode()


def _finish_clusters(job: Job, part: int, payload: bytes, blocks: Iterable[bytes]) -> None:
    timings, storage = Timings(), job.storage()
    rows = need_rows(job, "documents", [part])[0].file("documents").rows
    with timings.stage("labels"):
        cluster = np.arange(schema.locator(part, 0), schema.locator(part, rows), dtype=np.uint64)
        size = np.ones(rows, np.uint32)
        labels = _labels_of_part(job, need_rows(job, "work/components", [0])[0], part)
        at = (labels["locator"].to_numpy() & np.uint64(0xFFFFFFFF)).astype(np.int64)
        cluster[at], size[at] = labels["cluster"].to_numpy(), labels["cluster_size"].to_numpy()
    count = Count()
    count.add("cluster", IN, rows)
    count.add("cluster", OUT, len(cluster))
    with storage.scratch() as scratch:
        writer = PartWriter(scratch, "clusters", part, schema.arrow_schema(schema.CLUSTERS))
        writer.write(pa.record_batch([cluster, size], schema=schema.arrow_schema(schema.CLUSTERS)))
        commit(job, "clusters", part, made_of=payload.decode(), files=[writer.finish()], count=count)
    timings.save(storage, "clusters", part)


def _labels_of_part(job: Job, row: Row, part: int) -> pa.Table:
    """The labels of a part's documents; row groups that cannot hold any are not read."""
    low, high = schema.locator(part, 0), schema.locator(part + 1, 0)
    filters = [("locator", ">=", low), ("locator", "<", high)]
    with job.storage().open_input(row.file("work/components").name) as source:
        return pq.read_table(source, filters=filters, use_threads=False)


CANDIDATES = Step(
    "work/candidates", _plan_candidates, _finish_candidates, (_scatter_candidates,), _keys_of_candidates
)
COMPONENTS = Step("work/components", _plan_components, _finish_components)
CLUSTERS = Step("clusters", _plan_clusters, _finish_clusters)
