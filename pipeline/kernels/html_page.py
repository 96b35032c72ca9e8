"""The arrays that one page is scanned into: elements, text blocks, and scratch memory, sized from the page.

An *element* is a start tag that can hold text; element 0 is the page itself. A *block* is a run of text that
no block-level tag interrupts: a paragraph, a list item, a cell, a heading. Blocks are in page order, their
text end to end in `text`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.html_tables import TAGS

MAX_ELEMENTS = 1 << 18  # further start tags are read as if they were not there
MAX_BLOCKS = 1 << 15  # a page of more is refused; the largest of 3,371 real pages had 6,900
MAX_DEPTH = 512  # elements nested deeper hang from the 512th
MAX_METAS = 128
MAX_SCRIPTS = 8  # JSON-LD

# Columns of `blocks`: where its text starts and stops, the innermost element open at its first character, and
# counts: code points; words (runs between spaces); code points inside links; links; commas; sentence ends;
# A-Z; 0-9; Chinese and Japanese code points; words of at most 3; line breaks.
(
    START, STOP, ELEMENT, CHARACTERS, WORDS, LINKED, LINKS, COMMAS, STOPS, UPPER, DIGITS, CJK, SHORT_WORDS,
    BREAKS, BLOCK_COLUMNS,
) = range(15)  # fmt: skip
COUNTS = BLOCK_COLUMNS - CHARACTERS

# Columns of `elements`: tag number; the element it stands in (-1 for element 0); how deep; of an <li> its
# place in the list, from 1; <li> that it holds so far; 1 if it, or one around it, is hidden.
TAG, PARENT, LEVEL, ORDINAL, ITEMS, HIDDEN, ELEMENT_COLUMNS = range(7)
# Columns of `masks`: cue groups in class, id, role and itemprop; hash of tag and class, 0 without a class.
CUES, CLASS, MASK_COLUMNS = range(3)

# Places in `state`: numbers that outlive a call of the scanner's parts. INDENT counts spaces (positive) or
# tabs (negative) at the start of a line of code; SKIP_DEPTH and MATH_TEXT are where what is not read began.
(
    TEXT, BLOCK_START, BLOCKS, ELEMENTS, DEPTH, OVERFLOW, SPACE, INDENT, WORD, BREAK_RUN, SKIP_DEPTH,
    MATH_DEPTH, MATH_TEXT, MATH_SPACE, MATH_DONE, METAS, SCRIPTS, TITLE_START, TITLE_STOP, LANG_START,
    LANG_STOP, TOO_MANY, COUNTING,
) = range(23)  # fmt: skip
# And runs of places: the counts of the block that is being read, the open elements, how many of each tag are
# open, kinds of end that the rest of the page does not hold (raw tags, then quotes), <meta> tags, JSON-LD.
COUNTS_AT = COUNTING - CHARACTERS  # plus a column
STACK = COUNTING + COUNTS
OPEN = STACK + MAX_DEPTH
MISSING = OPEN + len(TAGS)
MISSING_QUOTES = MISSING + len(TAGS)
META_PLACES = MISSING_QUOTES + 2
SCRIPT_PLACES = META_PLACES + 2 * MAX_METAS
STATES = SCRIPT_PLACES + 2 * MAX_SCRIPTS


class Page(NamedTuple):
    """One page's elements and blocks; `state` says how many. Few arrays, because each costs at every call."""

    text: NDArray[np.uint8]  # UTF-8 of all blocks
    blocks: NDArray[np.int32]  # [blocks, BLOCK_COLUMNS]
    elements: NDArray[np.int32]  # [elements, ELEMENT_COLUMNS]
    masks: NDArray[np.uint64]  # [elements, MASK_COLUMNS]
    state: NDArray[np.int64]  # [STATES]

    def block_count(self) -> int:
        """Text blocks found."""
        return int(self.state[BLOCKS])

    def block_text(self, block: int) -> str:
        """A block's text."""
        start, stop = self.blocks[block, :ELEMENT]
        return self.text[start:stop].tobytes().decode("utf-8", "replace")

    def block_texts(self) -> list[str]:
        """The texts [blocks] of all blocks."""
        return [self.block_text(block) for block in range(self.block_count())]


def empty_page(page_bytes: int, tags: int) -> Page:
    """Arrays for a page of so many bytes and "<": 100 bytes per tag, 1 per byte."""
    elements = min(tags, MAX_ELEMENTS) + 1
    state = np.zeros(STATES, np.int64)
    state[BLOCK_START] = -1
    state[ELEMENTS] = 1
    page = Page(
        text=np.empty(page_bytes + 64, np.uint8),
        blocks=np.empty((min(tags + 2, MAX_BLOCKS), BLOCK_COLUMNS), np.int32),
        elements=np.empty((elements, ELEMENT_COLUMNS), np.int32),
        masks=np.empty((elements, MASK_COLUMNS), np.uint64),
        state=state,
    )
    page.elements[0] = (0, -1, 0, 0, 0, 0)
    page.masks[0] = 0
    return page
