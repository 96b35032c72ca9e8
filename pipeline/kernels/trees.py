"""Gradient-boosted trees over a batch of feature rows: the same answer on every machine.

Thresholds are float32 and features are compared to them exactly; leaves are integers (2**-LEAF_BITS), so a
sum does not depend on any order; the logistic function is a table. No library that trained the trees is
needed.

Costs about 10 ns a tree and row.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.buffers import read_only
from pipeline.kernels.jit import kernel

LEAF_BITS = 16  # a leaf of 1.0 is 65,536
STEP = 1 << 10  # probabilities are multiples of 1 / STEP
_TABLE_STEPS_PER_UNIT = 64  # of the logistic function's argument
_TABLE_REACH = 8  # beyond it the probability is that at its end


class Trees(NamedTuple):
    """Trees one after the other; node 0 of each at its root. A leaf's children are itself.

    `left` and `right` are offsets from the tree's root.
    """

    roots: NDArray[np.int32]  # [trees]
    steps: NDArray[np.int32]  # [trees] how deep the deepest leaf is
    features: NDArray[np.int16]  # [nodes]
    thresholds: NDArray[np.float32]  # [nodes] left if feature <= threshold
    children: NDArray[np.int32]  # [nodes, 2] (right, left)
    leaves: NDArray[np.int32]  # [nodes] 0 at inner nodes
    logistic: NDArray[np.uint16]  # probability times STEP by step of the argument


def trees_from(arrays: dict[str, NDArray]) -> Trees:
    """Trees out of the arrays `features`, `thresholds`, `children`, `leaves`, `roots`, `steps`; ValueError.

    Checked so that no walk can leave the arrays, whatever the file says.
    """
    features = np.ascontiguousarray(arrays["features"], np.int16)
    children = np.ascontiguousarray(arrays["children"], np.int32)
    roots = np.ascontiguousarray(arrays["roots"], np.int32)
    steps = np.ascontiguousarray(arrays["steps"], np.int32)
    nodes = len(features)
    thresholds = np.ascontiguousarray(arrays["thresholds"], np.float32)
    leaves = np.ascontiguousarray(arrays["leaves"], np.int32)
    fits = (
        len(thresholds) == len(leaves) == nodes and children.shape == (nodes, 2) and len(roots) == len(steps)
    )
    if not fits or (nodes and (children.min() < 0 or children.max() >= nodes or features.min() < 0)):
        raise ValueError("the trees' arrays do not fit together")
    if len(roots) and (roots.min() < 0 or roots.max() >= nodes or steps.min() < 0 or steps.max() > 64):
        raise ValueError("the trees' roots do not fit their nodes")
    argument = np.arange(-_TABLE_REACH * _TABLE_STEPS_PER_UNIT, _TABLE_REACH * _TABLE_STEPS_PER_UNIT + 1)
    logistic = np.round(STEP / (1 + np.exp(-argument / _TABLE_STEPS_PER_UNIT))).astype(np.uint16)
    parts = (roots, steps, features, thresholds, children, leaves, logistic)
    return Trees(*(read_only(part) for part in parts))


def score_rows(trees: Trees, rows: NDArray[np.float32], todo: NDArray[np.int32]) -> NDArray[np.uint16]:
    """Probabilities (times STEP) of the rows in `todo`, 0 for others; ValueError if rows are too narrow."""
    if len(trees.features) and trees.features.max() >= rows.shape[1]:
        raise ValueError(f"the trees ask for feature {trees.features.max()}, rows have {rows.shape[1]}")
    sums = np.zeros(len(todo), np.int64)
    found = np.zeros(len(rows), np.uint16)
    _score(trees, rows, todo, sums, found)
    return found


@kernel
def _score(trees, rows, todo, sums, found):
    features, thresholds, children, leaves = trees.features, trees.thresholds, trees.children, trees.leaves
    for tree in range(trees.roots.size):
        root, steps = np.int64(trees.roots[tree]), trees.steps[tree]
        # Four rows at a time: each walk waits for memory at every step, four wait together.
        for place in range(0, todo.size - 3, 4):
            row0, row1, row2, row3 = todo[place], todo[place + 1], todo[place + 2], todo[place + 3]
            node0 = node1 = node2 = node3 = root
            for _ in range(steps):
                left0 = np.int64(rows[row0, features[node0]] <= thresholds[node0])
                left1 = np.int64(rows[row1, features[node1]] <= thresholds[node1])
                left2 = np.int64(rows[row2, features[node2]] <= thresholds[node2])
                left3 = np.int64(rows[row3, features[node3]] <= thresholds[node3])
                node0 = np.int64(children[node0, left0])
                node1 = np.int64(children[node1, left1])
                node2 = np.int64(children[node2, left2])
                node3 = np.int64(children[node3, left3])
            sums[place] += leaves[node0]
            sums[place + 1] += leaves[node1]
            sums[place + 2] += leaves[node2]
            sums[place + 3] += leaves[node3]
        for place in range(todo.size // 4 * 4, todo.size):
            node = root
            for _ in range(steps):
                left = np.int64(rows[todo[place], features[node]] <= thresholds[node])
                node = np.int64(children[node, left])
            sums[place] += leaves[node]
    last = trees.logistic.size - 1
    for place in range(todo.size):
        at = ((sums[place] * _TABLE_STEPS_PER_UNIT) >> LEAF_BITS) + last // 2
        found[todo[place]] = trees.logistic[min(max(at, 0), last)]


def load_arrays(path: Path) -> dict[str, NDArray]:
    """The arrays of an .npz file, never unpickled."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
