"""Comparison of the members of groups with their leaders, on evidence: signatures or sets of shingles.

Members come in order. Each is compared with the leaders of its group, in their order, until one is similar
enough: then the two are a pair. A member that is like no leader becomes one, as long as there are fewer than
LEADERS of them; later ones that are like none are counted as `overflow` and stay apart in this group. Without
further leaders, a pair of which neither is like the bucket's first document would be lost. A follower is
compared in the same way and never leads.

Similarity is an integer comparison in millionths, so that the same pairs are found everywhere:
- signatures: the share of equal values, of as many values each;
- sets (sorted, distinct shingle hashes): Jaccard, or containment of the smaller in the larger.

Cost: 20 to 40 ns per comparison of signatures of 112 values, about 1 ns per shingle of two sets.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.buffers import read_only
from pipeline.kernels.jit import kernel

LEADERS = 8
MILLION = 1_000_000
NONE, SIGNATURE, JACCARD, CONTAINMENT = range(4)
_UNMATCHED = np.int64(-1)


class Evidence(NamedTuple):
    """What documents are compared by: document i has `values[offsets[i]:offsets[i + 1]]`."""

    offsets: NDArray[np.int64]
    values: NDArray[np.uint32]


class Pairs(NamedTuple):
    """`leaders`: int64 [members], the leader that a member was matched to (index of the member), or -1.
    `compared`: comparisons made. `overflow`: members that could be neither matched nor lead.
    """

    leaders: NDArray[np.int64]
    compared: int
    overflow: int


def match_members(
    groups: NDArray[np.int64],
    documents: NDArray[np.int64],
    follows: NDArray[np.bool_],
    evidence: Evidence,
    *,
    measure: int,
    least: int,
) -> Pairs:
    """Pairs within groups: members [groups[g], groups[g + 1]) have evidence `documents` [members].

    `least`: similarity in millionths from which two members are a pair.
    """
    leaders = np.empty(len(documents), np.int64)
    counts = np.zeros(2, np.int64)
    _match(
        read_only(groups),
        read_only(documents),
        read_only(follows),
        read_only(evidence.offsets),
        read_only(evidence.values),
        np.int64(measure),
        np.int64(least),
        np.empty(LEADERS, np.int64),
        leaders,
        counts,
    )
    return Pairs(leaders, int(counts[0]), int(counts[1]))


def similarity_ppm(first: NDArray[np.uint32], second: NDArray[np.uint32], *, measure: int) -> int:
    """Similarity of two pieces of evidence in millionths, rounded down; two empty sets have none."""
    shared, whole = _similarity(read_only(first), read_only(second), np.int64(measure))
    return int(shared * MILLION // whole) if whole else 0


@kernel
def _match(groups, documents, follows, offsets, values, measure, least, heads, leaders, counts):
    for group in range(groups.size - 1):
        found = np.int64(0)
        for member in range(groups[group], groups[group + 1]):
            leaders[member] = _UNMATCHED
            own = documents[member]
            for head in range(found):
                other = documents[heads[head]]
                counts[0] += 1
                if measure == NONE or _is_similar(
                    values[offsets[own] : offsets[own + 1]],
                    values[offsets[other] : offsets[other + 1]],
                    measure,
                    least,
                ):
                    leaders[member] = heads[head]
                    break
            if leaders[member] == _UNMATCHED and not follows[member]:
                if found < LEADERS:
                    heads[found] = member
                    found += 1
                else:
                    counts[1] += 1


@kernel
def _is_similar(first, second, measure, least):
    shared, whole = _similarity(first, second, measure)
    return whole > 0 and shared * MILLION >= least * whole


@kernel
def _similarity(first, second, measure):
    """(shared, of how many)."""
    if measure == SIGNATURE:
        shared = np.int64(0)
        for place in range(min(first.size, second.size)):
            shared += first[place] == second[place]
        return shared, np.int64(max(first.size, second.size))
    shared = at = np.int64(0)
    for value in first:
        while at < second.size and second[at] < value:
            at += 1
        if at == second.size:
            break
        shared += second[at] == value
    if measure == CONTAINMENT:
        return shared, np.int64(min(first.size, second.size))
    return shared, np.int64(first.size + second.size) - shared
