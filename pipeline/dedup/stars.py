"""Components on all workers: rounds of large-star and small-star (Kiveris et al., "Connected Components in
MapReduce and Beyond", SoCC 2014), for more edges or documents than one worker holds.

Both operations keep components and turn every edge towards smaller locators: large-star connects each greater
neighbour of a node to the smallest node around it, small-star each smaller neighbour. When nothing changes
any more, every document points at the smallest of its component. Rounds are steps with files in between, so
they run on every runner; a round after the end plans no work. If the last round that the recipe allows still
changed something, the run fails and says so.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.dedup.candidates import distinct_edges, scatter_blocks, spread
from pipeline.dedup.components import edge_files, read_edges
from pipeline.ledger import Count
from pipeline.parts import PartFile, PartWriter
from pipeline.phase import Job, Row, Step, commit, fingerprint, is_done, need_rows, read_rows
from pipeline.timings import Timings

_VERSION = 1
HALF = np.dtype([("node", "<u8"), ("other", "<u8")])  # an edge as one of its ends sees it


class NotConverged(RuntimeError):
    """The rounds that the recipe allows did not suffice."""


def both_ways(edges: np.ndarray) -> np.ndarray:
    """HALF rows of edges uint64 [n, 2], seen from both ends."""
    rows = np.empty(2 * len(edges), HALF)
    rows["node"], rows["other"] = np.append(edges[:, 0], edges[:, 1]), np.append(edges[:, 1], edges[:, 0])
    return rows


def large_star(rows: np.ndarray) -> np.ndarray:
    """HALF rows of whole nodes to HALF rows (greater neighbour, smallest node around), seen from the
    greater.
    """
    rows, least = _with_least(rows)
    greater = rows["other"] > rows["node"]
    turned = np.empty(int(np.count_nonzero(greater)), HALF)
    turned["node"], turned["other"] = rows["other"][greater], least[greater]
    return turned


def small_star(rows: np.ndarray) -> np.ndarray:
    """HALF rows of whole nodes, all seen from the greater end, to distinct edges uint64 [n, 2] (smaller
    first): the node and its neighbours to the smallest of them.
    """
    rows, least = _with_least(rows)
    nodes = np.stack([least, rows["node"]], axis=1)
    others = np.stack([least, rows["other"]], axis=1)
    return distinct_edges(np.concatenate([nodes, others]))


def _with_least(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows sorted by node, and for each the smallest of its node and that node's others."""
    rows = rows[np.lexsort((rows["other"], rows["node"]))]
    first = np.ones(len(rows), bool)
    first[1:] = rows["node"][1:] != rows["node"][:-1]
    least = np.minimum(rows["node"][first], rows["other"][first])
    return rows, least[np.cumsum(first) - 1] if len(rows) else np.empty(0, np.uint64)


def _name(number: int) -> str:
    return f"work/stars-{number:02d}"


def _rows(job: Job, number: int) -> list[Row]:
    return need_rows(job, _name(number), range(job.partitions))


def _input_files(job: Job, number: int) -> list[PartFile]:
    """What a round reads: all edges, then the round before."""
    return edge_files(job) if number == 1 else [row.files[0] for row in _rows(job, number - 1)]


def _ended(job: Job, number: int) -> bool:
    """Whether a round before this one changed nothing."""
    return any(_contents(job, at) == _contents(job, at - 1) for at in range(2, number))


def _contents(job: Job, number: int) -> list[str]:
    return [row.content for row in _rows(job, number)]


def star_files(job: Job) -> list[PartFile]:
    """The files of the finished forest; NotConverged if the last round still changed something."""
    rounds = job.recipe.deduplicate.rounds
    for number in range(2, rounds + 1):
        if _contents(job, number) == _contents(job, number - 1):
            return [row.files[0] for row in _rows(job, number)]
    raise NotConverged(
        f"components by stars did not converge in {rounds} rounds, the last of which still changed edges: "
        "raise deduplicate.rounds (the last one must find nothing to change), and run again"
    )


def star_rows(job: Job) -> dict[str, list[Row]]:
    """The commit rows of all rounds up to the one that changed nothing, by step."""
    last = 2
    while _contents(job, last) != _contents(job, last - 1):
        last += 1
    return {_name(number): _rows(job, number) for number in range(1, last + 1)}


def star_steps(rounds: int) -> tuple[Step, ...]:
    """The steps of so many rounds."""
    return tuple(_step(number) for number in range(1, rounds + 1))


def _step(number: int) -> Step:
    name = _name(number)

    def keys(job: Job) -> Iterator[tuple[int, bytes]]:
        if _ended(job, number):
            return
        made_of = fingerprint(_VERSION, job.partitions, [file.content for file in _input_files(job, number)])
        for key, row in enumerate(read_rows(job, name, range(job.partitions))):
            if not is_done(job, row, made_of):
                yield key, made_of.encode()

    def plan(job: Job) -> Iterator[tuple[int, bytes]]:
        if any(True for _ in keys(job)):
            yield from ((file, b"") for file in range(len(_input_files(job, number))))

    def scatter_edges(
        job: Job, file: int, payload: bytes, blocks: Iterable[bytes]
    ) -> Iterator[tuple[int, bytes]]:
        for edges in read_edges(job, _input_files(job, number)[file]):
            rows = both_ways(edges)
            yield from scatter_blocks(rows, spread(rows["node"], job.partitions))

    def scatter_stars(
        job: Job, key: int, payload: bytes, blocks: Iterable[bytes]
    ) -> Iterator[tuple[int, bytes]]:
        rows = large_star(np.frombuffer(b"".join(blocks), HALF))
        yield from scatter_blocks(rows, spread(rows["node"], job.partitions))

    def finish(job: Job, key: int, payload: bytes, blocks: Iterable[bytes]) -> None:
        timings, storage = Timings(), job.storage()
        with timings.stage("stars"), storage.scratch() as scratch:
            edges = small_star(np.frombuffer(b"".join(blocks), HALF))
            # A forest's file has (document, root): the smaller end is the root.
            writer = PartWriter(scratch, name, key, schema.NEAR_EDGES)
            writer.write(pa.record_batch([edges[:, 1], edges[:, 0]], schema=schema.NEAR_EDGES))
            commit(job, name, key, made_of=payload.decode(), files=[writer.finish()], count=Count())
        timings.save(storage, name, key)

    return Step(name, plan, finish, (scatter_edges, scatter_stars), keys)
