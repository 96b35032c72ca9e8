"""Pairs of neighbouring tokens in weighted words: a table from pair to count and words, and a heap on top.

Ties in the heap: the larger count first, then the smaller (left id, right id). Kernels of `bpe_train`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.jit import kernel

# Places in `state` (int64 [6]): how much of each table is in use, merges made, and two of scratch.
PAIRS, LISTS, HEAP, MADE, SCRATCH = 0, 1, 2, 3, 4
SEPARATOR, GONE = -1, -2  # in place of a token id

HALF = np.uint64(32)
LOW = np.uint64(0xFFFFFFFF)
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: multiplicative hashing (Knuth, TAOCP 6.4)
_DOWN = np.uint64(24)


class Words(NamedTuple):
    """Weighted words end to end, each behind a separator, by falling weight.

    `tokens` has one place per byte: a token's id stands in the first and the last place of its bytes, so that
    the token before any other can be read as well as the token behind it. Inside a token, where a younger
    token begins that is no longer there, stands GONE. The first and the last place are separators.
    """

    tokens: NDArray[np.int32]
    level_ends: NDArray[np.int64]  # places before `level_ends[i]` (and not before the last) weigh
    level_counts: NDArray[np.int64]  # `level_counts[i]`


class Pairs(NamedTuple):
    """Pairs of tokens above the floor; `slots` (a power of two) finds a key's place in the other arrays."""

    slots: NDArray[np.int32]  # place of a pair, -1 for none
    keys: NDArray[np.uint64]  # left id << 32 | right id
    counts: NDArray[np.int64]
    list_starts: NDArray[np.int64]
    list_lengths: NDArray[np.int32]
    lists: NDArray[np.int32]  # places of all pairs, a pair's own end to end, rising
    heap_counts: NDArray[np.int64]  # upper bounds, the largest on top
    heap_pairs: NDArray[np.int32]


@kernel
def pair_key(left, right):
    return (np.uint64(left) << HALF) | np.uint64(right)


@kernel
def copy_words(content, offsets, order, byte_ids, tokens):
    """Lay words out in an order, from the second place of `tokens` on, with a place left free behind each."""
    to = 1
    for word in order:
        for at in range(offsets[word], offsets[word + 1]):
            tokens[to] = byte_ids[content[at]]
            to += 1
        to += 1


@kernel
def find_slot(slots, keys, key):
    """The slot of a key, or the empty slot where it belongs."""
    mask = np.uint64(slots.size - 1)
    at = (key * _MIX) >> _DOWN
    while True:
        slot = np.int64(at & mask)
        place = slots[slot]
        if place < 0 or keys[place] == key:
            return slot
        at += np.uint64(1)


@kernel
def _before(pairs, count, pair, other_count, other):
    return count > other_count or (count == other_count and pairs.keys[pair] < pairs.keys[other])


@kernel
def push(pairs, state, count, pair):
    at = state[HEAP]
    state[HEAP] += 1
    while at > 0:
        up = (at - 1) >> 1
        if not _before(pairs, count, pair, pairs.heap_counts[up], pairs.heap_pairs[up]):
            break
        pairs.heap_counts[at] = pairs.heap_counts[up]
        pairs.heap_pairs[at] = pairs.heap_pairs[up]
        at = up
    pairs.heap_counts[at] = count
    pairs.heap_pairs[at] = pair


@kernel
def _sink(pairs, state, count, pair):
    """Put a pair in the place of the top one, as far down as it belongs."""
    size, at = state[HEAP], 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and _before(
            pairs,
            pairs.heap_counts[child + 1],
            pairs.heap_pairs[child + 1],
            pairs.heap_counts[child],
            pairs.heap_pairs[child],
        ):
            child += 1
        if not _before(pairs, pairs.heap_counts[child], pairs.heap_pairs[child], count, pair):
            break
        pairs.heap_counts[at] = pairs.heap_counts[child]
        pairs.heap_pairs[at] = pairs.heap_pairs[child]
        at = child
    pairs.heap_counts[at] = count
    pairs.heap_pairs[at] = pair


@kernel
def pop_best(pairs, state, floor):
    """Take the pair with the largest true count from the heap; -1 if none reaches the floor."""
    while state[HEAP] > 0:
        pair, bound = pairs.heap_pairs[0], pairs.heap_counts[0]
        count = pairs.counts[pair]
        if count == bound:
            take = True
        elif count >= floor:
            _sink(pairs, state, count, pair)
            continue
        else:
            take = False
        state[HEAP] -= 1
        last = state[HEAP]
        if last > 0:
            _sink(pairs, state, pairs.heap_counts[last], pairs.heap_pairs[last])
        if take:
            return np.int64(pair)
    return np.int64(-1)


@kernel
def level_of(words, place, level):
    """The level of a place, which is not below `level`: steps that double, then halves."""
    step, low = 1, level
    while low + step < words.level_ends.size and place >= words.level_ends[low + step - 1]:
        low += step
        step *= 2
    high = min(low + step, words.level_ends.size) - 1
    while low < high:
        middle = (low + high) >> 1
        if place >= words.level_ends[middle]:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def index_pairs(words, pairs, sizes, state, floor):
    """Find all pairs of the words anew, keep those that reach the floor, list their places, build the heap.

    `lists` must hold as many entries as the words have pairs. Returns the most occurrences (not weighted)
    that any pair has, or -1 if there are more pairs than `pairs` has room for.
    """
    tokens = words.tokens
    pairs.slots[:] = -1
    found, level, at = 0, 0, 0
    while at < tokens.size:
        left = tokens[at]
        behind = at + (sizes[left] if left >= 0 else 1)
        if left < 0 or tokens[behind] < 0:
            at = behind
            continue
        if at >= words.level_ends[level]:
            level = level_of(words, at, level)
        key = pair_key(left, tokens[behind])
        slot = find_slot(pairs.slots, pairs.keys, key)
        pair = pairs.slots[slot]
        if pair < 0:
            if found == pairs.keys.size:
                return np.int64(-1)
            pair = found
            found += 1
            pairs.slots[slot] = pair
            pairs.keys[pair] = key
            pairs.counts[pair] = 0
            pairs.list_lengths[pair] = 0
        pairs.counts[pair] += words.level_counts[level]
        pairs.list_lengths[pair] += 1
        at = behind
    pairs.slots[:] = -1
    kept, used, most = 0, np.int64(0), np.int64(0)
    for pair in range(found):
        most = max(most, np.int64(pairs.list_lengths[pair]))
        if pairs.counts[pair] < floor:
            continue
        key = pairs.keys[pair]
        pairs.keys[kept] = key
        pairs.counts[kept] = pairs.counts[pair]
        pairs.list_starts[kept] = used
        used += pairs.list_lengths[pair]
        pairs.list_lengths[kept] = 0
        pairs.slots[find_slot(pairs.slots, pairs.keys, key)] = kept
        kept += 1
    at = 0
    while at < tokens.size:
        left = tokens[at]
        behind = at + (sizes[left] if left >= 0 else 1)
        if left >= 0 and tokens[behind] >= 0:
            pair = pairs.slots[find_slot(pairs.slots, pairs.keys, pair_key(left, tokens[behind]))]
            if pair >= 0:
                pairs.lists[pairs.list_starts[pair] + pairs.list_lengths[pair]] = at
                pairs.list_lengths[pair] += 1
        at = behind
    state[PAIRS], state[LISTS], state[HEAP] = kept, used, 0
    for pair in range(kept):
        push(pairs, state, pairs.counts[pair], pair)
    return most
