"""Repeated n-grams as dolma and DCLM count them; datatrove's count is in repetition.py.

- dolma (taggers/gopher.py): words are what stands between white space; the top n-gram is the first most
  frequent one, without spaces, times its occurrences; in duplicate n-grams every occurrence counts, the first
  and overlapping ones included, of the characters of all n-grams; blank lines are lines.
- DCLM (content_filters.py, repetition_filter): words as in words.py (uniseg's there, nearly the same); the
  top n-gram is the longest among the most frequent, and nothing if none is repeated; every word in a repeated
  n-gram counts once.

Columns: counts.MEASURE_GROUPS.
"""

import numpy as np
import pyarrow as pa

from pipeline.counts import DCLM_COUNTS, DOLMA_COUNTS
from pipeline.kernels import unicode_classes as unicode
from pipeline.kernels.buffers import count_batch, text_buffers
from pipeline.kernels.jit import kernel
from pipeline.kernels.repetition import (
    FIRST_TOP,
    LAST_DUPLICATE,
    LAST_TOP,
    all_candidates,
    count_occurrences,
    most_frequent,
    next_candidates,
    ngram_tables,
)
from pipeline.kernels.word_list import empty_word_list, hash_bytes, list_words, stop_words
from pipeline.kernels.words import read_character

_FIRST_DUPLICATE = LAST_TOP + 1
_TOPS = LAST_TOP - FIRST_TOP + 1
_DUPLICATES = LAST_DUPLICATE - LAST_TOP
_NO_FOUND = 64  # list_words also counts what text.py keeps


def measure_dclm(text: pa.Array) -> pa.RecordBatch:
    """DCLM_COUNTS (uint32) of string or large_string; null counts as empty text."""
    buffers = text_buffers(text)
    words = empty_word_list(buffers)
    counts = np.zeros((len(text), len(DCLM_COUNTS)), np.uint32)
    _measure_dclm(
        buffers.offsets,
        buffers.bytes,
        unicode.load_tables(),
        stop_words(),
        words,
        ngram_tables(len(words.hashes)),
        np.zeros(_NO_FOUND, np.uint32),
        counts,
    )
    return count_batch(counts, DCLM_COUNTS)


def measure_dolma(text: pa.Array) -> pa.RecordBatch:
    """DOLMA_COUNTS (uint32) of string or large_string; null counts as empty text."""
    buffers = text_buffers(text)
    words = empty_word_list(buffers)
    counts = np.zeros((len(text), len(DOLMA_COUNTS)), np.uint32)
    _measure_dolma(
        buffers.offsets, buffers.bytes, unicode.load_tables(), words, ngram_tables(len(words.hashes)), counts
    )
    return count_batch(counts, DOLMA_COUNTS)


@kernel
def _measure_dclm(offsets, text, tables, stops, words, ngrams, unused, counts):
    for document in range(offsets.size - 1):
        found = counts[document]
        count = list_words(text, offsets[document], offsets[document + 1], tables, stops, words, unused)
        candidates = all_candidates(words.hashes, count, ngrams)
        for size in range(FIRST_TOP, LAST_DUPLICATE + 1):
            if candidates == 0 or count < size:
                break
            count_occurrences(words.hashes, size, candidates, ngrams)
            if size <= LAST_TOP:
                found[size - FIRST_TOP] = _longest_top(words, size, candidates, ngrams)
            else:
                found[_TOPS + size - _FIRST_DUPLICATE] = _covered(words, size, candidates, ngrams)
            candidates = next_candidates(size, count, candidates, ngrams)


@kernel
def _longest_top(words, size, candidates, ngrams):
    most, longest = np.int64(1), np.int64(0)
    for place in range(candidates):
        position = ngrams.candidates[place]
        times = np.int64(ngrams.times[position])
        if times > 1 and times >= most:
            characters = words.starts[position + size] - words.starts[position]
            longest = characters if times > most else max(longest, characters)
            most = times
    return most * longest


@kernel
def _covered(words, size, candidates, ngrams):
    characters = covered = np.int64(0)  # words below `covered` have been counted
    for place in range(candidates):
        position = ngrams.candidates[place]
        if ngrams.times[ngrams.leaders[position]] > 1:
            characters += words.starts[position + size] - words.starts[max(position, covered)]
            covered = position + size
    return characters


@kernel
def _measure_dolma(offsets, text, tables, words, ngrams, counts):
    for document in range(offsets.size - 1):
        found = counts[document]
        count = list_spaced(text, offsets[document], offsets[document + 1], tables, words)
        candidates = all_candidates(words.hashes, count, ngrams)
        for size in range(FIRST_TOP, LAST_DUPLICATE + 1):
            if count < size:
                break
            count_occurrences(words.hashes, size, candidates, ngrams)
            if size <= LAST_TOP:
                best, most = most_frequent(candidates, ngrams)
                found[size - FIRST_TOP] = most * (words.starts[best + size] - words.starts[best])
            else:
                at = _TOPS + size - _FIRST_DUPLICATE
                for place in range(candidates):
                    position = ngrams.candidates[place]
                    if ngrams.times[ngrams.leaders[position]] > 1:
                        found[at] += words.starts[position + size] - words.starts[position]
                for position in range(count - size + 1):
                    found[at + _DUPLICATES] += words.starts[position + size] - words.starts[position]
            candidates = next_candidates(size, count, candidates, ngrams)


@kernel
def list_spaced(text, start, stop, tables, words):
    """Lists what stands between white space; how many they are."""
    filled = total = np.int64(0)
    at = start
    while at < stop:
        word = after = at
        characters = np.int64(0)
        while at < stop:
            _, entry, after = read_character(text, at, stop, tables)
            if tables.classes[entry] & unicode.SPACE:
                break
            characters += 1
            at = after
        if characters:
            words.hashes[filled] = hash_bytes(text, word, at)
            words.starts[filled] = total
            filled += 1
            total += characters
        else:
            at = after
    words.starts[filled] = total
    return filled
