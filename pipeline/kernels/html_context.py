"""What the second model sees beside the features: how sure the first was of a block, its neighbours, its
elements.

One model alone judges blocks one by one; this lets it see that a doubtful line stands in the middle of a sure
article, or alone in a sidebar.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.html_features import LEVELS
from pipeline.kernels.html_page import BLOCKS, CHARACTERS, ELEMENTS, PARENT, Page
from pipeline.kernels.jit import inner, kernel
from pipeline.kernels.trees import STEP

_FIXED = 17
_NEAR, _FAR = np.int64(3), np.int64(8)  # blocks on each side
CONTEXT = (
    "sure",
    "sure-1",
    "sure+1",
    "sure-2",
    "sure+2",
    "window3",
    "window8",
    "page",
    "kept_share",
    "after_first",
    "before_last",
    "run",
    "most",
    "kept_before",
    "kept_after",
    "below_most",
    "surer",
    *(f"inside{level}" for level in LEVELS),
)


def block_context(page: Page, elements: NDArray[np.int32], sure: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Context [blocks, len(CONTEXT)] from block-level elements and probabilities (times STEP) [blocks]."""
    context = np.empty((len(sure), len(CONTEXT)), np.float32)
    if len(sure):
        sums = np.zeros((int(page.state[ELEMENTS]), 2), np.int64)
        _fill(page, elements, sure, sums, np.zeros(STEP + 1, np.int64), context)
    return context


@kernel
def _fill(page, elements, sure, sums, surer, context):
    blocks = page.state[BLOCKS]
    kept, first, last, most = np.int64(0), np.int64(-1), np.int64(-1), np.int64(0)
    for block in range(blocks):
        characters, value = np.int64(page.blocks[block, CHARACTERS]), np.int64(sure[block])
        sums[elements[block], 0] += characters * value
        sums[elements[block], 1] += characters
        if value * 2 > STEP:
            kept += characters
            last = block
            first = block if first < 0 else first
        most = max(most, value)
        surer[value] += characters
    for step in range(STEP - 1, -1, -1):  # from here on: characters of blocks that are at least so sure
        surer[step] += surer[step + 1]
    for element in range(page.state[ELEMENTS] - 1, 0, -1):
        parent = page.elements[element, PARENT]
        sums[parent, 0] += sums[element, 0]
        sums[parent, 1] += sums[element, 1]
    run, kept_before = np.float32(0), np.int64(0)
    for block in range(blocks):
        row = context[block]
        value = np.int64(sure[block])
        row[0] = value
        row[1] = sure[block - 1] if block > 0 else -1
        row[2] = sure[block + 1] if block + 1 < blocks else -1
        row[3] = sure[block - 2] if block > 1 else -1
        row[4] = sure[block + 2] if block + 2 < blocks else -1
        row[5] = _window(page, sure, block, _NEAR, blocks)
        row[6] = _window(page, sure, block, _FAR, blocks)
        row[7] = _mean(sums[0, 0], sums[0, 1])
        row[8] = _mean(kept * STEP, sums[0, 1])
        row[9] = block - first
        row[10] = last - block
        row[11] = run
        row[12] = most
        row[13] = kept_before
        if value * 2 > STEP:
            kept_before += page.blocks[block, CHARACTERS]
        row[14] = kept - kept_before
        row[15] = most - value
        row[16] = _mean(surer[min(value + 1, STEP)], sums[0, 1])
        run = run * np.float32(0.75) + np.float32(value) * np.float32(0.25)
        element, level = elements[block], 0
        for place in range(len(LEVELS)):
            while level < LEVELS[place] and element > 0:
                element, level = page.elements[element, PARENT], level + 1
            row[_FIXED + place] = _mean(sums[element, 0], sums[element, 1])


@inner
def _mean(total, weight):
    return np.float32(total) / np.float32(max(weight, 1))


@inner
def _window(page, sure, block, width, blocks):
    total = weight = np.int64(0)
    for other in range(max(block - width, 0), min(block + width + 1, blocks)):
        if other != block:
            total += np.int64(sure[other]) * page.blocks[other, CHARACTERS]
            weight += page.blocks[other, CHARACTERS]
    return _mean(total, weight)
