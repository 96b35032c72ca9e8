"""The integer counts behind Gopher's, C4's, FineWeb's and FineWeb2's rules, for every document of a batch.

Nothing is judged here: a rule compares two of these counts (a share as two integers, never a float) when it
decides. `counts.TEXT_COUNTS` says what each count is. A character is a Unicode code point; `words.py` says
what a word is, `lines.py` what lines, paragraphs and their repetitions are.

Text is expected as the normalise stage leaves it (NFC, "\\n" line ends); other line separators are white
space.

Cost: three passes, one each for characters, words and lines; together 0.08 ms (English) to 0.12 ms (Chinese)
for 5 kB.
"""

from functools import cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.counts import TEXT_COUNTS
from pipeline.kernels import count_columns as column
from pipeline.kernels import unicode_classes as unicode
from pipeline.kernels.buffers import count_batch, read_only, text_buffers
from pipeline.kernels.jit import kernel
from pipeline.kernels.lines import ELLIPSIS, FULL_STOP, NEWLINE, count_lines, seen_tables
from pipeline.kernels.repetition import count_ngrams, ngram_tables
from pipeline.kernels.word_list import empty_word_list, list_words, ones, stop_words
from pipeline.kernels.words import read_character

# FineWeb2, configs/cmn_Hani.yml, as far as single characters can tell: their list, "·" included.
STOP_WORDS_ZH = "的年在月是和日了於·為有被人中为他與後也而由"

NUMBER_SIGN = ord("#")


def measure_text(text: pa.Array) -> pa.RecordBatch:
    """Count `TEXT_COUNTS` (uint32) per row of a string or large_string array; null counts as empty text.

    ValueError for a document of 4 GiB or more.
    """
    buffers = text_buffers(text)
    words = empty_word_list(buffers)
    counts = np.zeros((len(text), column.COLUMNS), np.uint32)
    lengths = np.diff(buffers.offsets)
    if len(lengths) and lengths.max() > np.iinfo(np.uint32).max:
        raise ValueError(
            f"document {lengths.argmax()} of the batch has {lengths.max()} bytes; counts are 32 bits wide"
        )
    _measure_documents(
        buffers.offsets,
        buffers.bytes,
        unicode.load_tables(),
        _stop_characters(),
        stop_words(),
        words,
        ngram_tables(len(words.hashes)),
        seen_tables(buffers),
        np.empty(0x80, np.int64),
        counts,
    )
    return count_batch(counts, TEXT_COUNTS)


@cache
def _stop_characters() -> NDArray[np.uint8]:
    """Ranks of Chinese stop characters by code point, from 1, or 0: uint8 [65536]."""
    ranks = np.zeros(1 << 16, np.uint8)
    for rank, character in enumerate(STOP_WORDS_ZH, start=1):
        ranks[ord(character)] = rank
    return read_only(ranks)


@kernel
def _measure_documents(offsets, text, tables, stops, stop_table, words, ngrams, seen, ascii_counts, counts):
    for document in range(offsets.size - 1):
        start, stop = offsets[document], offsets[document + 1]
        found = counts[document]
        found[column.BYTES] = stop - start
        _count_characters(text, start, stop, tables, stops, ascii_counts, found)
        listed = list_words(text, start, stop, tables, stop_table, words, found)
        count_ngrams(words, listed, ngrams, found)
        count_lines(text, start, stop, tables, seen, found)


@kernel
def _count_characters(text, start, stop, tables, stops, ascii_counts, found):
    """ASCII is counted by character and classed afterwards, the rest is classed one by one."""
    ascii_counts[:] = 0
    characters = letters = digits = spaces = han = upper = ellipses = stop_characters = np.int64(0)
    at = start
    while at < stop:
        lead = text[at]
        if lead < 0x80:
            ascii_counts[lead] += 1
            at += 1
            if lead == FULL_STOP and at + 2 <= stop and text[at] == FULL_STOP and text[at + 1] == FULL_STOP:
                ascii_counts[FULL_STOP] += 2
                ellipses += 1
                at += 2
        else:
            code_point, entry, at = read_character(text, at, stop, tables)
            classes = np.int64(tables.classes[entry])
            characters += 1
            letters += (classes & unicode.LETTER) != 0
            digits += (classes & unicode.DIGIT) != 0
            spaces += (classes & unicode.SPACE) != 0
            han += (classes & unicode.HAN) != 0
            upper += (classes & unicode.UPPER) != 0
            ellipses += code_point == ELLIPSIS
            if code_point < stops.size and stops[code_point]:
                stop_characters |= np.int64(1) << stops[code_point]
    for code_point in range(ascii_counts.size):
        classes, times = np.int64(tables.classes[code_point]), ascii_counts[code_point]
        characters += times
        letters += times * ((classes & unicode.LETTER) != 0)
        digits += times * ((classes & unicode.DIGIT) != 0)
        spaces += times * ((classes & unicode.SPACE) != 0)
        upper += times * ((classes & unicode.UPPER) != 0)
    found[column.CHARACTERS] = characters
    found[column.ALPHABETIC_CHARACTERS] = letters
    found[column.DIGIT_CHARACTERS] = digits
    found[column.WHITESPACE_CHARACTERS] = spaces
    found[column.HAN_CHARACTERS] = han
    found[column.UPPERCASE_CHARACTERS] = upper
    found[column.HASH_SYMBOLS] = ascii_counts[NUMBER_SIGN]
    found[column.NEWLINES] = ascii_counts[NEWLINE]
    found[column.ELLIPSES] = ellipses
    found[column.STOP_WORDS_ZH] = ones(stop_characters)
