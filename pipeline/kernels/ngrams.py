"""n-grams of words that also stand in a frozen index: how many a document has, where, and which.

Words are those of pipeline/kernels/words.py, so that case, punctuation, spacing, the kind of apostrophe and
invisible joiners do not matter, and a Han, kana or Thai character is a word. Full-width letters and digits
count as the plain ones. The key of an n-gram is a polynomial in the hashes of its words, mixed, all 64 bits
of it: of 10^12 n-grams of a corpus, an index of 10 million meets 0.5 by chance.

The index is a sorted list of keys, entered by their upper bits, behind a filter for each number of words:
one bit per key in 8 to 16, by the key's lower bits, so that one of the many misses costs one load. Memory: 13
bytes per n-gram, 1 to 2 of them for the filter, which fits the second-level cache (1 MB) up to half a million
n-grams. Cost for 5 kB of text: 0.03 ms of English and 0.05 ms of Chinese in small indexes, 0.10 and 0.14 ms
in one of 10 million n-grams, and 0.016 ms for every further number of words that some n-grams have.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.kernels.buffers import read_only, text_buffers
from pipeline.kernels.jit import kernel
from pipeline.kernels.shingles import BLOCK, carry_over
from pipeline.kernels.unicode_classes import BLOCK_BITS, UnicodeTables, load_tables
from pipeline.kernels.word_hashes import fill_words
from pipeline.kernels.words import mix_bits, next_word

# The base of the polynomial: the second 64 bits of pi's fraction, made odd (shingles.py has the first).
_BASE = np.uint64(0x13198A2E03707345)
_FILTER_BITS_PER_KEY = 8  # at least; up to twice as many
_LEAST_FILTER_BITS = 12
_KEYS_PER_RANGE = 4
_SIX, _WORD_MASK, _ONE = np.uint64(6), np.uint64(63), np.uint64(1)


class NgramIndex(NamedTuple):
    """`widths` int64, rising: words per n-gram. `keys` uint64, sorted and distinct; those whose upper bits
    are u are keys[starts[u]:starts[u + 1]] (int64). The filter of widths[i] is
    filters[bounds[i]:bounds[i + 1]] (uint64, a power of two of them). All are read-only.
    """

    widths: NDArray[np.int64]
    keys: NDArray[np.uint64]
    starts: NDArray[np.int64]
    filters: NDArray[np.uint64]
    bounds: NDArray[np.int64]


class Ngrams(NamedTuple):
    """Found n-grams by document, width and place: `document` int64, bytes [`start`, `end`) of its text
    (uint32), `key` uint64.
    """

    document: NDArray[np.int64]
    start: NDArray[np.uint32]
    end: NDArray[np.uint32]
    key: NDArray[np.uint64]


def build_index(keys: NDArray[np.uint64], words: NDArray[np.int64]) -> NgramIndex:
    """The index of n-grams with sorted distinct `keys`, each of so many `words`."""
    widths, filters = np.unique(words), [np.zeros(0, np.uint64)]
    for width in widths:
        of_width = keys[words == width]
        bits = max(_LEAST_FILTER_BITS, (len(of_width) * _FILTER_BITS_PER_KEY - 1).bit_length())
        filters.append(np.zeros(1 << (bits - 6), np.uint64))
        places = of_width & np.uint64((1 << bits) - 1)
        np.bitwise_or.at(filters[-1], places >> _SIX, _ONE << (places & _WORD_MASK))
    upper = max(1, (len(keys) // _KEYS_PER_RANGE).bit_length())
    starts = np.searchsorted(keys >> np.uint64(64 - upper), np.arange((1 << upper) + 1, dtype=np.uint64))
    bounds = np.cumsum([len(of_width) for of_width in filters])
    arrays = (widths.astype(np.int64), keys, starts.astype(np.int64), np.concatenate(filters), bounds)
    return NgramIndex(*(read_only(array) for array in arrays))


def list_ngrams(
    text: pa.Array, *, width: int, whole_from: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
    """(text, words, key) of all n-grams of `width` words, and of texts that have fewer words, but at least
    `whole_from` (0: never), as one n-gram of their own length; by words, text and place.
    """
    buffers = text_buffers(text)
    room = int(buffers.offsets[-1] - buffers.offsets[0])
    hashes, counts = np.empty(room, np.uint64), np.zeros(len(text), np.int64)
    _hash_words(buffers.offsets, buffers.bytes, _wide_tables(), hashes, counts)
    firsts = np.cumsum(counts) - counts
    texts, widths, keys = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    for words in range(whole_from or width, width + 1):
        rows = np.flatnonzero(counts >= width if words == width else counts == words)
        number = counts[rows] - words + 1
        at = np.repeat(firsts[rows] - (np.cumsum(number) - number), number) + np.arange(number.sum())
        rolled = np.zeros(len(at), np.uint64)
        for word in range(words):
            rolled = rolled * _BASE + hashes[at + word]
        texts.append(np.repeat(rows, number))
        widths.append(np.full(len(at), words))
        keys.append(_mixed(rolled))
    return np.concatenate(texts), np.concatenate(widths), np.concatenate(keys)


def count_ngrams(text: pa.Array, index: NgramIndex) -> NDArray[np.int64]:
    """How many n-grams of each document (string or large_string; a null has none) the index has."""
    buffers, counts = text_buffers(text), np.zeros(len(text), np.int64)
    if len(index.keys):
        scratch = _scratch(index)
        _count_found(buffers.offsets, buffers.bytes, _wide_tables(), *index, *scratch, counts)
    return counts


def find_ngrams(text: pa.Array, index: NgramIndex) -> Ngrams:
    """The n-grams that the index has; documents that have any are read a second time."""
    counts = count_ngrams(text, index)
    rows = np.flatnonzero(counts)
    found = int(counts.sum())
    documents, words = np.empty(found, np.int64), np.empty(found, np.int64)
    widths, keys = np.empty(found, np.int64), np.empty(found, np.uint64)
    if not found:
        nowhere = np.empty(0, np.uint32)
        return Ngrams(documents, nowhere, nowhere, keys)
    buffers, tables, scratch = text_buffers(text.take(pa.array(rows))), _wide_tables(), _scratch(index)
    _list_found(buffers.offsets, buffers.bytes, tables, *index, *scratch, documents, words, widths, keys)
    room = int(buffers.offsets[-1] - buffers.offsets[0])
    starts, ends, firsts = np.empty(room, np.uint32), np.empty(room, np.uint32), np.empty(len(rows), np.int64)
    _place_words(buffers.offsets, buffers.bytes, tables, starts, ends, firsts)
    at = firsts[documents] + words
    return Ngrams(rows[documents], starts[at], ends[at + widths - 1], keys)


@cache
def _wide_tables() -> UnicodeTables:
    """The tables of the word scanner, in which lower case also makes full-width letters and digits plain."""
    tables = load_tables()
    lower = tables.lower.copy()
    for plain in (*range(0x30, 0x3A), *range(0x41, 0x5B), *range(0x61, 0x7B)):
        wide = plain + 0xFEE0  # U+FF01 to U+FF5E are ! to ~
        entry = (int(tables.blocks[wide >> BLOCK_BITS]) << BLOCK_BITS) + (wide & (1 << BLOCK_BITS) - 1)
        lower[entry] = ord(chr(plain).lower()) - wide
    return tables._replace(lower=read_only(lower))


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = np.empty_like(values)
    _mix_all(read_only(values), mixed)
    return mixed


def _scratch(index: NgramIndex) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64]]:
    """Room for the hashes of a block's words, for its n-grams, and for the places of those that are found."""
    widest = int(index.widths[-1])
    return (
        np.empty(BLOCK + widest - 1, np.uint64),
        np.empty(BLOCK + widest, np.uint64),
        np.empty(BLOCK + widest, np.int64),
    )


@kernel
def _mix_all(values, mixed):
    for at in range(values.size):
        mixed[at] = mix_bits(values[at])


@kernel
def _hash_words(offsets, text, tables, hashes, counts):
    filled = np.int64(0)
    for document in range(offsets.size - 1):
        before = filled
        filled, _ = fill_words(text, offsets[document], offsets[document + 1], tables, hashes, filled)
        counts[document] = filled - before


@kernel
def _place_words(offsets, text, tables, starts, ends, firsts):
    """Where the words of documents begin and end in them, and which is the first of each document."""
    count = np.int64(0)
    for document in range(offsets.size - 1):
        firsts[document] = count
        first, stop = offsets[document], offsets[document + 1]
        at = first
        while at < stop:
            start, at, _, _, _ = next_word(text, at, stop, tables)
            if start < at:
                starts[count], ends[count] = start - first, at - first
                count += 1


@kernel
def _match(hashes, kept, filled, number, widths, keys, starts, filters, bounds, block, places):
    """N-grams of widths[number] of the words hashes[:filled] that end behind hashes[:kept]: how many are in
    the index. Their keys stand in `block`, by the number of their first word less that of the first n-gram,
    and the places there of those that are found in `places`.
    """
    width = widths[number]
    first = max(kept, width - 1)
    if filled <= first:
        return np.int64(0)
    leaving, rolled = np.uint64(1), np.uint64(0)
    for word in range(first - width + 1, first + 1):
        leaving *= _BASE
        rolled = rolled * _BASE + hashes[word]
    block[0] = mix_bits(rolled)
    for word in range(first + 1, filled):
        rolled = rolled * _BASE + hashes[word] - hashes[word - width] * leaving
        block[word - first] = mix_bits(rolled)
    begin = bounds[number]
    mask = np.uint64(bounds[number + 1] - begin) * np.uint64(64) - _ONE
    candidates = np.int64(0)
    for place in range(filled - first):  # no branch: the loads of many n-grams are under way together
        bit = block[place] & mask
        places[candidates] = place
        candidates += np.int64(filters[begin + np.int64(bit >> _SIX)] >> (bit & _WORD_MASK) & _ONE)
    shift = np.uint64(64)
    ranges = starts.size - 1
    while ranges > 1:
        ranges >>= 1
        shift -= _ONE
    found = np.int64(0)
    for candidate in range(candidates):
        key = block[places[candidate]]
        upper = np.int64(key >> shift)
        at, end = starts[upper], starts[upper + 1]
        while at < end and keys[at] < key:
            at += 1
        if at < end and keys[at] == key:
            places[found] = places[candidate]
            found += 1
    return found


@kernel
def _count_found(
    offsets, text, tables, widths, keys, starts, filters, bounds, hashes, block, places, counts
):  # fmt: skip
    for document in range(offsets.size - 1):
        at, stop, kept = offsets[document], offsets[document + 1], np.int64(0)
        while at < stop:
            filled, at = fill_words(text, at, stop, tables, hashes, kept)
            for number in range(widths.size):
                counts[document] += _match(
                    hashes, kept, filled, number, widths, keys, starts, filters, bounds, block, places
                )
            kept = carry_over(hashes, filled, widths[-1])


@kernel
def _list_found(
    offsets, text, tables, widths, keys, starts, filters, bounds, hashes, block, places,
    documents, words, lengths, found_keys,
):  # fmt: skip
    """As _count_found; `words` are the numbers of the first words in their documents."""
    count = np.int64(0)
    for document in range(offsets.size - 1):
        at, stop, kept, before = offsets[document], offsets[document + 1], np.int64(0), np.int64(0)
        while at < stop:
            filled, at = fill_words(text, at, stop, tables, hashes, kept)
            for number in range(widths.size):
                found = _match(
                    hashes, kept, filled, number, widths, keys, starts, filters, bounds, block, places
                )
                width = widths[number]
                for place in places[:found]:
                    documents[count], lengths[count] = document, width
                    words[count] = before + max(kept, width - 1) - width + 1 + place
                    found_keys[count] = block[place]
                    count += 1
            kept = carry_over(hashes, filled, widths[-1])
            before += filled - kept
