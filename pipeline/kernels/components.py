"""Connected components: from pairs of duplicates to clusters, on one worker.

Union-find in which a root is always the smallest node of its tree, with path halving, so the labels are a
function of the set of edges, whatever their order, direction or repetition.

Memory beyond the edges (16 bytes each): a sorted copy of their ends while nodes are listed (18 bytes per
edge), then 8 + 8 bytes per node for the forest and 20 bytes per node for the result. Measured with 5 million
edges over 4.3 million nodes: 34 bytes per edge, so a thousand million such edges take about 50 GB with
themselves. Time there: 3 us per edge, most of it cache misses of random nodes.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.buffers import read_only
from pipeline.kernels.jit import kernel


class Components(NamedTuple):
    """Every node that has an edge: `nodes` uint64 in rising order, `labels` uint64 = the smallest node of its
    component, `sizes` uint32 = nodes in the component; all [nodes]."""

    nodes: NDArray[np.uint64]
    labels: NDArray[np.uint64]
    sizes: NDArray[np.uint32]


def connected_components(edges: NDArray[np.uint64]) -> Components:
    """Components of the undirected graph uint64 [edges, 2]; a node with only a loop is one by itself.

    ValueError for another shape or type (a signed or floating array would merge locators without a word).
    """
    if edges.ndim != 2 or edges.shape[1] != 2 or edges.dtype != np.uint64:
        raise ValueError(f"edges must be uint64 [edges, 2], not {edges.dtype} {list(edges.shape)}")
    edges = np.ascontiguousarray(edges)
    nodes = np.unique(edges)
    roots = np.arange(len(nodes), dtype=np.int64)
    _join(read_only(edges), nodes, roots)
    sizes = np.bincount(roots, minlength=len(nodes))[roots].astype(np.uint32)
    return Components(nodes, nodes[roots], sizes)


@kernel
def _join(edges, nodes, parents):
    """Join the ends of every edge, then point every node at its root. `parents`: int64, at first its own."""
    for edge in range(edges.shape[0]):
        first = _root(parents, np.searchsorted(nodes, edges[edge, 0]))
        second = _root(parents, np.searchsorted(nodes, edges[edge, 1]))
        if first < second:
            parents[second] = first
        else:
            parents[first] = second
    for node in range(parents.size):
        parents[node] = parents[parents[node]]  # parents are smaller, so theirs are final already


@kernel
def _root(parents, node):
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node
