"""A page as text blocks, each with the probability that it is main text.

First the rules that need no model: what stands in navigation, buttons, menus, in a footer outside any
article, or is one link of a list of links, is surroundings. Then the first model judges every block that is
left, and the second judges them again, seeing what the first said of their neighbours.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.html_context import block_context
from pipeline.kernels.html_features import block_features
from pipeline.kernels.html_page import CHARACTERS, Page
from pipeline.kernels.html_rules import open_blocks
from pipeline.kernels.html_scan import scan_page
from pipeline.kernels.trees import STEP, Trees, score_rows

_LONG = 80  # characters of a paragraph
_SURE = STEP // 40  # a chance this near 0 or 1 stays: half of all blocks; no F1 on any set changed by 0.0001


class Blocks(NamedTuple):
    """A scanned page with what the models see of it."""

    page: Page
    features: NDArray[np.float32]  # [blocks, features]
    elements: NDArray[np.int32]  # [blocks] block-level elements
    open: NDArray[np.int32]  # blocks that no rule has decided


class Judgement(NamedTuple):
    """Probabilities [blocks], times trees.STEP, and how unsure they are on the whole."""

    chances: NDArray[np.uint16]
    doubt: int  # mean over characters of min(p, 1 - p), times STEP; STEP // 2 is none the wiser


def find_blocks(html: bytes) -> Blocks:
    """Blocks of a page in UTF-8; html_scan.TooManyBlocks if there are too many."""
    page = scan_page(html)
    features, elements = block_features(page)
    return Blocks(page, features, elements, open_blocks(page, features, elements))


def block_lengths(blocks: Blocks) -> NDArray[np.int64]:
    """Characters [blocks] of each block."""
    return blocks.page.blocks[: len(blocks.features), CHARACTERS].astype(np.int64)


def judge_blocks(blocks: Blocks, first: Trees, second: Trees) -> Judgement:
    """What both models say."""
    chances = score_rows(first, blocks.features, blocks.open)
    chances = judge_again(blocks, chances, second)
    lengths = block_lengths(blocks)
    wide = chances.astype(np.int64)
    doubt = int((np.minimum(wide, STEP - wide) * lengths).sum() // max(int(lengths.sum()), 1))
    return Judgement(chances, doubt)


class Cuts(NamedTuple):
    """From which chances on, times trees.STEP, a block is kept; training/cuts.py chooses them."""

    kept: int  # on a page as they were learned
    likely: int  # of a long block: it may be main text
    lowered: int  # on a page where what is kept is little beside what is likely


def is_kept(chances: NDArray[np.uint16], lengths: NDArray[np.int64], cuts: Cuts) -> NDArray[np.bool_]:
    """Which blocks [blocks] are main text, by their chances and characters [blocks].

    A page that differs from all that were learned from gets low chances everywhere; its long blocks are then
    still the likeliest.
    """
    kept = chances > cuts.kept
    likely = int(lengths[(chances > cuts.likely) & (lengths > _LONG)].sum())
    return kept if int(lengths[kept].sum()) * 10 >= 3 * likely else chances > cuts.lowered


def judge_again(blocks: Blocks, chances: NDArray[np.uint16], second: Trees) -> NDArray[np.uint16]:
    """Chances [blocks] by the second model where the first, whose chances are given, is not sure."""
    asked = chances[blocks.open]
    open_still = blocks.open[(asked > _SURE) & (asked < STEP - _SURE)]
    context = block_context(blocks.page, blocks.elements, chances)
    rows = np.concatenate([context[open_still], blocks.features[open_still]], axis=1)
    found = chances.copy()
    found[open_still] = score_rows(second, rows, np.arange(len(rows), dtype=np.int32))
    return found


def with_context(blocks: Blocks, chances: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Features of the second model: its context, then those of the first."""
    return np.hstack([block_context(blocks.page, blocks.elements, chances), blocks.features])
