"""Connected components by union-find over blocks of edges: from pairs of duplicates to clusters, on one
worker.

A node is a locator (part << 32 | row), which is dense as it stands once it is known how many rows each part
has: nothing is sorted or searched, edges are read block by block and forgotten, and memory is that of the
forest alone, 4 bytes per document of the corpus (8 beyond 4,294,967,295 of them).

A root is always the smallest node of its tree, so the result is a function of the set of edges, whatever
their order, direction or repetition. Trees stay low by path halving.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.buffers import read_only
from pipeline.kernels.jit import kernel

_BLOCK = 1 << 20  # nodes looked at together when the forest is read out
_LOW_32 = np.uint64(0xFFFFFFFF)
_PART_BITS = np.uint64(32)


def part_starts(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 [parts + 1]: the dense number of the first document of every part, then of all."""
    return read_only(np.concatenate((np.zeros(1, np.int64), np.cumsum(rows))))


def new_forest(starts: NDArray[np.int64]) -> NDArray:
    """Every document its own root: uint32, or uint64 for more than 2^32 - 1 of them."""
    nodes = int(starts[-1])
    return np.arange(nodes, dtype=np.uint32 if nodes < 1 << 32 else np.uint64)


def join_edges(parents: NDArray, starts: NDArray[np.int64], edges: NDArray[np.uint64]) -> None:
    """Joins the ends of every edge of a block uint64 [edges, 2].

    ValueError for another shape or type, and for a locator of a document that is not there.
    """
    if edges.ndim != 2 or edges.shape[1] != 2 or edges.dtype != np.uint64:
        raise ValueError(f"edges must be uint64 [edges, 2], not {edges.dtype} {list(edges.shape)}")
    edges = np.ascontiguousarray(edges)
    wrong = _join(read_only(edges), starts, parents)
    if wrong >= 0:
        first, second = (int(end) for end in edges[wrong])
        raise ValueError(f"edge {first:#x} - {second:#x} names a document that is in none of the parts")


def forest_edges(parents: NDArray, starts: NDArray[np.int64]) -> Iterator[NDArray[np.uint64]]:
    """Blocks uint64 [n, 2] of (locator, locator of its root) of all documents that are no roots, in order."""
    _flatten(parents)
    for first in range(0, len(parents), _BLOCK):
        block = parents[first : first + _BLOCK]
        nodes = np.arange(first, first + len(block))
        joined = block != nodes
        if joined.any():
            ends = np.stack([nodes[joined], block[joined].astype(np.int64)], axis=1)
            part = np.searchsorted(starts, ends, side="right") - 1
            yield part.astype(np.uint64) << _PART_BITS | (ends - starts[part]).astype(np.uint64)


@kernel
def _join(edges, starts, parents):
    """The number of the first edge with an unknown end, or -1 when all are joined."""
    for edge in range(edges.shape[0]):
        first, second = _dense(edges[edge, 0], starts), _dense(edges[edge, 1], starts)
        if first < 0 or second < 0:
            return edge
        # Rem's algorithm: both climb towards smaller nodes and are spliced on the way; most edges end early.
        while parents[first] != parents[second]:
            if parents[first] > parents[second]:
                above = np.int64(parents[first])
                if first == above:
                    parents[first] = parents[second]
                    break
                parents[first] = parents[second]
                first = above
            else:
                above = np.int64(parents[second])
                if second == above:
                    parents[second] = parents[first]
                    break
                parents[second] = parents[first]
                second = above
    return -1


@kernel
def _dense(locator, starts):
    part = np.int64(locator >> _PART_BITS)
    if part >= starts.size - 1:
        return np.int64(-1)
    node = starts[part] + np.int64(locator & _LOW_32)
    return node if node < starts[part + 1] else np.int64(-1)


@kernel
def _flatten(parents):
    """Points every node at its root: parents are smaller, so theirs are final already."""
    for node in range(parents.size):
        parents[node] = parents[np.int64(parents[node])]
