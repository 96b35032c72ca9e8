"""Text to token ids for merge-shaped vocabularies: exactly what byte-pair merging gives, without merging.

A sequence of tokens is what merging gives if, and only if, every two neighbours are (Antoine, van Antwerpen:
"So many tokens, so little time", github.com/github/rust-gems, crate bpe). So a piece is covered from the left
by the longest token that fits its left neighbour, the next shorter one if that does not fit, and one token
back where none does; a place that led nowhere is marked, so that a piece takes linear time whatever it holds.

Two tokens do not fit if, somewhere in the history of their own merges, their inner ends would have merged
with one another first. The history is unrolled backwards, the later of the two merges first: `_neighbours`.
It is asked for seldom: between two characters of three bytes a bitmap says at once that no token crosses
(three of four times in Chinese), and other answers are kept in a small table.

Pieces of at most 16 bytes are looked up whole first, in a table of the pieces seen last, by their exact
bytes: nine of ten pieces of English or code are found there.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.jit import count_zeros, inlined, kernel, load_eight
from tokenizer_build.scan import TOPS, ascii_letters, letters_end, next_piece
from tokenizer_build.tables import DEEPER, SIX_BYTES, made_of, scatter
from tokenizer_build.trie import LOW_24, NONE, U, walk
from tokenizer_build.unicode_classes import LETTER, OTHER, SPACE, load_tables

PIECES = 1 << 14  # remembered, 32 bytes each; more than the second-level cache holds is slower again
NEIGHBOURS = 1 << 16  # remembered, 8 bytes each
SLACK = 4  # ids that may be written past the last one: four are stored at a time

_FULL = ~U(0)
_THREE, _LEAD_MASK = U(0xE0), U(0xF0)
_GENERAL, _LETTER, _PREFIX = 0, 1, 2


def remembered() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Empty scratch tables for one thread: neighbours, pieces. What is in them never changes a result."""
    pieces = np.zeros((PIECES, 4), np.uint64)
    pieces[:, :2] = _FULL  # which no text can be
    return np.full(NEIGHBOURS, _FULL), pieces


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
        if made_of(tables.pairs, left, right) < limit:
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


@kernel
def encode_documents(
    offsets, text, blocks, classes, kinds, digits, one_tail, tables, bad, neighbours, pieces, ids, ends
):
    """Write the ids of documents end to end, and where each document ends; returns the number of ids.

    `ids` has room for one id per byte and SLACK more; `bad` is False for a byte more than the longest
    document has; `neighbours` and `pieces` come from `remembered`, and are used by one thread at a time.
    """
    count = 0
    mask = U(pieces.shape[0] - 1)
    for document in range(offsets.size - 1):
        at, end = offsets[document], offsets[document + 1]
        while at < end:
            ahead = at + 16 <= text.size
            low, high, slot = U(0), _FULL, U(0)
            after = at
            if ahead:
                low = load_eight(text, at)  # pyright: ignore[reportCallIssue]
                kind = kinds[text[at]]
                if kind != _GENERAL:
                    after = _word_end(text, at, end, low, kind, blocks, classes)
            if after == at:
                after = next_piece(text, at, end, blocks, classes, digits, one_tail)
            length = after - at
            if length == 1:
                ids[count] = tables.byte_ids[text[at]]
                count += 1
                at = after
                continue
            # Clauses of scripts without spaces are seldom seen twice.
            looked_up = ahead and length <= 16 and text[at] < 0xE0
            if looked_up:
                # Bytes past the end of the piece are set to 0xFF, which is in no text.
                if length <= 8:
                    low |= (_FULL << U(4 * length)) << U(4 * length)
                else:
                    high = load_eight(text, at + 8)  # pyright: ignore[reportCallIssue]
                    high |= (_FULL << U(4 * length - 32)) << U(4 * length - 32)
                slot = scatter(low ^ (high * U(0xD6E8FEB86659FD93))) & mask
                if pieces[slot, 0] == low and pieces[slot, 1] == high:
                    two, four = pieces[slot, 2], pieces[slot, 3]
                    ids[count] = two & LOW_24
                    ids[count + 1] = (two >> U(32)) & LOW_24
                    ids[count + 2] = four & LOW_24
                    ids[count + 3] = (four >> U(32)) & LOW_24
                    count += np.int64(two >> U(56))
                    at = after
                    continue
            found = _longest(text, at, after, tables)
            before = count
            if found >> 32 == length:
                ids[count] = found & 0xFFFFFFFF
                count += 1
            else:
                count = _cover(text, at, after, found, tables, bad, neighbours, ids, count)
            if looked_up and count - before <= 4:
                pieces[slot, 0], pieces[slot, 1] = low, high
                two = U(ids[before]) & LOW_24 | (U(ids[before + 1]) & LOW_24) << U(32)
                pieces[slot, 2] = two | U(count - before) << U(56)
                pieces[slot, 3] = U(ids[before + 2]) & LOW_24 | (U(ids[before + 3]) & LOW_24) << U(32)
            at = after
        ends[document] = count
    return count
