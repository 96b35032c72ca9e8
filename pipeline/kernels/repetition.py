"""Gopher's repeated n-grams of words, by datatrove's formula: which n-gram fills most of a text, and how much
of it stands in n-grams that were there before.

- top n-gram (2 to 4 words): characters of the most frequent one, spaces between its words included, times how
  often it occurs, overlaps included; of equally frequent ones the first of the text counts, and a text
  without a repeated one has its first.
- duplicate n-gram (5 to 10 words): the text is walked from left to right; an n-gram that was met before adds
  its characters (without spaces) and is jumped over, another one is remembered and left by one word.

(datatrove, gopher_repetition_filter.py: find_top_duplicate, find_all_duplicate. Its words are those of a
dictionary tokenizer, punctuation among them; ours are those of words.py.)

A repeated n-gram begins and ends with repeated (n - 1)-grams, so that only those have to be looked at; nearly
all of most texts is over after pairs. N-grams are compared by 64-bit hashes of their words.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels import count_columns as column
from pipeline.kernels.jit import kernel
from pipeline.kernels.words import HASH_FACTOR

FIRST_TOP, LAST_TOP = 2, 4
LAST_DUPLICATE = 10
_SHIFT = np.uint64(32)


class NgramTables(NamedTuple):
    """Scratch for one document of at most n words. `slots`: int32 [power of two], position of an n-gram's
    first occurrence or -1. By position: `grams` uint64, `leaders` int32 (that first one), `times` int32 (how
    often it occurs), `candidates` int32 (positions still looked at), `repeated` bool.
    """

    slots: NDArray[np.int32]
    grams: NDArray[np.uint64]
    leaders: NDArray[np.int32]
    times: NDArray[np.int32]
    candidates: NDArray[np.int32]
    repeated: NDArray[np.bool_]


def ngram_tables(words: int) -> NgramTables:
    """Tables for documents of at most so many words: about 37 bytes a word."""
    room = words + 1
    slots = 1 << max(3, (2 * room - 1).bit_length())
    return NgramTables(
        np.empty(slots, np.int32),
        np.empty(room, np.uint64),
        np.empty(room, np.int32),
        np.empty(room, np.int32),
        np.empty(room, np.int32),
        np.zeros(room + 1, np.bool_),
    )


@kernel
def count_ngrams(words, count, tables, found):
    """Counts into `found` what the first `count` words of a WordList repeat."""
    candidates = all_candidates(words.hashes, count, tables)
    for size in range(FIRST_TOP, LAST_DUPLICATE + 1):
        if count < size:
            break
        count_occurrences(words.hashes, size, candidates, tables)
        if size <= LAST_TOP:
            found[column.TOP_2_GRAM_CHARACTERS + size - 2] = _top_characters(words, size, candidates, tables)
        elif candidates:
            found[column.DUPLICATE_5_GRAM_CHARACTERS + size - 5] = _duplicate_characters(
                words, size, candidates, tables
            )
        elif size > LAST_TOP:
            break
        candidates = next_candidates(size, count, candidates, tables)


@kernel
def all_candidates(hashes, count, tables):
    """Every word as the beginning of a longer n-gram; how many they are."""
    candidates = max(count - 1, 0)
    tables.repeated[: count + 1] = False
    for position in range(candidates):
        tables.candidates[position] = position
        tables.grams[position] = hashes[position]
    return candidates


@kernel
def count_occurrences(hashes, size, candidates, tables):
    """Extends the n-grams at the candidates by a word and counts equal ones."""
    slots = tables.slots[: slots_for(candidates)]
    slots[:] = -1
    last_slot = slots.size - 1
    for place in range(candidates):
        position = tables.candidates[place]
        gram = tables.grams[position] * HASH_FACTOR + hashes[position + size - 1]
        tables.grams[position] = gram
        tables.times[position] = 0
        slot = np.int64(gram ^ gram >> _SHIFT) & last_slot
        while slots[slot] >= 0 and tables.grams[slots[slot]] != gram:
            slot = (slot + 1) & last_slot
        if slots[slot] < 0:
            slots[slot] = position
        leader = slots[slot]
        tables.leaders[position] = leader
        tables.times[leader] += 1


@kernel
def most_frequent(candidates, tables):
    """(position, times) of the first n-gram that occurs most often; (0, 1) where none occurs twice."""
    best, most = np.int64(0), np.int64(1)
    for place in range(candidates):
        position = tables.candidates[place]
        if tables.times[position] > most:
            best, most = np.int64(position), np.int64(tables.times[position])
    return best, most


@kernel
def _top_characters(words, size, candidates, tables):
    best, most = most_frequent(candidates, tables)
    return most * (words.starts[best + size] - words.starts[best] + size - 1)


@kernel
def _duplicate_characters(words, size, candidates, tables):
    characters = free = np.int64(0)  # n-grams that begin before `free` are jumped over
    for place in range(candidates):
        position = tables.candidates[place]
        leader = tables.leaders[position]
        if position < free or tables.times[leader] == 1:
            continue
        if tables.times[leader] < 0:
            characters += words.starts[position + size] - words.starts[position]
            free = position + size
        else:
            tables.times[leader] = -tables.times[leader]  # met
    return characters


@kernel
def next_candidates(size, count, candidates, tables):
    """Keeps the positions at which a longer n-gram may be repeated; how many they are."""
    for place in range(candidates):
        position = tables.candidates[place]
        tables.repeated[position] = abs(tables.times[tables.leaders[position]]) > 1
    kept = 0
    for place in range(candidates):
        position = tables.candidates[place]
        if tables.repeated[position] and tables.repeated[position + 1] and position + size < count:
            tables.candidates[kept] = position
            kept += 1
        else:
            tables.repeated[position] = False
    return kept


@kernel
def slots_for(entries):
    """A power of two of at least twice as many slots as entries."""
    slots = np.int64(8)
    while slots < 2 * entries:
        slots *= 2
    return slots
