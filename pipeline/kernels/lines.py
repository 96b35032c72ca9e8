"""What is said about lines and paragraphs: how they begin and end, how long they are, which ones repeat.

- *line*: the text between two "\\n"; where there is nothing but white space, there is no line.
- *paragraph*: a longest run of lines with no blank line between them, white space inside it kept.
- *repeated* lines or paragraphs: the later copies of an earlier, identical one in the document, the first not
  counted (datatrove's find_duplicates; dolma and DCLM count the first as well). Compared byte by byte, white
  space at their ends included, never by hash alone.

Scratch memory: 48 bytes per line of the document of the batch that has the most lines.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels import count_columns as column
from pipeline.kernels import unicode_classes as unicode
from pipeline.kernels.buffers import TextBuffers
from pipeline.kernels.jit import count_zeros, kernel, load_eight
from pipeline.kernels.repetition import slots_for
from pipeline.kernels.words import entry_of, mix_bits, read_character

SHORT_LINE_CHARACTERS = 30  # FineWeb: short_line_length

NEWLINE = ord("\n")
FULL_STOP = ord(".")
ELLIPSIS = ord("…")
_CONTINUATION = 0x80  # the upper two bits of every byte of a character after its first
_UPPER_TWO_BITS = 0xC0
_ONES, _HIGH = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_NEWLINES = np.uint64(0x0A0A0A0A0A0A0A0A)
_HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, the golden ratio's


class SeenTables(NamedTuple):
    """Two hash tables over the parts of one document, its lines and its paragraphs.

    `lines`, `paragraphs`: int64 [lines, 2], start and stop of what was seen. `slots`: int32 [2, power of
    two], the number of an entry or -1; at least half are free. `copied`: bool [2, lines], entries that came
    again.
    """

    lines: NDArray[np.int64]
    paragraphs: NDArray[np.int64]
    slots: NDArray[np.int32]
    copied: NDArray[np.bool_]


def seen_tables(buffers: TextBuffers) -> SeenTables:
    """Empty tables with room for the parts of any document of the batch."""
    lines = int(_most_lines(buffers.offsets, buffers.bytes))
    bounds = np.empty((2, lines, 2), np.int64)
    slots = np.empty((2, slots_for(lines)), np.int32)
    return SeenTables(bounds[0], bounds[1], slots, np.empty((2, lines), np.bool_))


@kernel
def count_lines(text, start, stop, tables, seen, found):
    """Count lines and paragraphs of the document text[start:stop] into `found`, its row of counts."""
    slots = seen.slots[:, : slots_for(_line_limit(text, start, stop))]
    slots[:] = -1
    ellipsis = entry_of(ELLIPSIS, tables)
    paragraph_start = paragraph_stop = np.int64(-1)
    paragraph_hash = np.uint64(0)
    lines = paragraphs = paragraph_characters = np.int64(0)
    at = start
    while at < stop:
        begin, end = at, find_newline(text, at, stop)
        line_start, line_stop, first, last = _trim(text, begin, end, tables)
        at = end + 1
        if line_start < line_stop:
            lines += 1
            if paragraph_start < 0:
                paragraph_start = begin
            paragraph_stop = end
            line_hash = _hash_bytes(text, begin, end)
            paragraph_hash = mix_bits(paragraph_hash ^ line_hash)
            characters = _characters(text, begin, end)
            found[column.SHORT_LINES] += characters <= SHORT_LINE_CHARACTERS
            found[column.LONGEST_LINE_CHARACTERS] = max(found[column.LONGEST_LINE_CHARACTERS], characters)
            found[column.BULLET_LINES] += (tables.classes[first] & unicode.BULLET) != 0
            found[column.PUNCTUATED_LINES] += (tables.classes[last] & unicode.TERMINAL) != 0
            found[column.ENDED_LINES] += (tables.classes[last] & unicode.SENTENCE_END) != 0
            found[column.ELLIPSIS_LINES] += last == ellipsis or _ends_in_dots(text, line_start, line_stop)
            paragraph_characters += characters + 1
            unique = lines - 1 - np.int64(found[column.DUPLICATE_LINES])
            known = _find_part(text, begin, end, line_hash, slots[0], seen.lines, unique)
            if known < unique:
                found[column.DUPLICATE_LINES] += 1
                found[column.DUPLICATE_LINE_CHARACTERS] += characters
                if not seen.copied[0, known]:
                    seen.copied[0, known] = True
                    found[column.COPIED_LINES] += 1
                    found[column.COPIED_LINE_CHARACTERS] += characters
            else:
                seen.copied[0, unique] = False
        if paragraph_start >= 0 and (line_start == line_stop or at >= stop):
            characters = paragraph_characters - 1  # with the newlines between its lines
            known = _find_part(
                text, paragraph_start, paragraph_stop, paragraph_hash, slots[1], seen.paragraphs, paragraphs
            )
            if known < paragraphs:
                found[column.DUPLICATE_PARAGRAPHS] += 1
                found[column.DUPLICATE_PARAGRAPH_CHARACTERS] += characters
                if not seen.copied[1, known]:
                    seen.copied[1, known] = True
                    found[column.COPIED_PARAGRAPHS] += 1
                    found[column.COPIED_PARAGRAPH_CHARACTERS] += characters
            else:
                seen.copied[1, paragraphs] = False
                paragraphs += 1
            found[column.PARAGRAPH_CHARACTERS] += characters
            paragraph_characters = np.int64(0)
            paragraph_start = np.int64(-1)
            paragraph_hash = np.uint64(0)
    found[column.LINES] = lines
    found[column.PARAGRAPHS] = paragraphs + np.int64(found[column.DUPLICATE_PARAGRAPHS])


@kernel
def find_newline(text, at, stop):
    """Where the first newline at or after `at` is; `stop` if there is none."""
    last = min(stop, np.int64(text.size)) - 8
    while at <= last:
        eight = load_eight(text, at) ^ _NEWLINES  # pyright: ignore[reportCallIssue]
        zeros = (eight - _ONES) & ~eight & _HIGH  # its lowest bit is right, which is the one that counts
        if zeros:
            return at + (count_zeros(zeros) >> 3)  # pyright: ignore[reportCallIssue]
        at += 8
    while at < stop and text[at] != NEWLINE:
        at += 1
    return at


@kernel
def _trim(text, start, stop, tables):
    """(start, stop, entries of first and last character) without outer white space; start == stop: blank."""
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
def _find_part(text, start, stop, hashed, slots, bounds, used):
    """Which of the `used` entries of the table text[start:stop] is; entered as number `used` if none.

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
                return np.int64(slots[slot])
        slot = (slot + 1) & last_slot
    slots[slot] = used
    bounds[used, 0] = start
    bounds[used, 1] = stop
    return used


@kernel
def _hash_bytes(text, start, stop):
    """uint64 of text[start:stop], eight bytes at a step; for tables in memory only, never stored."""
    hashed = np.uint64(stop - start)
    for at in range(start, stop - 7, 8):
        eight = load_eight(text, at)  # pyright: ignore[reportCallIssue]
        hashed = (hashed ^ eight) * _HASH_FACTOR
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
