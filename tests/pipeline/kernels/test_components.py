"""Components against SciPy's on random graphs; no order of edges may matter."""

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components as scipy_components

from pipeline.kernels.components import connected_components


def edge_array(*pairs: tuple[int, int]) -> np.ndarray:
    return np.array(pairs, np.uint64).reshape(-1, 2)


@pytest.mark.parametrize("seed", range(20))
def test_labels_and_sizes_are_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    limit = int(rng.integers(1, 2_000))
    # Locators with the upper bit set show whether anything is signed or floating on the way.
    names = np.unique(rng.integers(2**62, 2**64, limit, dtype=np.uint64))
    edges = rng.integers(0, limit, (int(rng.integers(1, 2_000)), 2))
    found = connected_components(names[edges])

    _, scipy_label = scipy_components(
        coo_array((np.ones(len(edges)), edges.T), shape=(limit, limit)), directed=False
    )
    touched = np.unique(edges)
    np.testing.assert_array_equal(found.nodes, names[touched])
    for label, size, node in zip(found.labels, found.sizes, touched, strict=True):
        members = touched[scipy_label[touched] == scipy_label[node]]
        assert label == names[members.min()]
        assert size == len(members)


def test_order_direction_and_repetition_do_not_matter() -> None:
    rng = np.random.default_rng(7)
    edges = rng.integers(0, 3_000, (2_500, 2)).astype(np.uint64)
    expected = connected_components(edges)
    shuffled = np.concatenate([edges[:900], edges])[rng.permutation(3_400)]
    flip = rng.random(len(shuffled)) < 0.5
    shuffled[flip] = shuffled[flip][:, ::-1]
    for one, other in zip(expected, connected_components(shuffled), strict=True):
        np.testing.assert_array_equal(one, other)


def test_long_chains_in_both_directions() -> None:
    chain = np.arange(100_000, dtype=np.uint64)
    for nodes in (chain, chain[::-1]):
        found = connected_components(np.stack([nodes[:-1], nodes[1:]], axis=1))
        assert not found.labels.any()
        assert (found.sizes == 100_000).all()


def test_loops_and_an_empty_graph() -> None:
    alone = connected_components(edge_array((5, 5)))
    assert (alone.nodes.tolist(), alone.labels.tolist(), alone.sizes.tolist()) == ([5], [5], [1])
    nothing = connected_components(edge_array())
    assert [column.tolist() for column in nothing] == [[], [], []]
    assert [column.dtype for column in nothing] == [np.uint64, np.uint64, np.uint32]


def test_the_edges_are_left_as_they_were_and_may_be_a_view() -> None:
    edges = edge_array((9, 1), (1, 4), (7, 8), (8, 9))
    view = np.asfortranarray(edges)[::-1]
    before = view.copy()
    assert connected_components(view).labels.tolist() == [1, 1, 1, 1, 1]
    np.testing.assert_array_equal(view, before)


@pytest.mark.parametrize(
    "edges", [np.zeros((3, 2), np.int64), np.zeros((3, 3), np.uint64), np.zeros(4, np.uint64)]
)
def test_other_arrays_are_refused(edges: np.ndarray) -> None:
    with pytest.raises(ValueError, match="edges must be uint64"):
        connected_components(edges)
