"""The words of a document as a list, for kernels that compare words with each other: hash and length of each.

The words are those of words.py. Their hash here is of their bytes as they stand, case and apostrophes
included, eight at a time (peers compare words so); it lives in memory only. Words of ASCII are read eight
bytes at a time and Han characters one by one, as in word_hashes.py: 16 ns for a word, where next_word takes
50.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.kernels import count_columns as column
from pipeline.kernels import unicode_classes as unicode
from pipeline.kernels.buffers import TextBuffers, read_only, text_buffers
from pipeline.kernels.jit import count_zeros, kernel, load_eight
from pipeline.kernels.unicode_classes import load_tables
from pipeline.kernels.word_hashes import is_han
from pipeline.kernels.words import APOSTROPHE, HASH_BASIS, HASH_FACTOR, mix_bits, next_word

# Gopher (Rae et al. 2021, appendix A.1.1): a document with fewer than two of these is no English prose.
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")

_LONGEST_STOP_WORD = max(map(len, STOP_WORDS))
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_HIGH = np.uint64(0x8080808080808080)
_SPACES = np.uint64(0x2020202020202020)
_A, _BEYOND_Z = np.uint64(0x6161616161616161), np.uint64(0x7B7B7B7B7B7B7B7B)
_ZERO, _BEYOND_9 = np.uint64(0x3030303030303030), np.uint64(0x3A3A3A3A3A3A3A3A)
_THREE_BYTES = np.uint64(0xFFFFFF)
_SLOT_SHIFT = np.uint64(59)  # 32 slots


class WordList(NamedTuple):
    """Words of one document: uint64 `hashes` [n] and int64 `starts` [n + 1], characters before each."""

    hashes: NDArray[np.uint64]
    starts: NDArray[np.int64]


class StopWords(NamedTuple):
    """Tables without collisions: uint64 [32] lower-case bytes of a stop word or 0, its bit, the factor that
    finds its slot; and uint64 [8, 2], the hashes that next_word gives with the same bytes.
    """

    values: NDArray[np.uint64]
    bits: NDArray[np.int64]
    factor: np.uint64
    folded: NDArray[np.uint64]


def empty_word_list(buffers: TextBuffers) -> WordList:
    """Room for the words of any document of the batch."""
    longest = int(np.diff(buffers.offsets).max(initial=0))
    # No word and what parts it from the next are less than two bytes; only long documents are worth a count.
    most = longest // 2 + 1 if longest < 1 << 20 else int(_most_words(buffers.offsets, buffers.bytes))
    return WordList(np.empty(most, np.uint64), np.zeros(most + 1, np.int64))


@kernel
def _most_words(offsets, text):
    """At least the words of the document that has the most: one ends at every byte that is not of ASCII's
    letters and digits, or inside of a character.
    """
    most = np.int64(1)
    for document in range(offsets.size - 1):
        words = np.int64(1)
        for at in range(offsets[document], offsets[document + 1]):
            byte = text[at]
            letter = (byte | 0x20 >= 0x61) & (byte | 0x20 <= 0x7A)
            digit = (byte >= 0x30) & (byte <= 0x39)
            words += not (letter | digit | ((byte >= 0x80) & (byte < 0xC0)))
        most = max(most, words)
    return most


@cache
def stop_words() -> StopWords:
    """The table of STOP_WORDS."""
    known = [int.from_bytes(word.encode(), "little") for word in STOP_WORDS]
    factor = int(HASH_FACTOR)
    while len({value * factor % 2**64 >> int(_SLOT_SHIFT) for value in known}) < len(known):
        factor = (factor * 5 + 2) % 2**64 | 1
    values, bits = np.zeros(32, np.uint64), np.zeros(32, np.int64)
    for rank, value in enumerate(known):
        slot = value * factor % 2**64 >> int(_SLOT_SHIFT)
        values[slot], bits[slot] = value, 1 << rank
    buffers, folded = text_buffers(pa.array(STOP_WORDS)), np.zeros((len(known), 2), np.uint64)
    folded[:, 1] = known
    _fold_words(buffers.offsets, buffers.bytes, load_tables(), folded)
    return StopWords(read_only(values), read_only(bits), np.uint64(factor), read_only(folded))


@kernel
def _fold_words(offsets, text, tables, folded):
    for document in range(offsets.size - 1):
        folded[document, 0] = next_word(text, offsets[document], offsets[document + 1], tables)[4]


@kernel
def list_words(text, start, stop, tables, stops, words, found):
    """Lists the words of text[start:stop], counts what is said about them into `found`; how many they are."""
    last = np.int64(text.size) - 8  # up to here, eight bytes can be loaded
    filled = alphabetic = longest = stop_bits = stop_times = total = np.int64(0)
    at = start
    while at < stop:
        word, hashed, run, value, has_letter = at, HASH_BASIS, np.int64(8), np.uint64(0), np.uint64(0)
        while run == 8 and at <= last:
            eight = load_eight(text, at)  # pyright: ignore[reportCallIssue]
            lower = eight | _SPACES
            letters = ((lower | _HIGH) - _A) & ~((lower | _HIGH) - _BEYOND_Z)
            digits = ((eight | _HIGH) - _ZERO) & ~((eight | _HIGH) - _BEYOND_9)
            others = ~(letters | digits) & _HIGH | (eight & _HIGH)
            run = count_zeros(others) >> 3  # pyright: ignore[reportCallIssue]
            mask = ~(_ALL << np.uint64(8 * min(run, 7)) << np.uint64(8 * (run - min(run, 7))))
            if run:
                hashed = (hashed ^ (eight & mask)) * HASH_FACTOR
                has_letter |= letters & ~eight & mask & _HIGH
                value = lower & mask if at == word else np.uint64(0)
            at += run
        plain = run < 8 and at < stop and text[at] < 0x80 and text[at] != APOSTROPHE
        if plain and at == word:
            at += 1
            continue
        if plain:
            characters = at - word
            at += 1
        elif at == word and word + 8 <= text.size and is_han(text, word, stop):
            three = load_eight(text, word) & _THREE_BYTES  # pyright: ignore[reportCallIssue]
            hashed = (HASH_BASIS ^ three) * HASH_FACTOR
            characters, has_letter, value = np.int64(1), _HIGH, np.uint64(0)
            at = word + 3
        else:
            word, at, characters, classes, folded = next_word(text, word, stop, tables)
            if word == at:
                break
            hashed = hash_bytes(text, word, at)
            has_letter = _HIGH if classes & unicode.LETTER else np.uint64(0)
            value = np.uint64(0)
            for rank in range(stops.folded.shape[0] if characters <= _LONGEST_STOP_WORD else 0):
                value |= stops.folded[rank, 1] if folded == stops.folded[rank, 0] else np.uint64(0)
        words.hashes[filled] = mix_bits(hashed)
        words.starts[filled] = total
        filled += 1
        total += characters
        alphabetic += has_letter != 0
        longest = max(longest, characters)
        if value:
            slot = np.int64(value * stops.factor >> _SLOT_SHIFT)
            if stops.values[slot] == value:
                stop_bits |= stops.bits[slot]
                stop_times += 1
    words.starts[filled] = total
    found[column.WORDS] = filled
    found[column.WORD_CHARACTERS] = total
    found[column.ALPHABETIC_WORDS] = alphabetic
    found[column.MAX_WORD_CHARACTERS] = longest
    found[column.STOP_WORDS] = ones(stop_bits)
    found[column.STOP_WORD_OCCURRENCES] = stop_times
    return filled


@kernel
def hash_bytes(text, start, stop):
    """uint64 of a word's bytes, before it is mixed: what the loop above makes of them."""
    hashed = HASH_BASIS
    while start < stop:
        eight = np.uint64(0)
        for place in range(min(stop - start, 8)):
            eight |= np.uint64(text[start + place]) << np.uint64(8 * place)
        hashed = (hashed ^ eight) * HASH_FACTOR
        start += 8
    return hashed


@kernel
def ones(bits):
    """How many bits are set."""
    found = np.int64(0)
    while bits:
        bits &= bits - 1
        found += 1
    return found
