"""Take the least widely used tokens out of a block again, and keep what they were needed for.

A name that fills one novel is frequent and useless. So a block makes more tokens than it keeps, counts how
often each is used in every part of its text (a part is an eighth of each source's documents), and takes out
those that are used least when a token's best part is left out. A token that another is made of stays; what
was encoded by a token that goes is encoded by the two that it was made of.

Taking such tokens out changes no other token: the merges inside a token's own bytes are those that made its
parts, all of which stay.
"""

import heapq

import numpy as np
from numpy.typing import NDArray

from tokenizer_build.merge_table import Merges


def prune(merges: Merges, first: int, keep: int, usage: NDArray[np.int64]) -> Merges:
    """The merges with `keep` of those from id `first` on; the ids behind a gap move up.

    `usage`: int64 [parts, tokens], how often encoding each part of the text used each token.
    """
    usage = usage.copy()
    pairs = merges.pairs
    needed = np.bincount(pairs[first:].ravel(), minlength=len(merges.tokens))

    def loss(token: int) -> int:
        return int(usage[:, token].sum() - usage[:, token].max())

    # Of tokens that are equally useless the youngest goes first.
    leaves = [(loss(token), -token) for token in range(first, len(merges.tokens)) if not needed[token]]
    heapq.heapify(leaves)
    gone = np.zeros(len(merges.tokens), bool)
    for _ in range(len(merges.tokens) - first - keep):
        _, negative = heapq.heappop(leaves)
        gone[-negative] = True
        for part in pairs[-negative]:
            usage[:, part] += usage[:, -negative]
            needed[part] -= 1
            if part >= first and not needed[part]:
                heapq.heappush(leaves, (loss(part), -int(part)))
    new_ids = (np.cumsum(~gone) - 1).astype(np.int32)
    kept = np.flatnonzero(~gone)
    kept_pairs = pairs[kept]
    return Merges([merges.tokens[token] for token in kept], np.where(kept_pairs < 0, -1, new_ids[kept_pairs]))
