"""fold-v1: the form in which two copies of a text are equal whatever their case, spacing and punctuation.

Kept are letters, numbers and marks (category L, N, M), in simple lower case; everything else goes: white
space, punctuation, symbols, emoji with their selectors, controls, invisible joiners. Not done, on purpose:
NFKC (² stays apart from 2, and full-width from half-width letters), accents, traditional and simplified
characters, numbers to 0. Texts that differ in words, digits or accents stay different.

The fold is part of what a digest means: any change is a new version with a new name. Cost: 0.01 to 0.02
ms for a page of 5 kB.
"""

import numpy as np
import pyarrow as pa

from pipeline.kernels.buffers import TextBuffers, read_only, text_buffers
from pipeline.kernels.jit import kernel
from pipeline.kernels.unicode_classes import LETTER, MARK, NUMBER, load_tables
from pipeline.kernels.words import read_character

FOLD_VERSION = "fold-v1"
KEPT = LETTER | NUMBER | MARK


def fold_text(text: pa.Array) -> TextBuffers:
    """The folded UTF-8 of every document of a string or large_string array; a null folds to nothing."""
    buffers = text_buffers(text)
    size = int(buffers.offsets[-1] - buffers.offsets[0])
    # Lower case is at most half longer: Ⱥ and Ⱦ (2 bytes) become ⱥ and ⱦ (3 bytes), all others keep their
    # size or shrink.
    folded = np.empty(size + size // 2 + 1, np.uint8)
    offsets = np.zeros_like(buffers.offsets)
    _fold_documents(buffers.offsets, buffers.bytes, load_tables(), folded, offsets)
    return TextBuffers(read_only(offsets), read_only(folded[: offsets[-1]]))


@kernel
def _fold_documents(offsets, text, tables, folded, folded_offsets):
    out = np.int64(0)
    for document in range(offsets.size - 1):
        at, stop = offsets[document], offsets[document + 1]
        while at < stop:
            lead = text[at]
            if lead < 0x80:  # written always, kept or overwritten by the next: no branch to guess
                folded[out] = lead + tables.lower[lead]
                out += (tables.classes[lead] & KEPT) != 0
                at += 1
                continue
            code_point, entry, at = read_character(text, at, stop, tables)
            if tables.classes[entry] & KEPT:
                out = _encode(code_point + tables.lower[entry], folded, out)
        folded_offsets[document + 1] = out


@kernel
def _encode(code_point, folded, out):
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
