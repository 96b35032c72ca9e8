"""Counts of a text whose words are told by white space between them: what a segmenter made of it.

Gopher's rules as FineWeb2 has them for languages written without spaces: words of a dictionary, marks among
them, and n-grams of those. Columns: counts.JIEBA_COUNTS.
"""

import numpy as np
import pyarrow as pa

from pipeline.counts import JIEBA_COUNTS
from pipeline.kernels import count_columns as column
from pipeline.kernels import unicode_classes as unicode
from pipeline.kernels.buffers import count_batch, text_buffers
from pipeline.kernels.jit import kernel
from pipeline.kernels.repetition import count_ngrams, ngram_tables
from pipeline.kernels.repetition_variants import list_spaced
from pipeline.kernels.spacy_tokens import LETTER_FLAG, MARK_FLAG, token_flags
from pipeline.kernels.word_list import empty_word_list
from pipeline.kernels.words import decode

_WORDS = 4  # columns before those of n-grams
_NGRAMS = len(JIEBA_COUNTS) - _WORDS
_PLAIN = 0x10000


def measure_segmented(text: pa.Array) -> pa.RecordBatch:
    """JIEBA_COUNTS (uint32) of string or large_string; null counts as empty text."""
    buffers = text_buffers(text)
    counts = np.zeros((len(text), len(JIEBA_COUNTS)), np.uint32)
    words, found = empty_word_list(buffers), np.zeros(column.COLUMNS, np.uint32)
    tables = (unicode.load_tables(), token_flags())
    _measure_documents(
        buffers.offsets, buffers.bytes, *tables, words, ngram_tables(len(words.hashes)), found, counts
    )
    return count_batch(counts, JIEBA_COUNTS)


@kernel
def _measure_documents(offsets, text, tables, flags_of, words, ngrams, found, counts):
    for document in range(offsets.size - 1):
        start, stop = offsets[document], offsets[document + 1]
        _count_words(text, start, stop, flags_of, counts[document])
        found[:] = 0
        count_ngrams(words, list_spaced(text, start, stop, tables, words), ngrams, found)
        for place in range(_NGRAMS):
            counts[document, _WORDS + place] = found[column.TOP_2_GRAM_CHARACTERS + place]


@kernel
def _count_words(text, at, stop, flags_of, found):
    letters = more = characters = np.int64(0)
    while at <= stop:
        point = np.int64(0x20)
        if at < stop:
            point, at = decode(text, at, stop)
        else:
            at += 1
        if point == 0x20 or point == 0x0A:
            if characters:
                found[0] += 1
                found[1] += letters
                found[2] += more
                found[3] += characters * more
            letters = more = characters = np.int64(0)
            continue
        flags = np.int64(flags_of[point]) if point < _PLAIN else np.int64(LETTER_FLAG)
        letters |= flags & LETTER_FLAG != 0
        more |= flags & MARK_FLAG == 0
        characters += 1
