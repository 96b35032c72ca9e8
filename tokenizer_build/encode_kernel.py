"""Text to token ids for merge-shaped vocabularies: exactly what byte-pair merging gives, mostly without it.

A sequence of tokens is what merging gives if, and only if, every two neighbours are (Antoine, van Antwerpen:
"So many tokens, so little time", github.com/github/rust-gems, crate bpe). So a piece is covered from the left
by the longest token that fits its left neighbour, the next shorter one if that does not fit, and one token
back where none does; a place that led nowhere is marked, so that a piece takes linear time whatever it holds.

Two tokens do not fit if, somewhere in the history of their own merges, their inner ends would have merged
with one another first. The history is unrolled backwards, the later of the two merges first: `_neighbours`.
It is asked for seldom: between two characters of three bytes a bitmap says at once that no token crosses
(three of four times in Chinese), and other answers are kept in a small table.

Pieces of at most 16 bytes are looked up whole first, in a table of the pieces seen last, by their exact
bytes: nine of ten pieces of English or code are found there. Those that are neither there nor a token are
merged after all: inside words a guess at the longest token is wrong too often (`short_merge`). Pieces are cut
some ahead of that, and memory is told at once what will be looked up for them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.jit import count_zeros, inlined, kernel, load_eight, prefetch
from tokenizer_build.pairs import merged, scatter
from tokenizer_build.scan import TOPS, ascii_letters, letters_end, next_piece
from tokenizer_build.short_merge import merge_short
from tokenizer_build.tables import DEEPER, SIX_BYTES, in_huge_pages
from tokenizer_build.trie import LOW_24, NONE, U, walk
from tokenizer_build.unicode_classes import LETTER, OTHER, SPACE, load_tables
from tokenizer_build.word_table import find_word, spread

PIECES = 1 << 14  # remembered, 32 bytes each; more than the second-level cache holds is slower again
NEIGHBOURS = 1 << 16  # remembered, 8 bytes each
GROUP = 32  # pieces that are cut ahead, so that what is looked up for them is on its way
SLACK = 4  # ids that may be written past the last one: four are stored at a time

_FULL = ~U(0)
_THREE, _LEAD_MASK = U(0xE0), U(0xF0)
_GENERAL, _LETTER, _PREFIX = 0, 1, 2
# Columns of a group: where a piece ends, its hash (_FULL: not looked up), its bytes.
END, SLOT, LOW, HIGH = 0, 1, 2, 3


class Scratch(NamedTuple):
    """What one thread writes to. What is in it never changes a result."""

    neighbours: NDArray[np.uint64]  # [NEIGHBOURS], pairs of tokens and whether they fit
    pieces: NDArray[np.uint64]  # [PIECES, 4]: bytes, 16 of them, and up to four ids and their number
    group: NDArray[np.uint64]  # [GROUP, 4]: pieces that are cut
    ranks: NDArray[np.int32]  # [16], see `merge_short`
    ids: NDArray[np.int32]  # the result, overwritten by the next call


def new_scratch(most: int) -> Scratch:
    """Empty, with room for so many ids."""
    pieces = np.zeros((PIECES, 4), np.uint64)
    pieces[:, :2] = _FULL  # which no text can be
    group, ranks = np.empty((GROUP, 4), np.uint64), np.empty(16, np.int32)
    neighbours, pieces, group, ranks = in_huge_pages([np.full(NEIGHBOURS, _FULL), pieces, group, ranks])
    return Scratch(neighbours, pieces, group, ranks, np.empty(most, np.int32))


def first_bytes() -> NDArray[np.uint8]:
    """How a piece may start, by its first byte: a letter, what may precede letters, or anything else."""
    classes = load_tables().classes
    kinds = np.zeros(256, np.uint8)
    kinds[:128][classes[:128] == LETTER] = _LETTER
    kinds[:128][(classes[:128] == OTHER) | (classes[:128] == SPACE)] = _PREFIX
    kinds[ord("'")] = _GENERAL  # contractions come first
    return kinds


@inlined
def _longest(text, at, end, tables):
    """The longest token at `at` as token | length << 32."""
    if at + 8 <= text.size and at + 3 <= end and text[at] & 0xF0 == 0xE0:
        eight = load_eight(text, at)  # pyright: ignore[reportCallIssue]
        code = (eight & U(0x0F)) << U(12) | (eight >> U(2)) & U(0xFC0) | (eight >> U(16)) & U(0x3F)
        first = tables.firsts[code]
        if first != U(0):
            if at + 6 <= end and (eight >> U(24)) & _LEAD_MASK == _THREE:
                key = eight & SIX_BYTES
                mask = U(tables.seconds.shape[0] - 1)
                slot = scatter(key) & mask
                while tables.seconds[slot, 0] != key and tables.seconds[slot, 0] != U(0):
                    slot = (slot + U(1)) & mask
                if tables.seconds[slot, 0] == key:
                    second = tables.seconds[slot, 1]
                    best = np.int64(second & LOW_24) | np.int64(second >> U(48)) << 32
                    node = (second >> U(24)) & LOW_24
                    if node == U(0) or at + 6 == end:
                        return best
                    return walk(text, at + 6, at, end, tables.trie, tables.trie[node], best)
                if first & DEEPER == U(0):
                    return np.int64(first & LOW_24) | np.int64(first >> U(48)) << 32
            elif at + 3 == end:
                return np.int64(first & LOW_24) | np.int64(first >> U(48)) << 32
    return walk(text, at, at, end, tables.trie, tables.trie[0], -1)


@inlined
def _neighbours(left, right, tables):
    """Whether merging the bytes of two tokens gives these two tokens."""
    limit = NONE
    while True:
        if merged(tables.pairs, tables.mergeable, left, right) < limit:
            return False
        if left > right:
            limit = left
            left = np.int64(tables.halves[left, 1])
            if left == limit:
                limit = right + 1
                right = np.int64(tables.halves[right, 0])
                if right + 1 == limit:
                    return True
        else:
            limit = right + 1
            right = np.int64(tables.halves[right, 0])
            if right + 1 == limit:
                limit = left
                left = np.int64(tables.halves[left, 1])
                if left == limit:
                    return True


@inlined
def _fit(text, at, left, right, tables, neighbours):
    """Whether token `right`, at `at`, may follow token `left`."""
    if text[at] & 0xF0 == 0xE0 and at >= 3 and at + 5 <= text.size and text[at - 3] & 0xF0 == 0xE0:
        around = load_eight(text, at - 3) & SIX_BYTES  # pyright: ignore[reportCallIssue]
        bit = scatter(around) & U(tables.crossing.size * 64 - 1)
        crossed = (tables.crossing[bit >> U(6)] >> (bit & U(63))) & U(1)
        if crossed == U(0) and (tables.odd[left] >> (text[at] & 15)) & 1 == 0:
            return True
    key = U(left) << U(20) | U(right)
    slot = scatter(key) & U(neighbours.size - 1)
    if neighbours[slot] >> U(1) != key:
        neighbours[slot] = key << U(1) | U(_neighbours(left, right, tables))
    return neighbours[slot] & U(1) == U(1)


@inlined
def _cover(text, start, end, found, tables, bad, neighbours, ids, count):
    """Write the tokens of text[start:end], whose longest first one is `found`; returns the new count.

    `bad` is all False before and after: places (from `start` on) that no sequence of tokens goes on from.
    """
    before, at, marks = count, start, 0
    token, length = found & 0xFFFFFFFF, found >> 32
    while True:
        last = np.int64(ids[count - 1]) if count > before else -1
        while True:
            after = at + length
            if (marks == 0 or not bad[after - start]) and (
                last < 0 or _fit(text, at, last, token, tables, neighbours)
            ):
                ids[count] = token
                count += 1
                at = after
                if at >= end:
                    if marks:
                        bad[: end - start + 1] = False
                    return count
                found = _longest(text, at, end, tables)
                token, length = found & 0xFFFFFFFF, found >> 32
                break
            shorter = np.int64(tables.shorter[token])
            if shorter >= 0:
                token, length = shorter, np.int64(tables.lengths[shorter])
            else:
                bad[at - start] = True
                marks += 1
                token, length = last, np.int64(tables.lengths[last])
                at -= length
                count -= 1
                break


@inlined
def _word_end(text, at, end, eight, kind, blocks, classes):
    """End of a piece that is letters with at most one ASCII sign before them; `at` if it is another kind."""
    others = (~ascii_letters(eight) & TOPS) & ~U(0xFF)
    # The first byte counts as one of the run.
    run = count_zeros(others) >> 3  # pyright: ignore[reportCallIssue]
    after = at + run
    if after >= end:
        after = end
    elif run == 8 or text[after] >= 0x80:
        after = letters_end(text, after, end, blocks, classes)
    return at if kind == _PREFIX and after == at + 1 else after


@inlined
def _cut(text, at, end, blocks, classes, kinds, digits, one_tail, tables, pieces, group):
    """Cut the next pieces of a document, at most GROUP; returns how many."""
    mask, words = U(pieces.shape[0] - 1), U(tables.words.shape[0] - 1)
    count = 0
    while at < end and count < GROUP:
        after, kind, low = at, _GENERAL, U(0)
        ahead = at + 16 <= text.size
        if ahead:
            low = load_eight(text, at)  # pyright: ignore[reportCallIssue]
            kind = kinds[text[at]]
            if kind != _GENERAL:
                after = _word_end(text, at, end, low, kind, blocks, classes)
        if after == at:
            after = next_piece(text, at, end, blocks, classes, digits, one_tail)
        length = after - at
        group[count, END], group[count, SLOT] = U(after), _FULL
        # Clauses of scripts without spaces are seldom seen twice.
        if ahead and 1 < length <= 16 and text[at] < 0xE0:
            # Bytes past the end of the piece are set to 0xFF, which is in no text.
            high = _FULL
            if length <= 8:
                low |= (_FULL << U(4 * length)) << U(4 * length)
            else:
                high = load_eight(text, at + 8)  # pyright: ignore[reportCallIssue]
                high |= (_FULL << U(4 * length - 32)) << U(4 * length - 32)
            slot = spread(low, high)
            group[count, LOW], group[count, HIGH], group[count, SLOT] = low, high, slot
            prefetch(pieces, np.int64((slot & mask) * U(4)))  # pyright: ignore[reportCallIssue]
        count += 1
        at = after
    for piece in range(count):
        slot = group[piece, SLOT]
        if slot != _FULL:
            place = slot & mask
            if pieces[place, 0] != group[piece, LOW] or pieces[place, 1] != group[piece, HIGH]:
                prefetch(tables.words, np.int64((slot & words) * U(4)))  # pyright: ignore[reportCallIssue]
    return count


@kernel
def encode_documents(offsets, text, blocks, classes, kinds, digits, one_tail, tables, scratch, bad, ends):
    """Write the ids of documents end to end, and where each document ends; returns the number of ids.

    `scratch`, with room for one id per byte and SLACK more, is used by one thread at a time; `bad` is False
    for a byte more than the longest document has.
    """
    neighbours, pieces, group, ranks, ids = scratch
    count = 0
    mask = U(pieces.shape[0] - 1)
    for document in range(offsets.size - 1):
        at, end = offsets[document], offsets[document + 1]
        while at < end:
            cut = _cut(text, at, end, blocks, classes, kinds, digits, one_tail, tables, pieces, group)
            for piece in range(cut):
                after, slot = np.int64(group[piece, END]), group[piece, SLOT]
                length = after - at
                if slot == _FULL:
                    if length == 1:
                        ids[count] = tables.byte_ids[text[at]]
                        count += 1
                    else:
                        found = _longest(text, at, after, tables)
                        if found >> 32 == length:
                            ids[count] = found & 0xFFFFFFFF
                            count += 1
                        else:
                            count = _cover(text, at, after, found, tables, bad, neighbours, ids, count)
                    at = after
                    continue
                low, high, place = group[piece, LOW], group[piece, HIGH], slot & mask
                if pieces[place, 0] == low and pieces[place, 1] == high:
                    two, four = pieces[place, 2], pieces[place, 3]
                    ids[count] = two & LOW_24
                    ids[count + 1] = (two >> U(32)) & LOW_24
                    ids[count + 2] = four & LOW_24
                    ids[count + 3] = (four >> U(32)) & LOW_24
                    count += np.int64(two >> U(56))
                    at = after
                    continue
                before = count
                word = find_word(tables.words, low, high, slot)
                if word != NONE:
                    ids[count] = word
                    count += 1
                elif text[at + 1] < 0xE0:
                    count = merge_short(text, at, length, tables, ranks, ids, count)
                else:
                    found = _longest(text, at, after, tables)
                    count = _cover(text, at, after, found, tables, bad, neighbours, ids, count)
                if count - before <= 4:
                    pieces[place, 0], pieces[place, 1] = low, high
                    two = U(ids[before]) & LOW_24 | (U(ids[before + 1]) & LOW_24) << U(32)
                    pieces[place, 2] = two | U(count - before) << U(56)
                    pieces[place, 3] = U(ids[before + 2]) & LOW_24 | (U(ids[before + 3]) & LOW_24) << U(32)
                at = after
        ends[document] = count
    return count
