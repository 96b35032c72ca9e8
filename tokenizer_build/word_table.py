"""Short tokens by their bytes: one look-up says which token a piece of at most 16 bytes is, if any.

A trie takes a step for every byte, each of them somewhere else in memory.

Only tokens that start below 0xE0 are in it: pieces that start with a character of three bytes are seldom one
token, and have tables of their own (`tables`).
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.jit import inlined, kernel
from tokenizer_build.pairs import scatter
from tokenizer_build.trie import NONE, U

LONGEST = 16  # bytes


@inlined
def spread(low, high):
    """A hash of 16 bytes."""
    return scatter(low ^ (high * U(0xD6E8FEB86659FD93)))


@inlined
def find_word(words, low, high, slot):
    """The token of these bytes, whose hash is `slot`, or NONE."""
    mask = U(words.shape[0] - 1)
    slot &= mask
    while words[slot, 2] != U(0):
        if words[slot, 0] == low and words[slot, 1] == high:
            return np.int64(words[slot, 2]) - 1
        slot = (slot + U(1)) & mask
    return NONE


def build_words(content: NDArray[np.uint8], starts: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A hash table, [slots, 4], of tokens `content[starts[i]:starts[i + 1]]` of 2 bytes and more.

    In a slot: the token's bytes, eight and eight, those past its end 0xFF; token + 1, or 0 if it is empty.
    """
    lengths = np.diff(starts)
    short = np.flatnonzero((lengths > 1) & (lengths <= LONGEST) & (content[starts[:-1]] < 0xE0))
    words = np.zeros((1 << (3 * len(short) // 2 + 1).bit_length(), 4), np.uint64)
    _fill(content, starts, short, words)
    return words


@kernel
def _fill(content, starts, short, words):
    mask = U(words.shape[0] - 1)
    for token in short:
        start, length = starts[token], starts[token + 1] - starts[token]
        low, high = ~U(0), ~U(0)
        for place in range(length):
            byte = (~U(content[start + place]) & U(0xFF)) << U(8 * (place & 7))
            if place < 8:
                low ^= byte
            else:
                high ^= byte
        slot = spread(low, high) & mask
        while words[slot, 2] != U(0):
            slot = (slot + U(1)) & mask
        words[slot, 0], words[slot, 1], words[slot, 2] = low, high, U(token + 1)
