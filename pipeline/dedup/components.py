"""The step work/components: all edges become a forest of (document, smallest document of its component).

Union-find on one worker, over edges that are read block by block (kernels/components.py): 0.1 to 0.2 us per
edge and 4 bytes per document. Beyond what one worker holds, the recipe names rounds of stars (stars.py).
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.dedup.earlier import rows_of_parts
from pipeline.dedup.phase import candidate_keys
from pipeline.kernels.components import forest_edges, join_edges, new_forest, part_starts
from pipeline.ledger import Count
from pipeline.parts import PartFile, PartWriter, read_batches
from pipeline.phase import Job, Step, commit, fingerprint, is_done, need_rows, read_row
from pipeline.timings import Timings

_VERSION = 2


def edge_files(job: Job) -> list[PartFile]:
    """The files of all edges: equal digests, labels of earlier runs, and what was verified."""
    steps = {"work/candidates": candidate_keys(job), "work/verified": range(job.partitions)}
    return [row.file(step) for step, keys in steps.items() for row in need_rows(job, step, keys)]


def read_edges(job: Job, file: PartFile) -> Iterator[np.ndarray]:
    """Blocks uint64 [n, 2] of a file of edges."""
    for batch in read_batches(job.storage(), file, columns=["a", "b"]):
        yield np.stack([batch["a"].to_numpy(), batch["b"].to_numpy()], axis=1)


def _plan(job: Job) -> Iterator[tuple[int, bytes]]:
    made_of = fingerprint(_VERSION, [file.content for file in edge_files(job)])
    if not is_done(job, read_row(job, "work/components", 0), made_of):
        yield 0, made_of.encode()


def _finish(job: Job, number: int, payload: bytes, blocks: Iterable[bytes]) -> None:
    timings, storage = Timings(), job.storage()
    starts = part_starts(rows_of_parts(job))
    forest, edges = new_forest(starts), 0
    for file in edge_files(job):
        for block in timings.each("read", read_edges(job, file)):
            with timings.stage("join"):
                join_edges(forest, starts, block)
            edges += len(block)
    with storage.scratch() as scratch:
        writer = PartWriter(scratch, "work/components", 0, schema.NEAR_EDGES)
        with timings.stage("write"):
            for block in forest_edges(forest, starts):
                writer.write(pa.record_batch([block[:, 0], block[:, 1]], schema=schema.NEAR_EDGES))
            notes = {"edges": edges, "joined": writer.rows}
            files, made_of = [writer.finish()], payload.decode()
            commit(job, "work/components", 0, made_of=made_of, files=files, count=Count(), notes=notes)
    timings.save(storage, "work/components", 0)


COMPONENTS = Step("work/components", _plan, _finish)
