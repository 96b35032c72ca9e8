"""How deep the elements of a page nest, and how many attributes its largest tag has: what decides before a
tree is built whether building it takes time that grows with the square of the page.

A count over the tags, so it errs on the high side where end tags are left out; those that HTML allows to
leave out do not count. Comments, scripts and styles are passed over.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.html_lexer import (
    EQUALS,
    GREATER,
    LESS,
    SLASH,
    find_byte,
    find_raw_end,
    is_letter,
    is_space,
    read_name,
    read_value,
    skip_comment,
    starts_markup,
)
from pipeline.kernels.html_page import MISSING_QUOTES
from pipeline.kernels.html_tables import key_of
from pipeline.kernels.jit import inner, kernel

_NAME_BYTES = 8  # of a name that its key holds whole
# Elements without content, and those that the next one of their kind ends: they do not nest.
_FLAT = (
    "area base br col embed hr img input link meta param source track wbr "
    "p li dt dd tr td th thead tbody tfoot option optgroup colgroup rp rt"
)
_FLAT_NAMES = np.array([key_of(name) for name in _FLAT.split()], np.uint64)
_SCRIPT, _STYLE = np.uint64(key_of("script")), np.uint64(key_of("style"))


def measure_shape(page: bytes) -> tuple[int, int]:
    """(depth, attributes): the deepest nesting, and the attributes of the tag that has most."""
    out = np.zeros(2, np.int64)
    _measure(np.frombuffer(page, np.uint8), _FLAT_NAMES, np.zeros(MISSING_QUOTES + 2, np.int64), out)
    return int(out[0]), int(out[1])


@kernel
def _measure(
    page: NDArray[np.uint8], flat: NDArray[np.uint64], state: NDArray[np.int64], out: NDArray[np.int64]
) -> None:
    at, depth = find_byte(page, np.int64(0), LESS), 0
    while at < page.size:
        if not starts_markup(page, at):
            at = find_byte(page, at + 1, LESS)
            continue
        closes = page[at + 1] == SLASH
        start = at + 2 if closes else at + 1
        if not is_letter(page[start]):
            at = find_byte(page, skip_comment(page, at), LESS)
            continue
        name, at = read_name(page, start)
        length = at - start
        at, attributes, is_empty = _skip_attributes(page, at, state)
        out[1] = max(out[1], attributes)
        is_raw = name == _SCRIPT or name == _STYLE
        if is_raw and not closes:
            at = find_raw_end(page, at, name, length)
        is_flat = is_empty or is_raw
        for place in range(len(flat)):
            is_flat |= flat[place] == name and length <= _NAME_BYTES
        if not is_flat:
            depth = max(depth - 1, 0) if closes else depth + 1
            out[0] = max(out[0], depth)
        at = find_byte(page, at, LESS)


@inner
def _skip_attributes(page, at, state):
    """(behind the tag, its attributes, whether "/" ends it)."""
    attributes, is_empty = 0, False
    while at < page.size and page[at] != GREATER:
        if is_space(page[at]) or page[at] == SLASH:
            is_empty = page[at] == SLASH
            at += 1
            continue
        _, at = read_name(page, at)
        attributes += 1
        is_empty = False
        while at < page.size and is_space(page[at]):
            at += 1
        if at < page.size and page[at] == EQUALS:
            _, _, at = read_value(page, at + 1, state)
    return at + 1, attributes, is_empty
