"""The integer counts behind Gopher's, C4's, FineWeb's and FineWeb2's rules, for every document of a batch.

Nothing is judged here: a rule compares two of these counts (a share as two integers, never a float) when it decides.
`schema.TEXT_COUNTS` says what each count is. Terms:
- *character*: a Unicode code point. *word*: see `pipeline/kernels/words.py`.
- *line*: the text between two "\\n" without the white space at its ends; what is empty then is no line. (datatrove
  splits Gopher's lines at `\\n+` and keeps the white space.)
- *paragraph*: a longest run of lines with no blank line between them, white space inside it kept.
- *repeated* lines or paragraphs: the later copies of an earlier, identical one in the document, the first not counted
  (datatrove's find_duplicates; dolma and DCLM count the first as well). Compared byte by byte, never by hash alone.

Text is expected as the normalise stage leaves it (NFC, "\\n" line ends); other line separators are white space.

Cost: three passes, one each for characters, words and lines; about 0.03 ms for a page of 5 kB. Scratch memory: 48
bytes per line of the document of the batch that has the most lines.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.kernels import unicode_classes as unicode
from pipeline.kernels.buffers import read_only, text_buffers
from pipeline.kernels.jit import kernel
from pipeline.kernels.words import entry_of, mix_bits, next_word, read_character
from pipeline.schema import TEXT_COUNTS

# Gopher (Rae et al. 2021, appendix A.1.1): a document with fewer than two of these is no English prose.
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
# FineWeb2, configs/cmn_Hani.yml, as far as single characters can tell: their list, "·" included.
STOP_WORDS_ZH = "的年在月是和日了於·為有被人中为他與後也而由"

SHORT_LINE_CHARACTERS = 30  # FineWeb: short_line_length

# Columns of the result, in the order of schema.TEXT_COUNTS.
(
    CHARACTERS, BYTES, WORDS, WORD_CHARACTERS, ALPHABETIC_WORDS, STOP_WORDS_FOUND, STOP_WORDS_ZH_FOUND, HASH_SYMBOLS,
    ELLIPSES, LINES, BULLET_LINES, ELLIPSIS_LINES, PUNCTUATED_LINES, SHORT_LINES, DUPLICATE_LINES,
    DUPLICATE_LINE_CHARACTERS, PARAGRAPHS, DUPLICATE_PARAGRAPHS, DUPLICATE_PARAGRAPH_CHARACTERS, DIGIT_CHARACTERS,
    ALPHABETIC_CHARACTERS, WHITESPACE_CHARACTERS, HAN_CHARACTERS, UPPERCASE_CHARACTERS, NEWLINES,
    LONGEST_LINE_CHARACTERS, MAX_WORD_CHARACTERS,
) = range(len(TEXT_COUNTS))  # fmt: skip

NEWLINE = ord("\n")
NUMBER_SIGN = ord("#")
FULL_STOP = ord(".")
ELLIPSIS = ord("…")
_CONTINUATION = 0x80  # the upper two bits of every byte of a character after its first
_UPPER_TWO_BITS = 0xC0
_LONGEST_STOP_WORD = max(map(len, STOP_WORDS))
_HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def measure_text(text: pa.Array) -> pa.RecordBatch:
    """Count `TEXT_COUNTS` (uint32) in every document of a string or large_string array; a null counts as empty text.

    ValueError for a document of 4 GiB or more.
    """
    buffers = text_buffers(text)
    counts = np.zeros((len(text), len(TEXT_COUNTS)), np.uint32)
    lengths = np.diff(buffers.offsets)
    if len(lengths) and lengths.max() > np.iinfo(np.uint32).max:
        raise ValueError(
            f"document {lengths.argmax()} of the batch has {lengths.max()} bytes; counts are 32 bits wide"
        )
    _measure_documents(
        buffers.offsets,
        buffers.bytes,
        unicode.load_tables(),
        _stop_tables(),
        _seen_tables(_most_lines(buffers.offsets, buffers.bytes)),
        np.empty(0x80, np.int64),
        counts,
    )
    return pa.RecordBatch.from_arrays(
        [pa.array(column) for column in np.ascontiguousarray(counts.T)], names=list(TEXT_COUNTS)
    )


class StopTables(NamedTuple):
    """`words` uint64 [8], hashes of the English ones; `ranks` uint8 [65536], by code point, counted from 1, else 0."""

    words: NDArray[np.uint64]
    ranks: NDArray[np.uint8]


class SeenTables(NamedTuple):
    """Two hash tables over parts of one document: (start, stop) of what was seen, int64 [lines, 2], and slots, int32
    [2, power of two], that name an entry or are -1. Line table first."""

    lines: NDArray[np.int64]
    paragraphs: NDArray[np.int64]
    slots: NDArray[np.int32]


def _seen_tables(lines: int) -> SeenTables:
    bounds = np.empty((2, lines, 2), np.int64)
    return SeenTables(bounds[0], bounds[1], np.empty((2, _slots_for(lines)), np.int32))


@cache
def _stop_tables() -> StopTables:
    buffers = text_buffers(pa.array(STOP_WORDS))
    hashes = np.zeros(len(STOP_WORDS), np.uint64)
    _hash_words(buffers.offsets, buffers.bytes, unicode.load_tables(), hashes)
    ranks = np.zeros(1 << 16, np.uint8)
    for rank, character in enumerate(STOP_WORDS_ZH, start=1):
        ranks[ord(character)] = rank
    return StopTables(read_only(hashes), read_only(ranks))


@kernel
def _hash_words(offsets, text, tables, hashes):
    """The hash of the first word of each document."""
    for document in range(hashes.size):
        hashes[document] = next_word(text, offsets[document], offsets[document + 1], tables)[4]


@kernel
def _measure_documents(offsets, text, tables, stops, seen, ascii_counts, counts):
    for document in range(offsets.size - 1):
        start, stop = offsets[document], offsets[document + 1]
        found = counts[document]
        found[BYTES] = stop - start
        _count_characters(text, start, stop, tables, stops.ranks, ascii_counts, found)
        _count_words(text, start, stop, tables, stops.words, found)
        slots = seen.slots[:, : _slots_for(_line_limit(text, start, stop))]
        slots[:] = -1
        _count_lines(text, start, stop, tables, seen.lines, seen.paragraphs, slots, found)


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
    found[CHARACTERS] = characters
    found[ALPHABETIC_CHARACTERS] = letters
    found[DIGIT_CHARACTERS] = digits
    found[WHITESPACE_CHARACTERS] = spaces
    found[HAN_CHARACTERS] = han
    found[UPPERCASE_CHARACTERS] = upper
    found[HASH_SYMBOLS] = ascii_counts[NUMBER_SIGN]
    found[NEWLINES] = ascii_counts[NEWLINE]
    found[ELLIPSES] = ellipses
    found[STOP_WORDS_ZH_FOUND] = _ones(stop_characters)


@kernel
def _count_words(text, start, stop, tables, stop_words, found):
    words = word_characters = alphabetic = longest = stop_words_seen = np.int64(0)
    at = start
    while True:
        word, at, characters, classes, hashed = next_word(text, at, stop, tables)
        if word == at:
            break
        words += 1
        word_characters += characters
        alphabetic += (classes & unicode.LETTER) != 0
        longest = max(longest, characters)
        if characters <= _LONGEST_STOP_WORD:
            for rank in range(stop_words.size):
                if hashed == stop_words[rank]:
                    stop_words_seen |= np.int64(1) << rank
    found[WORDS] = words
    found[WORD_CHARACTERS] = word_characters
    found[ALPHABETIC_WORDS] = alphabetic
    found[MAX_WORD_CHARACTERS] = longest
    found[STOP_WORDS_FOUND] = _ones(stop_words_seen)


@kernel
def _count_lines(text, start, stop, tables, line_bounds, paragraph_bounds, slots, found):
    ellipsis = entry_of(ELLIPSIS, tables)
    paragraph_start = paragraph_stop = np.int64(-1)
    paragraph_hash = np.uint64(0)
    lines = paragraphs = np.int64(0)
    at = start
    while at < stop:
        end = at
        while end < stop and text[end] != NEWLINE:
            end += 1
        line_start, line_stop, first, last = _trim(text, at, end, tables)
        at = end + 1
        if line_start < line_stop:
            lines += 1
            if paragraph_start < 0:
                paragraph_start = line_start
            paragraph_stop = line_stop
            line_hash = _hash_bytes(text, line_start, line_stop)
            paragraph_hash = mix_bits(paragraph_hash ^ line_hash)
            characters = _characters(text, line_start, line_stop)
            found[SHORT_LINES] += characters <= SHORT_LINE_CHARACTERS
            found[LONGEST_LINE_CHARACTERS] = max(found[LONGEST_LINE_CHARACTERS], characters)
            found[BULLET_LINES] += (tables.classes[first] & unicode.BULLET) != 0
            found[PUNCTUATED_LINES] += (tables.classes[last] & unicode.TERMINAL) != 0
            found[ELLIPSIS_LINES] += last == ellipsis or _ends_in_dots(text, line_start, line_stop)
            unique = lines - 1 - np.int64(found[DUPLICATE_LINES])
            if _seen_before(text, line_start, line_stop, line_hash, slots[0], line_bounds, unique):
                found[DUPLICATE_LINES] += 1
                found[DUPLICATE_LINE_CHARACTERS] += characters
        if paragraph_start >= 0 and (line_start == line_stop or at >= stop):
            if _seen_before(
                text, paragraph_start, paragraph_stop, paragraph_hash, slots[1], paragraph_bounds, paragraphs
            ):
                found[DUPLICATE_PARAGRAPHS] += 1
                found[DUPLICATE_PARAGRAPH_CHARACTERS] += _characters(text, paragraph_start, paragraph_stop)
            else:
                paragraphs += 1
            paragraph_start = np.int64(-1)
            paragraph_hash = np.uint64(0)
    found[LINES] = lines
    found[PARAGRAPHS] = paragraphs + np.int64(found[DUPLICATE_PARAGRAPHS])


@kernel
def _trim(text, start, stop, tables):
    """(start, stop, table entries of the first and last character) without white space at the ends; start == stop if nothing is left."""
    first = last = np.int64(0)
    while start < stop:
        _, first, after = read_character(text, start, stop, tables)
        if not tables.classes[first] & unicode.SPACE:
            break
        start = after
    while stop > start:
        before = stop - 1
        while before > start and (text[before] & _UPPER_TWO_BITS) == _CONTINUATION:
            before -= 1
        _, last, _ = read_character(text, before, stop, tables)
        if not tables.classes[last] & unicode.SPACE:
            break
        stop = before
    return start, stop, first, last


@kernel
def _seen_before(text, start, stop, hashed, slots, bounds, used):
    """Whether text[start:stop] is among the `used` entries of the table; entered as the next one if not.

    `hashed`: uint64, any function of its bytes.
    """
    last_slot = slots.size - 1
    slot = np.int64(hashed & np.uint64(last_slot))
    while slots[slot] >= 0:
        known, known_stop = bounds[slots[slot]]
        if known_stop - known == stop - start:
            at = start
            while at < stop and text[at] == text[known + at - start]:
                at += 1
            if at == stop:
                return True
        slot = (slot + 1) & last_slot
    slots[slot] = used
    bounds[used, 0] = start
    bounds[used, 1] = stop
    return False


@kernel
def _hash_bytes(text, start, stop):
    """uint64 of text[start:stop], eight bytes at a step; for tables in memory only, never stored."""
    hashed = np.uint64(stop - start)
    for at in range(start, stop - 7, 8):
        block = np.uint64(0)
        for place in range(8):
            block |= np.uint64(text[np.uint64(at + place)]) << np.uint64(8 * place)
        hashed = (hashed ^ block) * _HASH_FACTOR
        hashed ^= hashed >> np.uint64(32)
    block = np.uint64(0)
    for at in range(stop - (stop - start) % 8, stop):
        block = block << np.uint64(8) | np.uint64(text[at])
    return mix_bits(hashed ^ block)


@kernel
def _ends_in_dots(text, start, stop):
    if stop - start < 3:
        return False
    return text[stop - 1] == FULL_STOP and text[stop - 2] == FULL_STOP and text[stop - 3] == FULL_STOP


@kernel
def _characters(text, start, stop):
    """Characters of text[start:stop]: its bytes less those inside a character."""
    characters = np.int64(0)
    for at in range(start, stop):
        characters += (text[at] & _UPPER_TWO_BITS) != _CONTINUATION
    return characters


@kernel
def _most_lines(offsets, text):
    """The largest `_line_limit` of the batch's documents."""
    lines = np.int64(1)
    for document in range(offsets.size - 1):
        lines = max(lines, _line_limit(text, offsets[document], offsets[document + 1]))
    return lines


@kernel
def _line_limit(text, start, stop):
    """At least the number of lines that are not blank: newlines that follow something else, and the rest."""
    lines = np.int64(1)
    for at in range(start + 1, stop):
        lines += (text[at] == NEWLINE) & (text[at - 1] != NEWLINE)
    return lines


@kernel
def _slots_for(entries):
    slots = np.int64(8)
    while slots < 2 * entries:
        slots *= 2
    return slots


@kernel
def _ones(bits):
    ones = np.int64(0)
    while bits:
        bits &= bits - 1
        ones += 1
    return ones
