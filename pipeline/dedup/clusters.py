"""The step clusters: every document gets its cluster (the smallest locator in it) and the cluster's size.

Clusters that hold no document of this run are left alone; those that hold one are also written down for the
documents of earlier runs in them.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.dedup.candidates import scatter_blocks, spread
from pipeline.dedup.components import read_edges
from pipeline.dedup.earlier import all_parts, rows_of_parts
from pipeline.dedup.stars import star_files
from pipeline.ledger import IN, OUT, Count
from pipeline.parts import PartFile, PartWriter
from pipeline.phase import Job, Step, commit, fingerprint, is_done, need_rows, read_rows
from pipeline.timings import Timings

_VERSION = 2
_LARGEST = 20  # clusters that a part notes, with
_SAMPLE = 3  # rows of each
_JOINED = np.dtype([("node", "<u8"), ("root", "<u8")])
_LABEL = np.dtype([("row", "<u4"), ("size", "<u4"), ("cluster", "<u8")])


def forest_files(job: Job) -> list[PartFile]:
    """Files of (document, smallest document of its component)."""
    if job.recipe.deduplicate.components == "stars":
        return star_files(job)
    return [need_rows(job, "work/components", [0])[0].file("work/components")]


def _keys(job: Job) -> Iterator[tuple[int, bytes]]:
    forest = [file.content for file in forest_files(job)]
    rows = rows_of_parts(job).tolist()
    for part, done in zip(all_parts(job), read_rows(job, "clusters", all_parts(job)), strict=True):
        made_of = fingerprint(_VERSION, part, rows[part], job.parts, forest)
        if not is_done(job, done, made_of):
            yield part, made_of.encode()


def _plan(job: Job) -> Iterator[tuple[int, bytes]]:
    if any(True for _ in _keys(job)):
        yield from ((file, b"") for file in range(len(forest_files(job))))


def _scatter_forest(
    job: Job, file: int, payload: bytes, blocks: Iterable[bytes]
) -> Iterator[tuple[int, bytes]]:
    """Documents to the partition of their root."""
    for edges in read_edges(job, forest_files(job)[file]):
        edges = edges[edges[:, 1] >> np.uint64(32) < np.uint64(job.parts)]  # else all of it is older
        rows = np.empty(len(edges), _JOINED)
        rows["node"], rows["root"] = edges[:, 0], edges[:, 1]
        yield from scatter_blocks(rows, spread(rows["root"], job.partitions))


def _scatter_labels(
    job: Job, key: int, payload: bytes, blocks: Iterable[bytes]
) -> Iterator[tuple[int, bytes]]:
    """Cluster and size to the part of every document, the root's own too."""
    rows = np.frombuffer(b"".join(blocks), _JOINED)
    roots, cluster, others = np.unique(rows["root"], return_inverse=True, return_counts=True)
    nodes = np.append(rows["node"], roots)
    labels = np.empty(len(nodes), _LABEL)
    labels["row"] = nodes & np.uint64(0xFFFFFFFF)
    labels["cluster"], labels["size"] = np.append(rows["root"], roots), np.append(others[cluster], others) + 1
    yield from scatter_blocks(labels, (nodes >> np.uint64(32)).astype(np.int64))


def _finish(job: Job, part: int, payload: bytes, blocks: Iterable[bytes]) -> None:
    timings, storage, count = Timings(), job.storage(), Count()
    rows = int(rows_of_parts(job)[part])
    with timings.stage("labels"):
        cluster = np.arange(schema.locator(part, 0), schema.locator(part, rows), dtype=np.uint64)
        size = np.ones(rows, np.uint32)
        labels = np.frombuffer(b"".join(blocks), _LABEL)
        cluster[labels["row"]], size[labels["row"]] = labels["cluster"], labels["size"]
    if part < job.parts:
        count.add("cluster", IN, rows)
        count.add("cluster", OUT, len(cluster))
    own = np.arange(schema.locator(part, 0), schema.locator(part, rows), dtype=np.uint64)
    notes = {
        "clusters": int(np.count_nonzero((cluster == own) & (size > 1))),
        "clustered": len(labels),
        "largest": _largest(labels),
    }
    with storage.scratch() as scratch:
        writer = PartWriter(scratch, "clusters", part, schema.arrow_schema(schema.CLUSTERS))
        writer.write(pa.record_batch([cluster, size], schema=schema.arrow_schema(schema.CLUSTERS)))
        files, made_of = [writer.finish()], payload.decode()
        commit(job, "clusters", part, made_of=made_of, files=files, count=count, notes=notes)
    timings.save(storage, "clusters", part)


def _largest(labels: np.ndarray) -> list[list[object]]:
    """[size, cluster, first rows in this part] of the largest clusters that have members in it. Sizes are of
    whole clusters, so whichever is among the largest of all is among those of each part that it reaches.
    """
    labels = np.sort(labels, order=["cluster", "row"])
    clusters, first = np.unique(labels["cluster"], return_index=True)
    sizes = labels["size"][first]
    found = []
    for at in np.lexsort((clusters, -sizes.astype(np.int64)))[:_LARGEST]:
        stop = first[at + 1] if at + 1 < len(first) else len(labels)
        rows = labels["row"][first[at] : min(stop, first[at] + _SAMPLE)].tolist()
        found.append([int(sizes[at]), int(clusters[at]), rows])
    return found


CLUSTERS = Step("clusters", _plan, _finish, (_scatter_forest, _scatter_labels), _keys)
