"""Shingles: runs of `width` consecutive units of a document, as 32-bit hashes.

A unit is
- in `words`, a word as pipeline/kernels/words.py reads it, in lower case: European text goes by words,
  Chinese,
  Japanese and Thai by characters; case, punctuation and spacing do not matter;
- in `characters`, a code point in lower case, where a run of white space is one space (none at either end);
- in `tokens`, a token id.

The hash of a shingle is a polynomial in its units' hashes, rolled from unit to unit, then mixed, of which the
upper 32 bits are kept: two documents of n and m shingles share n * m / 2^32 of them by chance, 0.0006 for two
pages of 5 kB of Chinese. Units are read in blocks, in three simple loops (hashes of units, of shingles, and
whatever is done with those), because one loop that did all would wait for every branch of the scanner.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.kernels.buffers import TextBuffers, read_only, text_buffers
from pipeline.kernels.jit import kernel
from pipeline.kernels.unicode_classes import SPACE, load_tables
from pipeline.kernels.word_hashes import fill_words
from pipeline.kernels.words import (
    HASH_BASIS,
    decode,
    mix_bits,
    read_character,
)

BLOCK = 1024  # shingles at a time: 4 kB of the first-level cache
WORDS, CHARACTERS, TOKENS = range(3)
_UNITS = ("words", "characters", "tokens")
_HALF = np.uint64(32)
# The base of the polynomial over unit hashes: the first 64 bits of pi's fraction, odd and chosen by nobody.
_BASE = np.uint64(0x243F6A8885A308D3)


class Shingling(NamedTuple):
    """How documents are cut up: `unit` (words, characters or tokens), units per shingle, and how much of a
    document counts (characters; token ids in `tokens`).
    """

    unit: str
    width: int
    max_characters: int


class Units(NamedTuple):
    """Documents as kernels read them: bytes of UTF-8 or token ids, end to end, without what is too much."""

    kind: int
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    values: NDArray  # uint8 of text, int32 of tokens
    capped: NDArray[np.bool_]


class ShingleSets(NamedTuple):
    """Sorted distinct shingle hashes: document i has `hashes[offsets[i]:offsets[i + 1]]`."""

    offsets: NDArray[np.int64]
    hashes: NDArray[np.uint32]

    def split(self) -> list[NDArray[np.uint32]]:
        """The set of every document."""
        return [self.hashes[start:end] for start, end in pairwise(self.offsets.tolist())]


def open_units(units: pa.Array, shingling: Shingling) -> Units:
    """Text (string, large_string) or token ids (list<int32>) as `shingling` reads them; a null is empty.

    ValueError for a shingling that cannot be; TypeError for arrays of another type.
    """
    unit, width, most = shingling
    if unit not in _UNITS or width < 1 or most < 1:
        raise ValueError(f"{shingling}: the unit must be one of {', '.join(_UNITS)}, the numbers at least 1")
    kind = _UNITS.index(unit)
    if kind == TOKENS:
        offsets, values = _token_buffers(units)
        starts, stops = offsets[:-1], np.minimum(offsets[1:], offsets[:-1] + most)
        return Units(kind, read_only(starts), read_only(stops), read_only(values), offsets[1:] > stops)
    buffers = text_buffers(units)
    stops = _ends(buffers, most)
    capped = stops < buffers.offsets[1:]
    return Units(kind, buffers.offsets[:-1], read_only(stops), buffers.bytes, capped)


def _token_buffers(tokens: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    if not isinstance(tokens, pa.ListArray | pa.LargeListArray) or tokens.type.value_type != pa.int32():
        raise TypeError(f"token ids must be list<int32>, not {tokens.type}")
    lengths = tokens.value_lengths().fill_null(0).to_numpy().astype(np.int64)
    values = tokens.flatten().to_numpy()  # without what nulls hide
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths))), values


def _ends(buffers: TextBuffers, most: int) -> NDArray[np.int64]:
    """Where each document ends after at most so many characters (a code point has at least one byte)."""
    starts, stops = buffers.offsets[:-1], buffers.offsets[1:].copy()
    for document in np.flatnonzero(stops - starts > most):
        text = buffers.bytes[starts[document] : stops[document]]
        begins = np.flatnonzero(text & 0xC0 != 0x80)  # the first byte of every character
        if len(begins) > most:
            stops[document] = starts[document] + begins[most]
    return stops


def shingle_sets(units: pa.Array, shingling: Shingling) -> ShingleSets:
    """The distinct shingle hashes of every document: the numbers that its signature is made of."""
    opened = open_units(units, shingling)
    room = int(np.maximum(opened.stops - opened.starts, 0).sum())
    hashes, counts = np.empty(room, np.uint32), np.zeros(len(opened.starts), np.int64)
    _list_shingles(
        opened.kind,
        opened.starts,
        opened.stops,
        opened.values,
        load_tables(),
        np.empty(BLOCK + shingling.width - 1, np.uint64),
        np.empty(BLOCK, np.uint32),
        np.int64(shingling.width),
        hashes,
        counts,
    )
    document = np.repeat(np.arange(len(counts), dtype=np.uint64), counts)
    keyed = np.sort(document << _HALF | hashes[: len(document)])
    distinct = np.ones(len(keyed), bool)
    distinct[1:] = keyed[1:] != keyed[:-1]  # np.unique would take 70 times as long as the sort
    keyed = keyed[distinct]
    offsets = np.searchsorted(keyed >> _HALF, np.arange(len(counts) + 1, dtype=np.uint64))
    return ShingleSets(offsets, keyed.astype(np.uint32))


@kernel
def fill_units(kind, values, at, stop, tables, hashes, filled):
    """Hashes of the units from `at` on, into `hashes[filled:]`: (filled after it, position after it)."""
    if kind == WORDS:
        return fill_words(values, at, stop, tables, hashes, filled)
    if kind == CHARACTERS:
        return _fill_characters(values, at, stop, tables, hashes, filled)
    while at < stop and filled < hashes.size:
        hashes[filled] = mix_bits(np.uint64(np.uint32(values[at])) + HASH_BASIS)
        filled += 1
        at += 1
    return filled, at


@kernel
def _fill_characters(text, at, stop, tables, hashes, filled):
    while at < stop and filled < hashes.size:
        code_point, entry, after = read_character(text, at, stop, tables)
        if tables.classes[entry] & SPACE:
            after = skip_spaces(text, after, stop, tables)
            code_point = np.int64(0x20)
        else:
            code_point += tables.lower[entry]
        hashes[filled] = mix_bits(np.uint64(code_point) + HASH_BASIS)
        filled += 1
        at = after
    return filled, at


@kernel
def skip_spaces(text, at, stop, tables):
    """The position of the first character at or after `at` that is no white space."""
    while at < stop:
        _, entry, after = read_character(text, at, stop, tables)
        if not tables.classes[entry] & SPACE:
            break
        at = after
    return at


@kernel
def trim_end(text, start, stop, tables):
    """The end of a text without the white space at its end."""
    at = stop
    while at > start:
        before = at - 1
        while before > start and text[before] & 0xC0 == 0x80:
            before -= 1
        code_point, after = decode(text, before, stop)
        if after != at or not _is_space(code_point, tables):
            break
        at = before
    return at


@kernel
def _is_space(code_point, tables):
    entry = (np.int64(tables.blocks[code_point >> 7]) << 7) + (code_point & 127)
    return tables.classes[entry] & SPACE != 0


@kernel
def bounds(kind, values, start, stop, tables):
    """The part of a document that is read: in `characters`, without white space at its ends."""
    if kind == CHARACTERS:
        start = skip_spaces(values, start, stop, tables)
        stop = trim_end(values, start, stop, tables)
    return start, stop


@kernel
def roll_shingles(hashes, filled, width, block):
    """Shingle hashes of `hashes[:filled]` into `block`: how many."""
    if filled < width:
        return np.int64(0)
    leaving = np.uint64(1)  # the hash of a unit that leaves the shingle was multiplied `width` times
    rolled = np.uint64(0)
    for unit in range(width):
        leaving *= _BASE
        rolled = rolled * _BASE + hashes[unit]
    block[0] = mix_bits(rolled) >> _HALF
    for unit in range(width, filled):
        rolled = rolled * _BASE + hashes[unit] - hashes[unit - width] * leaving
        block[unit - width + 1] = mix_bits(rolled) >> _HALF
    return filled - width + 1


@kernel
def carry_over(hashes, filled, width):
    """Moves the units that the next block's shingles begin with to the front: how many."""
    kept = min(filled, width - 1)
    for unit in range(kept):
        hashes[unit] = hashes[filled - kept + unit]
    return kept


@kernel
def _list_shingles(kind, starts, stops, values, tables, hashes, block, width, listed, counts):
    place = np.int64(0)
    for document in range(starts.size):
        at, stop = bounds(kind, values, starts[document], stops[document], tables)
        kept = np.int64(0)
        while at < stop:
            filled, at = fill_units(kind, values, at, stop, tables, hashes, kept)
            found = roll_shingles(hashes, filled, width, block)
            for shingle in range(found):
                listed[place + shingle] = block[shingle]
            place += found
            counts[document] += found
            if filled == kept:
                break
            kept = carry_over(hashes, filled, width)
