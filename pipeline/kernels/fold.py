"""Folds: forms in which two copies of a text are equal although they are not the same bytes.

- `none-v1`: the bytes as they are stored.
- `fold-v1`: kept are letters, numbers and marks (category L, N, M), in simple lower case. All else goes:
  white space, punctuation, symbols, emoji with their selectors, controls, invisible joiners.
- `nfkc-v1`: Unicode's NFKC first (² becomes 2, full-width letters become ordinary ones), then fold-v1.
- `nfkc-digits-v1`: nfkc-v1 in which every decimal digit of any script is 0, as in CCNet (Wenzek et al. 2019).
  Pages that differ in dates and prices are equal, those that differ in how many digits they have are not: one
  0 for a whole run of digits would make equal what is as different as "2" and "20,000".
- `nfkc-hans-v1`: nfkc-v1 in which traditional Chinese characters are simplified, one by one (OpenCC's table).

Accents stay in all of them. A fold changes only the key that texts are compared by, never a text, and it is
part of what a digest means: any change is a new version with a new name. NFKC is Python's: a character that
Unicode has assigned keeps its form for ever, but those that came after Unicode 14 have one only in a younger
Python than 3.11. Cost for a page of 5 kB: 0.01 to 0.04 ms, with NFKC 0.02 to 0.1 ms, and 0.3 ms where there
is much to compose or to replace (Chinese with full-width punctuation).
"""

from functools import cache
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.config import FOLDS
from pipeline.kernels.buffers import TextBuffers, read_only, text_buffers
from pipeline.kernels.jit import kernel
from pipeline.kernels.unicode_classes import DIGIT, LETTER, MARK, NUMBER, load_tables
from pipeline.kernels.words import read_character

KEPT = LETTER | NUMBER | MARK
HANS_TABLE = Path(__file__).with_name("hans-v1.txt")
_HAN_FIRST, _HAN_LAST = 0x3400, 0x2FFFF  # where the table of traditional characters has its entries
_NOTHING = read_only(np.zeros(0, np.uint32))


def fold_text(text: pa.Array, *, fold: str = "fold-v1") -> TextBuffers:
    """The folded UTF-8 of every document of a string or large_string array; a null folds to nothing.

    ValueError for a fold that there is not.
    """
    if fold not in FOLDS:
        raise ValueError(f"no fold {fold!r}; there are {', '.join(FOLDS)}")
    if fold == "none-v1":
        return text_buffers(text)
    if fold != "fold-v1":
        text = _nfkc(text)
    buffers = text_buffers(text)
    size = int(buffers.offsets[-1] - buffers.offsets[0])
    # At most half longer: of lower case only Ⱥ and Ⱦ (2 bytes) grow, to ⱥ and ⱦ (3 bytes); a character of 3
    # bytes may have a simplified form of 4.
    folded = np.empty(size + size // 2 + 1, np.uint8)
    offsets = np.zeros_like(buffers.offsets)
    simplified = simplified_characters() if fold == "nfkc-hans-v1" else _NOTHING
    zeroed = np.int64(DIGIT if fold == "nfkc-digits-v1" else 0)
    _fold_documents(buffers.offsets, buffers.bytes, load_tables(), simplified, zeroed, folded, offsets)
    return TextBuffers(read_only(offsets), read_only(folded[: offsets[-1]]))


def _nfkc(text: pa.Array) -> pa.Array:
    """By Python: pyarrow.compute.utf8_normalize (25.0.1 at least) decomposes and does not compose."""
    return pa.array([None if one is None else normalize("NFKC", one) for one in text.to_pylist()], text.type)


@cache
def simplified_characters() -> NDArray[np.uint32]:
    """For every code point from U+3400 to U+2FFFF its simplified form, itself for most; 0.7 MB."""
    table = np.arange(_HAN_FIRST, _HAN_LAST + 1, dtype=np.uint32)
    for line in HANS_TABLE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            traditional, simplified = line
            table[ord(traditional) - _HAN_FIRST] = ord(simplified)
    return read_only(table)


@kernel
def _fold_documents(offsets, text, tables, simplified, zeroed, folded, folded_offsets):
    out = np.int64(0)
    for document in range(offsets.size - 1):
        at, stop = offsets[document], offsets[document + 1]
        while at < stop:
            lead = text[at]
            if lead < 0x80:  # written always, kept or overwritten by the next: no branch to guess
                folded[out] = 0x30 if tables.classes[lead] & zeroed else lead + tables.lower[lead]
                out += (tables.classes[lead] & KEPT) != 0
                at += 1
                continue
            code_point, entry, at = read_character(text, at, stop, tables)
            if tables.classes[entry] & KEPT:
                code_point += tables.lower[entry]
                if tables.classes[entry] & zeroed:
                    code_point = np.int64(0x30)
                elif 0 <= code_point - _HAN_FIRST < simplified.size:
                    code_point = np.int64(simplified[code_point - _HAN_FIRST])
                out = encode(code_point, folded, out)
        folded_offsets[document + 1] = out


@kernel
def encode(code_point, folded, out):
    """Write one code point as UTF-8 at `out`; returns the position after it."""
    if code_point < 0x80:
        folded[out] = code_point
        return out + 1
    if code_point < 0x800:
        folded[out] = 0xC0 | code_point >> 6
        folded[out + 1] = 0x80 | code_point & 0x3F
        return out + 2
    if code_point < 0x10000:
        folded[out] = 0xE0 | code_point >> 12
        folded[out + 1] = 0x80 | code_point >> 6 & 0x3F
        folded[out + 2] = 0x80 | code_point & 0x3F
        return out + 3
    folded[out] = 0xF0 | code_point >> 18
    folded[out + 1] = 0x80 | code_point >> 12 & 0x3F
    folded[out + 2] = 0x80 | code_point >> 6 & 0x3F
    folded[out + 3] = 0x80 | code_point & 0x3F
    return out + 4
