"""What encoding looks up, made once from the ranks of a vocabulary.

A vocabulary is *merge-shaped* if every token of two bytes or more comes out of byte-pair merging, restricted
to lower ranks, as exactly two tokens: its halves. Trained vocabularies are, those of Qwen and cl100k_base
among them; encoding then needs no merging (`encode_kernel`). For any other, `halves` is empty, `pairs` holds
every pair of tokens that together are a token, and pieces are merged pair by pair (`merge_kernel`).
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.buffers import read_only
from pipeline.kernels.jit import kernel
from tokenizer_build.pairs import every_pair, find_halves, mark_pairs, pair_halves, scatter
from tokenizer_build.trie import BASE, LOW_24, NONE, U, build_trie, walk
from tokenizer_build.word_table import build_words

MAX_TOKENS = 1 << 20  # a pair of tokens and what it makes are packed into 64 bits
MAX_TOKEN_BYTES = 1 << 10  # the longest of Qwen and cl100k_base has 128

_LINE, _HUGE = 64, 1 << 21  # bytes of a cache line, of a huge page
SIX_BYTES = U(0xFFFFFFFFFFFF)
DEEPER = U(1 << 24)


class Tables(NamedTuple):
    """Read-only, so threads share them; 20 MB for Qwen.

    Characters of three UTF-8 bytes (Han, kana, Hangul, Thai and more) have tables of their own, because one
    look at six bytes is worth six steps through the trie. `firsts[16 bits of the character]` is the longest
    token that starts with it and ends before a second one: token, 24 bits | DEEPER if a token ends inside the
    second character | length << 48; 0 if not all of its bytes are in the trie. `seconds` is a hash table of
    six bytes, two characters -> token, 24 bits | node from which the trie goes on, or 0, 24 | length.
    """

    trie: NDArray[np.uint64]
    byte_ids: NDArray[np.int32]  # [256]
    byte_pairs: NDArray[np.int32]  # [65536], the token of two bytes, by first << 8 | second, or NONE
    lengths: NDArray[np.int32]  # [tokens], bytes
    shorter: NDArray[np.int32]  # [tokens], the longest token that is a proper prefix, or -1
    halves: NDArray[np.int32]  # [tokens, 2], left and right; a single byte is its own halves
    pairs: NDArray[np.uint64]  # hash table: left 20 bits | right 20 | token + 1, 24
    mergeable: NDArray[np.uint64]  # bits: a hashed one for each pair
    firsts: NDArray[np.uint64]  # [65536]
    seconds: NDArray[np.uint64]  # [slots, 2]
    # Whether tokens may merge across the border between two characters of three bytes: one hashed bit for
    # each six bytes around such a merge's border; and for merges of which the left side is less than a
    # character or the right side begins with less than one, by left token, a bit for the low half of the lead
    # byte of the right one.
    crossing: NDArray[np.uint64]  # bits
    odd: NDArray[np.uint16]  # [tokens]
    words: NDArray[np.uint64]  # [slots, 4], see `word_table`


def build_tables(ranks: Mapping[bytes, int]) -> Tables:
    """Tables of ranks as `load_ranks` returns them (1 s for 151,643).

    ValueError for more than 1,048,576 tokens or one of more than 1,024 bytes.
    """
    tokens = list(ranks)
    longest = max(tokens, key=len)
    if len(tokens) > MAX_TOKENS or len(longest) > MAX_TOKEN_BYTES:
        raise ValueError(
            f"{len(tokens)} tokens of up to {len(longest)} bytes; at most {MAX_TOKENS} of {MAX_TOKEN_BYTES}"
        )
    content, starts = end_to_end(tokens)
    order = np.array(sorted(range(len(tokens)), key=tokens.__getitem__), np.int64)
    trie = build_trie(content, starts, order)
    halves = np.empty((len(tokens), 2), np.int32)
    scratch = np.empty((2, len(longest) + 1), np.int64)
    shaped = find_halves(content, starts, trie, halves, scratch)
    if not shaped:
        halves = halves[:0].copy()
    count = len(tokens) if shaped else every_pair(content, starts, trie, _power_of_two(0))
    pairs = _power_of_two(2 * count + 4)
    if shaped:
        pair_halves(halves, pairs)
    else:
        every_pair(content, starts, trie, pairs)
    shorter = np.empty(len(tokens), np.int32)
    _find_shorter(content, starts, trie, shorter)
    firsts = np.zeros(1 << 16, np.uint64)
    count = _fill_characters(content, starts, order, trie, firsts, np.zeros((1, 2), np.uint64))
    seconds = np.zeros((2 * len(_power_of_two(count)), 2), np.uint64)
    _fill_characters(content, starts, order, trie, firsts, seconds)
    odd = np.zeros(len(tokens), np.uint16)
    count = _fill_crossing(content, starts, halves, np.zeros(1, np.uint64), odd)
    crossing = _power_of_two(count // 4)  # 16 bits or more each
    mergeable = _power_of_two(len(pairs) // 32)
    mark_pairs(pairs, mergeable)
    _fill_crossing(content, starts, halves, crossing, odd)
    byte_ids = np.array([ranks[bytes([byte])] for byte in range(256)], np.int32)
    lengths = np.diff(starts).astype(np.int32)
    byte_pairs = np.full(1 << 16, NONE, np.int32)
    two = np.flatnonzero(lengths == 2)
    byte_pairs[content[starts[two]].astype(np.int64) << 8 | content[starts[two] + 1]] = two
    words = build_words(content, starts)
    tables = Tables(
        trie,
        byte_ids,
        byte_pairs,
        lengths,
        shorter,
        halves,
        pairs,
        mergeable,
        firsts,
        seconds,
        crossing,
        odd,
        words,
    )
    return Tables(*map(read_only, in_huge_pages(tables)))


def in_huge_pages(arrays: Iterable[NDArray]) -> list[NDArray]:
    """Copies of arrays in one piece of memory that begins at a border of 2 MB.

    NumPy asks for huge pages where it allocates 4 MB and more; with small ones, much of the time of a look-up
    goes into finding the page.
    """
    arrays = list(arrays)
    starts = np.cumsum([0, *(-(-array.nbytes // _LINE) * _LINE for array in arrays)]).tolist()
    memory = np.empty(starts[-1] + 2 * _HUGE, np.uint8)
    first = -memory.ctypes.data % _HUGE
    copies = []
    for array, start in zip(arrays, starts, strict=False):
        place = memory[first + start : first + start + array.nbytes]
        copies.append(place.view(array.dtype).reshape(array.shape))
        copies[-1][...] = array
    return copies


def end_to_end(tokens: list[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Tokens as one array of bytes, and where each starts (one more than there are tokens)."""
    starts = np.zeros(len(tokens) + 1, np.int64)
    np.cumsum([len(token) for token in tokens], out=starts[1:])
    return np.frombuffer(b"".join(tokens), np.uint8), starts


def _power_of_two(least: int) -> NDArray[np.uint64]:
    """An empty table of at least so many slots."""
    return np.zeros(1 << max(least - 1, 1).bit_length(), np.uint64)


@kernel
def _find_shorter(content, starts, trie, shorter):
    for token in range(shorter.size):
        start, end = starts[token], starts[token + 1] - 1
        found = walk(content, start, start, end, trie, trie[0], -1)
        shorter[token] = found & 0xFFFFFFFF if found >= 0 else -1


@kernel
def _three_bytes(content, at, end):
    """Whether a whole character of three bytes starts at `at`."""
    whole = at + 3 <= end and content[at] & 0xF0 == 0xE0
    return whole and content[at + 1] & 0xC0 == 0x80 and content[at + 2] & 0xC0 == 0x80


@kernel
def _little(content, at, count):
    """Bytes as `load_eight` would have them, the rest zero."""
    word = U(0)
    for place in range(count):
        word |= U(content[at + place]) << U(8 * place)
    return word


@kernel
def _fill_characters(content, starts, order, trie, firsts, seconds):
    """Fill `firsts` and `seconds`, this only if it has room; returns the number of different six bytes."""
    mask = U(seconds.shape[0] - 1)
    count, previous = 0, U(0)
    for place in range(order.size):
        start, end = starts[order[place]], starts[order[place] + 1]
        if not _three_bytes(content, start, end):
            continue
        code = (np.int64(content[start]) & 0x0F) << 12 | (np.int64(content[start + 1]) & 0x3F) << 6
        code |= np.int64(content[start + 2]) & 0x3F
        found = walk(content, start, start, start + 3, trie, trie[0], -1)
        firsts[code] |= U(found & 0xFFFFFFFF) | U(found >> 32) << U(48)
        if 3 < end - start < 6 and content[start + 3] & 0xF0 == 0xE0:
            firsts[code] |= DEEPER
        if not _three_bytes(content, start + 3, end):
            continue
        key = _little(content, start, 6)
        if key == previous:
            continue
        previous = key
        count += 1
        if seconds.shape[0] == 1:
            continue
        node = U(0)
        for byte in range(6):
            node = ((trie[node] >> BASE) & LOW_24) ^ U(content[start + byte])
        found = walk(content, start, start, start + 6, trie, trie[0], -1)
        slot = scatter(key) & mask
        while seconds[slot, 0] != U(0):
            slot = (slot + U(1)) & mask
        seconds[slot, 0] = key
        seconds[slot, 1] = U(found & 0xFFFFFFFF) | U(found >> 32) << U(48)
        if (trie[node] >> BASE) & LOW_24:
            seconds[slot, 1] |= node << U(24)
    return count


@kernel
def _fill_crossing(content, starts, halves, crossing, odd):
    """Fill `crossing` and `odd`; returns the number of merges that are in `crossing`."""
    mask = U(crossing.size * 64 - 1)
    count = 0
    for token in range(halves.shape[0]):
        left, right = halves[token, 0], halves[token, 1]
        if left == token:
            continue
        start, end = starts[right], starts[right + 1]
        if content[start] & 0xF0 != 0xE0:
            continue
        border = starts[left + 1]
        inner = starts[left]
        while inner < border and content[inner] & 0xC0 == 0x80:
            inner += 1
        if inner == border or not _three_bytes(content, start, end):
            odd[left] |= 1 << (content[start] & 15)
        elif border - starts[left] >= 3 and _three_bytes(content, border - 3, border):
            bit = scatter(_little(content, border - 3, 3) | _little(content, start, 3) << U(24)) & mask
            crossing[bit >> U(6)] |= U(1) << (bit & U(63))
            count += 1
    for token in range(halves.shape[0]):
        odd[token] |= odd[halves[token, 1]]  # what its right end may merge with, a token may
    return count
