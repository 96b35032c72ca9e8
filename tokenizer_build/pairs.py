"""Which two tokens make a token: the halves of each, and a hash table from pairs to what they make.

A pair is a key of 40 bits: left, 20 bits | right, 20 bits.
"""

import numpy as np

from pipeline.kernels.jit import inlined, kernel
from tokenizer_build.trie import LOW_24, NONE, U, exact_match

_GOLDEN = U(0x9E3779B97F4A7C15)


@inlined
def scatter(key):
    """A hash of a uint64 whose low 24 bits are good."""
    return (key * _GOLDEN) >> U(40)


@inlined
def made_of(pairs, left, right):
    """The token that two tokens merge into, or NONE."""
    mask = U(pairs.size - 1)
    key = U(left) << U(20) | U(right)
    slot = scatter(key) & mask
    while True:
        found = pairs[slot]
        if found == U(0):
            return NONE
        if (found >> U(24)) == key:
            return np.int64(found & LOW_24) - 1
        slot = (slot + U(1)) & mask


@inlined
def merged(pairs, mergeable, left, right):
    """`made_of`, after a look at one bit, which is zero for six of seven pairs that make nothing."""
    bit = scatter(U(left) << U(20) | U(right)) & U(mergeable.size * 64 - 1)
    if (mergeable[bit >> U(6)] >> (bit & U(63))) & U(1) == U(0):
        return NONE
    return made_of(pairs, left, right)


@kernel
def _add_pair(pairs, left, right, token):
    mask = U(pairs.size - 1)
    key = U(left) << U(20) | U(right)
    slot = scatter(key) & mask
    while pairs[slot] != U(0):
        slot = (slot + U(1)) & mask
    pairs[slot] = key << U(24) | U(token + 1)


@kernel
def pair_halves(halves, pairs):
    for token in range(halves.shape[0]):
        if halves[token, 0] != token:
            _add_pair(pairs, halves[token, 0], halves[token, 1], token)


@kernel
def mark_pairs(pairs, mergeable):
    mask = U(mergeable.size * 64 - 1)
    for slot in range(pairs.size):
        if pairs[slot] != U(0):
            bit = scatter(pairs[slot] >> U(24)) & mask
            mergeable[bit >> U(6)] |= U(1) << (bit & U(63))


@kernel
def every_pair(content, starts, trie, pairs):
    """Count the pairs of tokens that together are a token, and fill them in if there is room for any."""
    count = 0
    for token in range(starts.size - 1):
        start, end = starts[token], starts[token + 1]
        for middle in range(start + 1, end):
            left = exact_match(content, start, middle, trie)
            right = exact_match(content, middle, end, trie)
            if left != NONE and right != NONE:
                count += 1
                if pairs.size > 2:
                    _add_pair(pairs, left, right, token)
    return count


@kernel
def find_halves(content, starts, trie, halves, scratch):
    """Merge every token's bytes by lower ranks; False as soon as one does not end as two tokens."""
    cuts, ranks = scratch[0], scratch[1]
    for token in range(starts.size - 1):
        start = starts[token]
        parts = starts[token + 1] - start
        halves[token, 0] = halves[token, 1] = token
        if parts == 1:
            continue
        for place in range(parts + 1):
            cuts[place] = start + place
        for place in range(parts - 1):
            ranks[place] = exact_match(content, start + place, start + place + 2, trie)
        while parts > 2:
            least, where = token, -1
            for place in range(parts - 1):
                if ranks[place] < least:
                    least, where = ranks[place], place
            if where < 0:
                return False
            for place in range(where + 1, parts):
                cuts[place] = cuts[place + 1]
            for place in range(where, parts - 2):
                ranks[place] = ranks[place + 1]
            parts -= 1
            for place in range(max(where - 1, 0), min(where + 1, parts - 1)):
                ranks[place] = exact_match(content, cuts[place], cuts[place + 2], trie)
        halves[token, 0] = exact_match(content, cuts[0], cuts[1], trie)
        halves[token, 1] = exact_match(content, cuts[1], cuts[2], trie)
    return True
