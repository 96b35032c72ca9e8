"""From bands to groups: the documents of a bucket that have to be compared, each set of them once.

Near-duplicates share most of their bands, so the same set of documents fills many buckets; a set is named by
a hash of its members and compared once. Documents with equal folded text are equal already: of those that
have the same signature, too, only one stands in a bucket. A bucket larger than `max_bucket` is cut into
pieces of that size in order of its members, each led by the bucket's first member; pieces are counted.
"""

from typing import NamedTuple

import numpy as np

from pipeline.dedup.candidates import FOLLOWER, spread
from pipeline.kernels.keyed import mix

# A member of a group, where a group is what is compared together; `home` is the digest whose partition does.
GROUPED = np.dtype(
    [("group", "<u8"), ("home", "<u8"), ("rank", "<u4"), ("digest", "<u8"), ("locator", "<u8")]
)


class Groups(NamedTuple):
    """`members`: GROUPED rows. Counts: `buckets` of two or more documents, how many of them were `cut` up,
    and the documents in the `largest`.
    """

    members: np.ndarray
    buckets: int
    cut: int
    largest: int


def find_groups(rows: np.ndarray, *, parts: int, max_bucket: int) -> Groups:
    """Groups of BANDED rows of whole buckets, in any order; `parts` is the number of parts of this run."""
    rows = _in_company(rows)
    rows = rows[np.lexsort((rows["locator"], rows["digest"], rows["rank"], rows["key"]))]
    rows = _one_of_each_text(rows)
    sizes, bucket = _buckets(rows)
    new = np.bincount(bucket, weights=rows["locator"] >> np.uint64(32) < np.uint64(parts))
    documents = np.bincount(bucket, weights=rows["rank"] != FOLLOWER)
    rows = rows[((sizes >= 2) & (new >= 1) & (documents >= 1))[bucket]]
    sizes, bucket = _buckets(rows)
    documents = np.bincount(bucket, weights=rows["rank"] != FOLLOWER)
    return Groups(
        _named(rows, sizes, bucket, max_bucket),
        buckets=int(np.count_nonzero(documents >= 2)),
        cut=int(np.count_nonzero(sizes > max_bucket)),
        largest=int(documents.max(initial=0)),
    )


def _in_company(rows: np.ndarray) -> np.ndarray:
    """Rows whose key occurs more than once: most do not, and one sort of numbers finds that out."""
    keys = rows["key"].copy()
    order = np.argsort(keys)
    keys = keys[order]
    same = keys[1:] == keys[:-1]
    return rows[order[np.append(same, False) | np.append(False, same)]] if len(rows) else rows


def _one_of_each_text(rows: np.ndarray) -> np.ndarray:
    """Sorted rows without those whose bucket, rank and digest are those of the row before."""
    repeated = np.zeros(len(rows), bool)
    follows = rows["rank"][1:] == FOLLOWER  # planted copies stand for themselves
    repeated[1:] = np.all([rows[name][1:] == rows[name][:-1] for name in ("key", "rank", "digest")], axis=0)
    repeated[1:] &= ~follows
    return rows[~repeated]


def _buckets(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Members of every bucket, and the number of each row's bucket, of rows sorted by key."""
    first = np.ones(len(rows), bool)
    first[1:] = rows["key"][1:] != rows["key"][:-1]
    bucket = np.cumsum(first) - 1
    return np.bincount(bucket) if len(rows) else np.zeros(0, np.int64), bucket


def _named(rows: np.ndarray, sizes: np.ndarray, bucket: np.ndarray, max_bucket: int) -> np.ndarray:
    """GROUPED rows of buckets, cut into pieces where they are too large."""
    starts = np.cumsum(sizes) - sizes
    place = np.arange(len(rows)) - starts[bucket]
    piece = np.maximum(place - 1, 0) // (max_bucket - 1)  # the first member leads every piece
    members = np.empty(len(rows), GROUPED)
    for name in ("rank", "digest", "locator"):
        members[name] = rows[name]
    key = piece.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    members["home"] = rows["digest"][starts[bucket]] + key
    members["group"] = bucket.astype(np.uint64) << np.uint64(24) | piece.astype(np.uint64)
    pieces = (sizes - 2) // (max_bucket - 1) + 1  # a group of one follower and its leader has one, too
    again = np.repeat(np.arange(len(sizes)), np.maximum(pieces - 1, 0))
    if len(again):
        nth = np.concatenate([np.arange(1, count) for count in pieces[pieces > 1]]).astype(np.uint64)
        leaders = members[starts[again]]
        leaders["group"] |= nth
        leaders["home"] += nth * np.uint64(0x9E3779B97F4A7C15)
        members = np.concatenate([members, leaders])
    return _hashed(members)


def _hashed(members: np.ndarray) -> np.ndarray:
    """Members whose group is named by a hash of its documents, whatever bucket they were found in; followers
    do not count, so that a group is the same with and without them.
    """
    _, group = np.unique(members["group"], return_inverse=True)
    names = np.zeros(int(group.max(initial=-1)) + 1, np.uint64)
    leads = members["rank"] != FOLLOWER
    np.add.at(names, group[leads], mix(mix(members["digest"][leads]) ^ members["locator"][leads]))
    members["group"] = mix(names)[group]
    return members


def distinct_groups(members: np.ndarray) -> np.ndarray:
    """GROUPED rows sorted by group and order of members, every one once."""
    order = np.lexsort(tuple(members[name] for name in ("locator", "digest", "rank", "group")))
    members = members[order]
    repeated = np.zeros(len(members), bool)
    names = ("group", "rank", "digest", "locator")
    repeated[1:] = np.all([members[name][1:] == members[name][:-1] for name in names], axis=0)
    return members[~repeated]


def partitions_of(members: np.ndarray, partitions: int) -> np.ndarray:
    """The partition (int64) in which each GROUPED row is compared: one for a whole group."""
    return spread(members["home"], partitions)
