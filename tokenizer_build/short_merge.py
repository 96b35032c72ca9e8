"""Merging of pieces of at most 16 bytes: adjacent tokens, lowest rank first, without a heap."""

import numpy as np

from pipeline.kernels.jit import count_zeros, inlined
from tokenizer_build.pairs import merged
from tokenizer_build.trie import NONE, U

SHORT = 16  # bytes
_NO_MERGE = 0x7FFFFFFF


@inlined
def _next(places, place):
    """The next set bit, or more than 63."""
    return place + 1 + count_zeros(places >> U(place + 1))  # pyright: ignore[reportCallIssue]


@inlined
def merge_short(text, start, length, tables, ranks, ids, count):
    """Write the tokens of a piece of at most 16 bytes by merging; returns the new count.

    `ranks[place]`: rank << 5 | place of the merge with the next token, or _NO_MERGE. Places where a token
    starts are set bits, `starts` upwards and `mirror` downwards, so that both neighbours are one count away.
    """
    for place in range(16):
        ranks[place] = _NO_MERGE
    byte = np.int64(text[start])
    ids[count] = tables.byte_ids[byte]
    for place in range(1, length):
        following = np.int64(text[start + place])
        rank = np.int64(tables.byte_pairs[byte << 8 | following])
        if rank != NONE:
            ranks[place - 1] = rank << 5 | (place - 1)
        ids[count + place] = tables.byte_ids[following]
        byte = following
    starts, mirror = (U(1) << U(length)) - U(1), ((U(1) << U(length)) - U(1)) << U(16 - length)
    while True:
        least = ranks[0]
        for place in range(1, 16):
            least = min(least, ranks[place])
        if least == _NO_MERGE:
            break
        place, token = least & 31, np.int64(least >> 5)
        gone = _next(starts, place)
        ids[count + place] = token
        starts ^= U(1) << U(gone)
        mirror ^= U(1) << U(15 - gone)
        ranks[gone] = _NO_MERGE
        ranks[place] = _NO_MERGE
        after = _next(starts, place)
        if after < length:
            rank = merged(tables.pairs, tables.mergeable, token, np.int64(ids[count + after]))
            if rank != NONE:
                ranks[place] = rank << 5 | place
        before = 15 - _next(mirror, 15 - place)
        if before >= 0:
            ranks[before] = _NO_MERGE
            rank = merged(tables.pairs, tables.mergeable, np.int64(ids[count + before]), token)
            if rank != NONE:
                ranks[before] = rank << 5 | before
    at = 0
    while starts != U(0):
        place = _next(starts, -1)
        ids[count + at] = ids[count + place]
        at += 1
        starts &= starts - U(1)
    return count + at
