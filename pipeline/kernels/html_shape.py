"""How deep the elements of a page nest, and how many attributes its largest tag has: what decides before a
tree is built whether building it takes time that grows with the square of the page.

A count over the bytes, so it errs on the high side where end tags are left out; those that HTML allows to
leave out do not count. Comments, scripts and styles are passed over. Costs 0.1 ms for 100 kB.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.jit import kernel

# Elements without content, and those that the next one of their kind ends: they do not nest.
_FLAT = (
    "area base br col embed hr img input link meta param source track wbr "
    "p li dt dd tr td th thead tbody tfoot option optgroup colgroup rp rt"
)
_RAW = ("script", "style")
_NAME_BYTES = 8


def _packed(name: str) -> int:
    """The name in one integer, 0 if it is longer than 8 bytes."""
    return int.from_bytes(name.encode(), "big") if len(name) <= _NAME_BYTES else 0


_FLAT_NAMES = np.array(sorted(_packed(name) for name in _FLAT.split() if _packed(name)), np.uint64)
_RAW_NAMES = np.array([_packed(name) for name in _RAW], np.uint64)


def measure_shape(page: bytes) -> tuple[int, int]:
    """(depth, attributes): the deepest nesting, and the attributes of the tag that has most."""
    out = np.zeros(2, np.int64)
    _measure(np.frombuffer(page, np.uint8), _FLAT_NAMES, _RAW_NAMES, out)
    return int(out[0]), int(out[1])


@kernel
def _measure(
    page: NDArray[np.uint8], flat: NDArray[np.uint64], raw: NDArray[np.uint64], out: NDArray[np.int64]
) -> None:
    size, at, depth = len(page), 0, 0
    while at < size:
        if page[at] != 60:  # <
            at += 1
            continue
        at += 1
        if at + 2 < size and page[at] == 33 and page[at + 1] == 45 and page[at + 2] == 45:  # !--
            at = _end_of_comment(page, at + 3)
            continue
        closes = at < size and page[at] == 47
        if closes:
            at += 1
        start = at
        name = np.uint64(0)
        while at < size and (97 <= page[at] | 32 <= 122 or (at > start and 48 <= page[at] <= 57)):
            name = (name << np.uint64(8)) | np.uint64(page[at] | 32 if page[at] >= 65 else page[at])
            at += 1
        if at == start:
            continue
        if at - start > 8:
            name = np.uint64(0)
        at, attributes, is_empty = _end_of_tag(page, at)
        out[1] = max(out[1], attributes)
        if _holds(flat, name) or is_empty:
            continue
        if closes:
            depth = max(depth - 1, 0)
        elif _holds(raw, name):
            at = _end_of_raw(page, at, name)
        else:
            depth += 1
            out[0] = max(out[0], depth)


@kernel
def _holds(names: NDArray[np.uint64], name: np.uint64) -> bool:
    found = False
    for place in range(len(names)):
        found |= names[place] == name
    return found


@kernel
def _end_of_comment(page: NDArray[np.uint8], at: int) -> int:
    while at + 2 < len(page):
        if page[at] == 45 and page[at + 1] == 45 and page[at + 2] == 62:
            return at + 3
        at += 1
    return len(page)


@kernel
def _end_of_raw(page: NDArray[np.uint8], at: int, name: np.uint64) -> int:
    """Behind the end tag of a script or style, or the end of the page."""
    length = 6 if name >> np.uint64(40) else 5
    while at + 2 + length <= len(page):
        if page[at] == 60 and page[at + 1] == 47:
            found = np.uint64(0)
            for place in range(at + 2, at + 2 + length):
                found = (found << np.uint64(8)) | np.uint64(page[place] | 32)
            if found == name:
                return at + 2 + length
        at += 1
    return len(page)


@kernel
def _end_of_tag(page: NDArray[np.uint8], at: int) -> tuple[int, int, bool]:
    """(behind the tag, its attributes, whether "/" ends it); quotes count behind "=" only, as in HTML."""
    attributes, quote, before = 0, 0, 32
    while at < len(page):
        byte = page[at]
        if quote:
            if byte == quote:
                quote, before = 0, 32
        elif byte == 62:
            return at + 1, attributes, before == 47
        elif (byte == 34 or byte == 39) and before == 61:
            quote = byte
        elif byte > 32:
            if byte == 61 or before == 61:
                before = byte if byte == 61 else 97
            else:
                if (before == 32 or before == 47) and byte != 47:
                    attributes += 1
                before = byte if byte == 47 else 97
        elif before != 61:
            before = 32
        at += 1
    return at, attributes, False
