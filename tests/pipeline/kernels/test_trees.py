"""Boosted trees against a walk in plain Python."""

import numpy as np
import pytest

from pipeline.kernels.trees import LEAF_BITS, STEP, score_rows, trees_from


def random_trees(trees: int, features: int, seed: int) -> dict[str, np.ndarray]:
    """Complete trees of depth 3 with leaves between -1 and 1."""
    random = np.random.default_rng(seed)
    nodes = 15
    children = np.array(
        [[min(2 * n + 2, nodes - 1), 2 * n + 1] if n < 7 else [n, n] for n in range(nodes)], np.int32
    )
    return {
        "features": random.integers(0, features, trees * nodes).astype(np.int16),
        "thresholds": random.normal(size=trees * nodes).astype(np.float32),
        "children": np.concatenate([children + tree * nodes for tree in range(trees)]),
        "leaves": np.tile(np.where(np.arange(nodes) < 7, 0, 1), trees)
        * random.integers(-(1 << LEAF_BITS), 1 << LEAF_BITS, trees * nodes).astype(np.int32),
        "roots": np.arange(trees, dtype=np.int32) * nodes,
        "steps": np.full(trees, 3, np.int32),
    }


def test_sums_are_those_of_a_plain_walk() -> None:
    arrays = random_trees(20, 5, seed=3)
    rows = np.random.default_rng(4).normal(size=(50, 5)).astype(np.float32)
    found = score_rows(trees_from(arrays), rows, np.arange(0, 50, 2, dtype=np.int32))
    assert not found[1::2].any()
    for row in range(0, 50, 2):
        total = 0
        for root in arrays["roots"]:
            node = root
            for _ in range(3):
                goes_left = rows[row, arrays["features"][node]] <= arrays["thresholds"][node]
                node = arrays["children"][node, int(goes_left)]
            total += int(arrays["leaves"][node])
        assert abs(found[row] / STEP - 1 / (1 + np.exp(-total / (1 << LEAF_BITS)))) < 1 / 200


def test_a_value_at_the_threshold_goes_left() -> None:
    arrays = random_trees(1, 1, seed=0)
    arrays["thresholds"][:] = 0.5
    arrays["leaves"][:] = np.where(np.arange(15) == 7, 3 << LEAF_BITS, -3 << LEAF_BITS)
    rows = np.array([[0.5], [np.nextafter(np.float32(0.5), np.float32(1))]], np.float32)
    low, high = score_rows(trees_from(arrays), rows, np.arange(2, dtype=np.int32)).tolist()
    assert low > STEP * 0.9 and high < STEP * 0.1


@pytest.mark.parametrize(
    ("name", "value"), [("children", 15), ("children", -1), ("roots", 99), ("steps", -1), ("features", -2)]
)
def test_arrays_that_would_lead_outside_are_refused(name: str, value: int) -> None:
    arrays = random_trees(1, 3, seed=1)
    arrays[name].flat[0] = value
    with pytest.raises(ValueError, match="trees"):
        trees_from(arrays)


def test_rows_that_are_too_narrow_are_refused() -> None:
    trees = trees_from(random_trees(5, 9, seed=2))
    with pytest.raises(ValueError, match="feature 8"):
        score_rows(trees, np.zeros((1, 8), np.float32), np.zeros(1, np.int32))
