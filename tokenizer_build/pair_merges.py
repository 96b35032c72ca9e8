"""The merge loop of BPE training: the most frequent pair of neighbours becomes a token, again and again.

Three facts make it fast and keep its memory known beforehand.

- All occurrences of a pair arise in one step, the one that makes the younger of its tokens. So the list
  of its places is written once, end to end and rising, and a pair's count only falls afterwards: one entry
  per pair in a heap of upper bounds is enough. A place may have lost the pair since; a look at it tells.
- A step changes only pairs with a neighbour of the merged pair. Their counts are summed in a row per
  neighbour token, and looked up once per distinct neighbour, not once per occurrence.
- A pair below `floor` when it arises is forgotten: it cannot be merged before the best count falls below
  the floor. When that happens, or when a table is full, `index_pairs` finds the pairs again from the words
  themselves, with a lower floor or larger tables. The merges do not depend on floors or sizes.

Of overlapping occurrences (`a a a`) the first is merged. Ties are decided by `pair_index`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.jit import kernel
from tokenizer_build.pair_index import (
    GONE,
    HALF,
    LISTS,
    LOW,
    MADE,
    PAIRS,
    SCRATCH,
    find_slot,
    level_of,
    pair_key,
    pop_best,
    push,
)

# Why `merge_pairs` came back.
DONE, BELOW_FLOOR, FULL = 0, 1, 2
# Columns of a neighbour's row.
SUM, FOUND, WRITE = 0, 1, 2


class Neighbours(NamedTuple):
    """What a step finds beside the merged pair: a row per token for its left and its right side."""

    left: NDArray[np.int64]  # [tokens, 3]: weighted sum, occurrences, place to write in the lists
    right: NDArray[np.int64]
    left_touched: NDArray[np.int32]
    right_touched: NDArray[np.int32]
    events: NDArray[np.int32]  # [events, 2]: (left token, or right token's complement), place of the new pair


@kernel
def _merge_places(words, places, left, right, new, sizes, around, touched):
    """Replace the pair at all places where it still is and note what stands beside it; counts the notes."""
    tokens = words.tokens
    left_size, both_sizes = np.int64(sizes[left]), np.int64(sizes[left] + sizes[right])
    level, events = 0, np.int64(0)
    for place in places:
        at = np.int64(place)
        middle, behind = at + left_size, at + both_sizes
        if tokens[at] != left or tokens[middle] != right:
            continue
        if at >= words.level_ends[level]:
            level = level_of(words, at, level)
        count = words.level_counts[level]
        beside = tokens[at - 1]
        if beside >= 0:
            if around.left[beside, FOUND] == 0:
                around.left_touched[touched[0]] = beside
                touched[0] += 1
            around.left[beside, FOUND] += 1
            around.left[beside, SUM] += count
            around.events[events, 0] = beside
            around.events[events, 1] = at - sizes[beside]
            events += 1
        beside = tokens[behind]
        if beside >= 0:
            if around.right[beside, FOUND] == 0:
                around.right_touched[touched[1]] = beside
                touched[1] += 1
            around.right[beside, FOUND] += 1
            around.right[beside, SUM] += count
            around.events[events, 0] = ~beside
            around.events[events, 1] = at
            events += 1
        tokens[middle] = GONE
        tokens[at] = new
        tokens[behind - 1] = new
    return events


@kernel
def _add_pair(pairs, state, key, count, row, floor):
    """Enter a new pair if it reaches the floor, with room for its list; False if a table is full."""
    row[WRITE] = -1
    if count < floor or count < 1:
        return True
    place = state[PAIRS]
    if place == pairs.keys.size or state[LISTS] + row[FOUND] > pairs.lists.size:
        return False
    state[PAIRS] += 1
    pairs.keys[place] = key
    pairs.counts[place] = count
    pairs.list_starts[place] = state[LISTS]
    pairs.list_lengths[place] = row[FOUND]
    pairs.slots[find_slot(pairs.slots, pairs.keys, key)] = place
    row[WRITE] = state[LISTS]
    state[LISTS] += row[FOUND]
    push(pairs, state, count, place)
    return True


@kernel
def _lower(pairs, key, count):
    place = pairs.slots[find_slot(pairs.slots, pairs.keys, key)]
    if place >= 0:
        pairs.counts[place] -= count


@kernel
def merge_pairs(words, pairs, around, sizes, merges, first, state, floor, longest):
    """Merge the best pair into token `first + state[MADE]` until `merges` ([n, 2], filled) is full.

    `sizes`: bytes of every token, filled for the new ones; pairs of more than `longest` bytes are passed
    over. Returns DONE, or BELOW_FLOOR or FULL when `index_pairs` must run before the next call; every step
    that was begun is complete.
    """
    touched = state[SCRATCH : SCRATCH + 2]
    while state[MADE] < merges.shape[0]:
        best = pop_best(pairs, state, floor)
        if best < 0:
            return BELOW_FLOOR
        left = np.int64(pairs.keys[best] >> HALF)
        right = np.int64(pairs.keys[best] & LOW)
        if sizes[left] + sizes[right] > longest:
            continue
        new = first + state[MADE]
        merges[state[MADE], 0] = left
        merges[state[MADE], 1] = right
        sizes[new] = sizes[left] + sizes[right]
        state[MADE] += 1
        touched[0], touched[1] = 0, 0
        begin = pairs.list_starts[best]
        places = pairs.lists[begin : begin + pairs.list_lengths[best]]
        events = _merge_places(words, places, left, right, new, sizes, around, touched)
        # Of two merges side by side the first has noted (new, left), which the second makes (new, new).
        twice = around.left[new, SUM]
        room = True
        for at in range(touched[0]):
            beside = around.left_touched[at]
            row = around.left[beside]
            if beside != new:
                _lower(pairs, pair_key(beside, left), row[SUM])
            room = room and _add_pair(pairs, state, pair_key(beside, new), row[SUM], row, floor)
        for at in range(touched[1]):
            beside = around.right_touched[at]
            row = around.right[beside]
            _lower(pairs, pair_key(right, beside), row[SUM])
            count = row[SUM] - (twice if beside == left else 0)
            room = room and _add_pair(pairs, state, pair_key(new, beside), count, row, floor)
        pairs.counts[best] = 0
        if room:
            for event in range(events):
                beside, place = around.events[event, 0], around.events[event, 1]
                row = around.left[beside] if beside >= 0 else around.right[~beside]
                if row[WRITE] >= 0:
                    pairs.lists[row[WRITE]] = place
                    row[WRITE] += 1
        for at in range(touched[0]):
            around.left[around.left_touched[at], :] = 0
        for at in range(touched[1]):
            around.right[around.right_touched[at], :] = 0
        if not room:
            return FULL
    return DONE
