"""Writes the blocks that are kept as text: paragraphs apart, lists, code, tables and headings as they were.

An empty line stands between paragraphs; items of a list, rows of a table and lines of code follow each other
directly. An item begins with "- " or its number, two spaces deeper for each list around it; cells of a row
that hold plain text stand in one line, " | " between them. Code keeps its lines and indentation.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.html_page import ELEMENT, ORDINAL, PARENT, START, STOP, TAG, Page
from pipeline.kernels.html_tables import IS_BLOCK, load_html_tables, tag_number
from pipeline.kernels.jit import inner, kernel

_LI, _UL, _OL, _PRE, _TR, _TD, _TH = map(tag_number, ("li", "ul", "ol", "pre", "tr", "td", "th"))
_NEWLINE, _SPACE, _DASH, _DOT, _BAR, _ZERO = 10, 32, 45, 46, 124, 48
_MAX_LIST_DEPTH = 8
_MARKS = 2 * _MAX_LIST_DEPTH + 12 + 4  # indentation, a number with its dot, separators


def write_blocks(page: Page, keep: NDArray[np.bool_]) -> str:
    """Text of the blocks with keep [blocks]."""
    kept = page.blocks[: len(keep)][keep]
    size = int((kept[:, STOP] - kept[:, START]).sum()) + len(kept) * _MARKS
    out = np.empty(size, np.uint8)
    written = _write(page, load_html_tables(), keep, out)
    return out[:written].tobytes().decode("utf-8", "replace")


@kernel
def _write(page, tables, keep, out):
    at = 0
    last_row = last_item = last_code = last_list = np.int64(-1)
    for block in range(keep.size):
        if not keep[block]:
            continue
        element = np.int64(page.blocks[block, ELEMENT])
        while element > 0 and not tables.kinds[page.elements[element, TAG], IS_BLOCK]:
            element = page.elements[element, PARENT]
        row = _plain_row(page, element)
        item, outer, depth, code = _surroundings(page, element)
        if at > 0:
            if row >= 0 and row == last_row:
                out[at] = out[at + 2] = _SPACE
                out[at + 1] = _BAR
                at += 3
            else:
                out[at] = _NEWLINE
                at += 1
                is_code = code >= 0 and code == last_code
                is_table = (
                    row >= 0
                    and last_row >= 0
                    and page.elements[row, PARENT] == page.elements[last_row, PARENT]
                )
                is_list = outer >= 0 and outer == last_list
                if not (is_code or is_table or is_list):
                    out[at] = _NEWLINE
                    at += 1
        if row < 0 or row != last_row:
            if item >= 0 and code < 0:
                at = _write_mark(page, item, depth, item != last_item, out, at)
            for place in range(page.blocks[block, START], page.blocks[block, STOP]):
                out[at] = page.text[place]
                at += 1
        else:
            for place in range(page.blocks[block, START], page.blocks[block, STOP]):
                byte = page.text[place]
                out[at] = _SPACE if byte == _NEWLINE else byte
                at += 1
        last_row, last_item, last_code, last_list = row, item, code, outer
    return at


@inner
def _plain_row(page, element):
    """The <tr> of a cell whose text stands in the cell itself, -1 elsewhere."""
    tag = page.elements[element, TAG]
    if tag != _TD and tag != _TH:
        return np.int64(-1)
    row = np.int64(page.elements[element, PARENT])
    return row if row >= 0 and page.elements[row, TAG] == _TR else np.int64(-1)


@inner
def _surroundings(page, element):
    """(item, outermost list, depth of lists, code) around an element; -1 for what is not there."""
    item = outer = code = np.int64(-1)
    depth = 0
    while element > 0:
        tag = page.elements[element, TAG]
        if tag == _LI and item < 0:
            item = element
        elif (tag == _UL or tag == _OL) and item >= 0:
            outer = element
            depth += 1
        elif tag == _PRE and code < 0:
            code = element
        element = np.int64(page.elements[element, PARENT])
    return item, outer, min(depth, _MAX_LIST_DEPTH), code


@inner
def _write_mark(page, item, depth, is_first, out, at):
    """The mark of a list item, or spaces as wide under it."""
    for _ in range(2 * (depth - 1)):
        out[at] = _SPACE
        at += 1
    parent = page.elements[item, PARENT]
    number = page.elements[item, ORDINAL]
    if not is_first:
        out[at] = out[at + 1] = _SPACE
        return at + 2
    if page.elements[parent, TAG] != _OL:
        out[at], out[at + 1] = _DASH, _SPACE
        return at + 2
    digits, rest = 1, number // 10
    while rest > 0:
        digits, rest = digits + 1, rest // 10
    for place in range(digits - 1, -1, -1):
        out[at + place] = _ZERO + number % 10
        number //= 10
    out[at + digits], out[at + digits + 1] = _DOT, _SPACE
    return at + digits + 2
