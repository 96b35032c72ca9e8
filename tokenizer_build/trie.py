"""The longest token at a place of a text: a double-array trie over the tokens' bytes, built in one pass.

A node is one uint64: label 8 bits | base 24 | token + 1, 24. The child by byte b lies at `base ^ b` and has b
as its label; every node with children has a base of its own, so a label tells a child for sure.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.jit import inlined, kernel

U = np.uint64
LABEL, BASE = U(48), U(24)
LOW_24 = U(0xFFFFFF)
NONE = 0x7FFFFFFF  # no token, no rank

_TRIES = 128  # places that are tried before the crowded front of the array is given up


@inlined
def walk(text, at, start, end, trie, node, best):
    """The longest match from `start` as token | length << 32: `best`, or what follows `node` at `at`."""
    while at < end:
        base = (node >> BASE) & LOW_24
        if base == 0:
            break
        byte = np.uint64(text[at])
        node = trie[base ^ byte]
        if (node >> LABEL) != byte:
            break
        at += 1
        if node & LOW_24:
            best = np.int64(node & LOW_24) - 1 | (at - start) << 32
    return best


@kernel
def exact_match(text, at, end, trie):
    """The token that is text[at:end], or NONE."""
    node = trie[0]
    while at < end:
        base = (node >> BASE) & LOW_24
        byte = np.uint64(text[at])
        if base == 0:
            return NONE
        node = trie[base ^ byte]
        if (node >> LABEL) != byte:
            return NONE
        at += 1
    return np.int64(node & LOW_24) - 1 if node & LOW_24 else NONE


def build_trie(
    content: NDArray[np.uint8], starts: NDArray[np.int64], order: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """The trie of tokens `content[starts[i]:starts[i + 1]]`, given their order by bytes; 8 bytes a node."""
    nodes = _count_nodes(content, starts, order)
    queue, labels = np.empty((nodes, 4), np.int64), np.empty((257, 2), np.int64)
    capacity = nodes + nodes // 4 + 1024
    while capacity <= LOW_24:
        trie = np.zeros(capacity, np.uint64)
        used, bases = np.zeros(capacity, np.bool_), np.zeros(capacity, np.bool_)
        size = _fill(content, starts, order, trie, used, bases, queue, labels)
        if size > 0:
            return trie[:size].copy()
        capacity += capacity // 2
    raise ValueError(f"a trie of {nodes} nodes is too large: more than {LOW_24} places")


@kernel
def _count_nodes(content, starts, order):
    nodes = 1
    for place in range(order.size):
        start, length = starts[order[place]], starts[order[place] + 1] - starts[order[place]]
        shared = 0
        if place > 0:
            before = starts[order[place - 1]]
            most = min(length, starts[order[place - 1] + 1] - before)
            while shared < most and content[start + shared] == content[before + shared]:
                shared += 1
        nodes += length - shared
    return nodes


@kernel
def _fill(content, starts, order, trie, used, bases, queue, labels):
    """Place nodes breadth first, each family at the first base where all its children are free.

    Returns the size that is in use, or -1 if `trie` is too small. `queue` holds node, first and last place in
    `order`, depth; `labels` the bytes of a family, and where in `order` each begins.
    """
    limit = trie.size - 256
    used[0] = True
    queue[0, 0], queue[0, 1], queue[0, 2], queue[0, 3] = 0, 0, order.size, 0
    head, tail, first, last = 0, 1, 1, 0
    while head < tail:
        node, low, high, depth = queue[head, 0], queue[head, 1], queue[head, 2], queue[head, 3]
        head += 1
        if starts[order[low] + 1] - starts[order[low]] == depth:
            trie[node] |= U(order[low] + 1)
            low += 1
        if low == high:
            continue
        count, previous = 0, -1
        for place in range(low, high):
            byte = np.int64(content[starts[order[place]] + depth])
            if byte != previous:
                labels[count, 0], labels[count, 1] = byte, place
                count += 1
                previous = byte
        labels[count, 1] = high
        while first < limit and used[first]:
            first += 1
        free, tries = first, 0
        while True:
            while free < limit and used[free]:
                free += 1
            if free >= limit:
                return -1
            tries += 1
            if tries == _TRIES:
                first = max(first, free - 256)
            base = free ^ labels[0, 0]
            fits = base > 0 and not bases[base]
            label = 1
            while fits and label < count:
                fits = not used[base ^ labels[label, 0]]
                label += 1
            if fits:
                break
            free += 1
        bases[base] = True
        trie[node] |= U(base) << BASE
        for label in range(count):
            child = base ^ labels[label, 0]
            used[child] = True
            last = max(last, child)
            trie[child] = U(labels[label, 0]) << LABEL
            queue[tail, 0], queue[tail, 3] = child, depth + 1
            queue[tail, 1], queue[tail, 2] = labels[label, 1], labels[label + 1, 1]
            tail += 1
    return (last | 255) + 1
