"""Components against SciPy's on random graphs; no order of edges may matter."""

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components as scipy_components

from pipeline.kernels.components import forest_edges, join_edges, new_forest, part_starts

ROWS = np.array([700, 0, 1, 1_299], np.int64)
STARTS = part_starts(ROWS)


def locators(nodes: np.ndarray) -> np.ndarray:
    part = np.searchsorted(STARTS, nodes, side="right") - 1
    return part.astype(np.uint64) << np.uint64(32) | (nodes - STARTS[part]).astype(np.uint64)


def forest(edges: np.ndarray, blocks: int = 1, dtype: type = np.uint32) -> list[list[int]]:
    parents = new_forest(STARTS).astype(dtype)
    for block in np.array_split(edges, blocks):
        join_edges(parents, STARTS, block)
    return np.concatenate([np.empty((0, 2), np.uint64), *forest_edges(parents, STARTS)]).tolist()


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
@pytest.mark.parametrize("seed", range(10))
def test_roots_are_the_smallest_of_scipys_components(seed: int, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    nodes = int(STARTS[-1])
    edges = rng.integers(0, nodes, (int(rng.integers(1, 2 * nodes)), 2))
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(nodes, nodes))
    label = scipy_components(graph, directed=False)[1]
    smallest = np.full(label.max() + 1, nodes)
    np.minimum.at(smallest, label, np.arange(nodes))
    joined = np.flatnonzero(smallest[label] != np.arange(nodes))
    wanted = np.stack([locators(joined), locators(smallest[label][joined])], axis=1)
    assert forest(locators(edges), dtype=dtype) == wanted.tolist()


def test_order_direction_repetition_and_blocks_do_not_matter() -> None:
    rng = np.random.default_rng(7)
    edges = locators(rng.integers(0, int(STARTS[-1]), (1_500, 2)))
    shuffled = np.concatenate([edges[:900], edges])[rng.permutation(2_400)]
    flip = rng.random(len(shuffled)) < 0.5
    shuffled[flip] = shuffled[flip][:, ::-1]
    assert forest(edges) == forest(shuffled, blocks=17)


def test_long_chains_and_stars() -> None:
    order = np.random.default_rng(1).permutation(int(STARTS[-1]))
    chain = np.stack([order[:-1], order[1:]], axis=1)
    star = np.stack([np.full(len(order), order[0]), order], axis=1)
    for edges in (chain, chain[::-1], star):
        found = forest(locators(edges))
        assert len(found) == len(order) - 1
        assert {root for _, root in found} == {0}


def test_nothing_and_loops() -> None:
    assert forest(np.empty((0, 2), np.uint64)) == []
    assert forest(locators(np.array([[5, 5], [1999, 1999]]))) == []


@pytest.mark.parametrize("locator", [700, 1 << 32, 3 << 32 | 1_299, 4 << 32, 2**64 - 1])
def test_a_document_that_is_not_there_is_refused(locator: int) -> None:
    with pytest.raises(ValueError, match=f"{locator:#x} names a document"):
        forest(np.array([[0, 1], [0, locator]], np.uint64))


@pytest.mark.parametrize(
    "edges", [np.zeros(4, np.uint64), np.zeros((2, 2), np.int64), np.zeros((2, 3), np.uint64)]
)
def test_other_shapes_are_refused(edges: np.ndarray) -> None:
    with pytest.raises(ValueError, match="edges must be"):
        join_edges(new_forest(STARTS), STARTS, edges)
