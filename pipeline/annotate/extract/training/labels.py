"""How much of each text block is main text, told by a teacher's output or by the truth.

A block's label is the share of its 6-character grams that occur in the main text; a block shorter than that
is labelled by whether it is a line there. White space and table bars do not count. Where the same words stand
in a teaser and in the article, both are labelled alike: the model learns a little noise.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

GRAM = 6
_SHORT = 16  # characters; below it a block must be a whole line of the main text
_SHORT_INSIDE = 0.7  # label of a short block that is only part of a line
_MARKDOWN = re.compile(
    r"```|`|\*\*|__|^#+\s*|^\s*[-*+]\s+|^\s*>\s?|!\[[^\]]*\]\([^)]*\)|\[([^\]]*)\]\([^)]*\)|<[^>]+>|^---.*?^---",
    re.MULTILINE | re.DOTALL,
)
_BLANK = re.compile(r"[\s|]+")


def strip_markdown(markdown: str) -> str:
    """Text of a Markdown document without its markup, roughly."""
    return _MARKDOWN.sub(lambda match: match[1] or "", markdown)


def label_blocks(blocks: Sequence[str], main_text: str) -> NDArray[np.float32]:
    """Labels [blocks] from 0 (surroundings) to 1 (main text)."""
    whole = squeeze(main_text)
    grams = {whole[at : at + GRAM] for at in range(max(len(whole) - GRAM + 1, 0))}
    lines = {squeeze(line) for line in main_text.split("\n")}
    lines |= {squeeze(line.lstrip("-•0123456789. ")) for line in main_text.split("\n")}
    return np.array([_label(squeeze(block), whole, grams, lines) for block in blocks], np.float32)


def _label(block: str, whole: str, grams: set[str], lines: set[str]) -> float:
    if len(block) < _SHORT:
        if block in lines:
            return 1.0
        return _SHORT_INSIDE if len(block) >= GRAM and block in whole else 0.0
    found = sum(block[at : at + GRAM] in grams for at in range(len(block) - GRAM + 1))
    return found / (len(block) - GRAM + 1)


def squeeze(text: str) -> str:
    """A text without its white space and table bars."""
    return _BLANK.sub("", text)
