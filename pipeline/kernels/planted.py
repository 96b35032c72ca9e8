"""Planted near-duplicates: edited copies of sampled documents at graded similarity, to measure a run's own
recall.

Every choice is a keyed hash of the document's id: whether it is planted, how similar its copy shall be, and
which units are changed. A changed unit (a word; a character in `characters`, and in Chinese, where words are
characters) is replaced by another of the same document, left out, or doubled.

If every unit is changed with probability q, a shingle of w units survives with (1 - q)^w = f, and two texts
that share the share f of their shingles have a Jaccard similarity of f / (2 - f); so q = 1 - (2J / (1 +
J))^(1/w) aims at J. What is reported is the similarity that the copy really has.
"""

from fractions import Fraction
from functools import cache

import numpy as np
import pyarrow as pa

from pipeline.kernels.buffers import TextBuffers, read_only, text_array, text_buffers
from pipeline.kernels.jit import kernel
from pipeline.kernels.keyed import GAMMA, keyed_u64
from pipeline.kernels.shingles import Shingling
from pipeline.kernels.unicode_classes import load_tables
from pipeline.kernels.words import mix_bits, next_word, read_character

LEVELS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)  # the Jaccard similarities that are aimed at
_FIRST_ROWS = 32  # of every part are planted, so that small corpora have some ...
_ONE_IN = np.uint64(256)  # ... and this share of the others
_STEP = 1 << 32
_SPARE = 64  # bytes that every copy may have beyond twice its original
_REPLACE, _DROP = np.uint64(2), np.uint64(1)  # of 4: half of the changes replace, the rest drop or double


def choose_planted(ids: pa.FixedSizeBinaryArray, first_row: int, *, seed: int) -> np.ndarray:
    """Rows (int64, within the batch) that are planted; `first_row` is the batch's place in its part."""
    drawn = keyed_u64(ids, seed=seed, tag="planted")
    return np.flatnonzero((drawn % _ONE_IN == 0) | (np.arange(len(ids)) + first_row < _FIRST_ROWS))


def plant(
    text: pa.Array, ids: pa.FixedSizeBinaryArray, shingling: Shingling, *, seed: int
) -> tuple[pa.LargeStringArray, np.ndarray]:
    """(edited copies, number of the level uint8) of texts without nulls (string or large_string)."""
    drawn = keyed_u64(ids, seed=seed, tag="planted copy")
    levels = (drawn % np.uint64(len(LEVELS))).astype(np.uint8)
    limits = np.array([_change_limit(level, shingling.width) for level in LEVELS], np.uint64)[levels]
    source = text_buffers(text)
    # A copy may be twice as long as its original and a little more, which is room for what is likely: a
    # change that would not fit is not made. The limit is each document's own, whatever stands beside it.
    edited = np.empty(2 * int(source.offsets[-1] - source.offsets[0]) + _SPARE * len(text), np.uint8)
    offsets = np.zeros_like(source.offsets)
    _edit(
        source.offsets,
        source.bytes,
        load_tables(),
        shingling.unit == "characters",
        read_only(limits),
        read_only(drawn),
        edited,
        offsets,
    )
    return text_array(TextBuffers(read_only(offsets), read_only(edited[: offsets[-1]]))), levels


@cache
def _change_limit(similarity: float, width: int) -> int:
    """The share of units to change, in 2^32nds: the least q with (1 - q)^width <= f, by bisection in
    integers, so that no power of floats decides.
    """
    kept = 2 * Fraction(str(similarity)) / (1 + Fraction(str(similarity)))
    low, high = 0, _STEP
    while low < high:
        middle = (low + high) // 2
        if Fraction(_STEP - middle, _STEP) ** width <= kept:
            high = middle
        else:
            low = middle + 1
    return low


@kernel
def _edit(offsets, text, tables, by_characters, limits, keys, edited, edited_offsets):
    out = np.int64(0)
    for document in range(offsets.size - 1):
        first, stop = offsets[document], offsets[document + 1]
        at, unit = first, np.uint64(0)
        room = out + 2 * (stop - first) + _SPARE
        while at < stop:
            if by_characters:
                start = at
                _, _, end = read_character(text, at, stop, tables)
            else:
                start, end, _, _, _ = next_word(text, at, stop, tables)
            out = _copy(text, at, start, edited, out)
            if start == end:
                break
            draw = mix_bits(keys[document] + unit * GAMMA)
            unit += np.uint64(1)
            at = end
            if (
                draw & np.uint64(0xFFFFFFFF) >= limits[document]
                or out + 2 * (end - start) + (stop - end) >= room
            ):
                out = _copy(text, start, end, edited, out)
                continue
            kind = (draw >> np.uint64(32)) & np.uint64(3)
            if kind >= _REPLACE:
                out = _copy_other(
                    text, first, stop, tables, by_characters, draw, room - (stop - end), edited, out
                )
            elif kind != _DROP:
                out = _copy(text, start, end, edited, out)
                if not by_characters:
                    edited[out] = 0x20
                    out += 1
                out = _copy(text, start, end, edited, out)
        edited_offsets[document + 1] = out


@kernel
def _copy_other(text, first, stop, tables, by_characters, draw, room, edited, out):
    """Writes the unit behind a drawn place of the document (the first one at its end), if there is room."""
    place = first + np.int64((draw >> np.uint64(34)) % np.uint64(stop - first))
    while place < stop and text[place] & 0xC0 == 0x80:
        place += 1
    if by_characters:
        place = place if place < stop else first
        _, _, end = read_character(text, place, stop, tables)
    else:
        _, place, _, _, _ = next_word(text, place, stop, tables)  # the place may be inside of a word
        place, end, _, _, _ = next_word(text, place, stop, tables)
        if place == end:
            place, end, _, _, _ = next_word(text, first, stop, tables)
    if out + end - place < room:
        out = _copy(text, place, end, edited, out)
    return out


@kernel
def _copy(text, start, end, edited, out):
    for at in range(start, end):
        edited[out] = text[at]
        out += 1
    return out
