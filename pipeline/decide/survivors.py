"""One survivor per cluster: the best of the members that pass, by the recipe's ordered keys.

Pure functions over packed MEMBER rows of whole clusters. Ties are broken by text digest, then id, never by
order. A row has room for every key once; `first_url`, the smallest URL in byte order, takes all the room that
the policy leaves, 8 bytes of the URL in each column: 64 bytes beside one other key. URLs that are equal so
far are equal.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.config import SURVIVOR_KEYS
from pipeline.kernels.keyed import keyed_u64

_KEYS = len(SURVIVOR_KEYS)
MEMBER = np.dtype(
    [
        ("cluster", "<u8"),
        ("locator", "<u8"),
        ("passes", "u1"),
        ("keys", "<i8", (_KEYS,)),
        ("digest", ">u8", (2,)),  # big-endian: numeric order = byte order
        ("id", ">u8", (2,)),
    ]
)
# What a member learns about its cluster; survivor is NONE where no member passes. A cluster that earlier
# runs' clusters are part of has a row for each of those, its `partner`.
VERDICT = np.dtype(
    [
        ("row", "<u4"),
        ("survivor", "<u8"),
        ("by", "u1"),
        ("cluster_id", "S16"),
        ("validation", "u1"),
        ("has_partner", "u1"),
        ("partner", "S16"),
    ]
)
BY_DIGEST, BY_ID, ALONE = 253, 254, 255  # what decided, besides the policy's keys
MAX_PARTNERS = 16  # of a cluster, those with the smallest ids
NONE = np.uint64(0xFFFFFFFFFFFFFFFF)
_MILLIONTHS = 1_000_000
_SIGN = np.uint64(1 << 63)


def survivor_keys(batch: pa.RecordBatch, policy: Sequence[str]) -> np.ndarray:
    """int64 [rows, _KEYS]: the policy's keys in order, the greater the better; unused ones are 0.

    `batch` has date, url, characters, language_score, and the source's priority and dump.
    """
    keys = np.zeros((batch.num_rows, _KEYS), np.int64)
    columns = _columns(policy)
    for name in policy:
        first, width = columns.index(name), columns.count(name)
        if name == "first_url":
            keys[:, first : first + width] = _first_url(batch["url"], width)
        else:
            keys[:, first] = _survivor_key(batch, name)
    return keys


def _columns(policy: Sequence[str]) -> list[str]:
    """Whose each of the columns of keys is, in order."""
    room = {"first_url": 1 + _KEYS - len(policy)}
    return [name for name in policy for _ in range(room.get(name, 1))]


def _first_url(urls: pa.Array, width: int) -> np.ndarray:
    """int64 [rows, width], the greater the smaller the URL; no URL at all is the smallest of all keys."""
    size = 8 * width
    beginnings = np.asarray([url.encode() or b"\xff" * size for url in urls.to_pylist()], f"S{size}")
    words = beginnings.view(">u8").reshape(-1, width).astype(np.uint64)
    return (~words ^ _SIGN).view(np.int64)


def _survivor_key(batch: pa.RecordBatch, name: str) -> np.ndarray:
    if name == "priority":
        return batch["priority"].to_numpy().astype(np.int64)
    if name == "earlier":
        return -batch["dump"].to_numpy().astype(np.int64)
    if name == "longest":
        return batch["characters"].to_numpy().astype(np.int64)
    if name == "shortest":
        return -batch["characters"].to_numpy().astype(np.int64)
    if name == "language_score":
        return batch["language_score"].to_numpy().astype(np.int64)
    if name == "shortest_url":  # no URL at all comes last
        lengths = np.asarray([len(url) for url in batch["url"].to_pylist()], np.int64)
        return np.where(lengths > 0, -lengths, np.iinfo(np.int64).min)
    times = np.asarray([_moment(date) for date in batch["date"].to_pylist()], np.int64)
    if name == "newest":
        return times
    return np.where(times > 0, -times, np.iinfo(np.int64).min)  # oldest; no date comes last


def _moment(date: str) -> int:
    """An ISO 8601 date or time as the number YYYYMMDDhhmmss; 0 if it is not one."""
    digits = "".join(character for character in date[:19] if character.isascii() and character.isdigit())
    return int(digits.ljust(14, "0")) if len(digits) >= 4 else 0


def earlier_first(members: np.ndarray, parts: int) -> np.ndarray:
    """MEMBER rows of whole clusters where, if a document of an earlier run (part >= parts) passes, no other
    one does.
    """
    old = members["locator"] >> np.uint64(32) >= np.uint64(parts)
    _, group = np.unique(members["cluster"], return_inverse=True)
    covered = np.bincount(group, weights=old & (members["passes"] == 1)) > 0
    members = members.copy()
    members["passes"][covered[group] & ~old] = 0
    return members


def find_partners(members: np.ndarray, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """(index of a MEMBER row of this run, id S16 of an earlier run's cluster) for every pair of the two in
    one cluster, at most MAX_PARTNERS per member, in order of both.
    """
    old = members["locator"] >> np.uint64(32) >= np.uint64(parts)
    pairs = np.zeros(int(np.count_nonzero(old)), [("cluster", "<u8"), ("id", ">u8", (2,))])
    pairs["cluster"], pairs["id"] = members["cluster"][old], members["id"][old]
    pairs = pairs[np.lexsort((pairs["id"][:, 1], pairs["id"][:, 0], pairs["cluster"]))]
    repeated = np.zeros(len(pairs), bool)
    repeated[1:] = pairs[1:] == pairs[:-1]
    pairs = pairs[~repeated]
    first = np.searchsorted(pairs["cluster"], pairs["cluster"])
    pairs = pairs[np.arange(len(pairs)) - first < MAX_PARTNERS]
    new = np.flatnonzero(~old)
    low, high = (
        np.searchsorted(pairs["cluster"], members["cluster"][new], side=s) for s in ("left", "right")
    )
    counts = high - low
    which = np.repeat(low - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    return np.repeat(new, counts), _bytes16(pairs["id"][which])


class Survivors(NamedTuple):
    """Per MEMBER row: `survivor`, its cluster's locator or NONE; `cluster_id`, S16; `by`, the number of the
    policy's key that decided, BY_DIGEST or BY_ID after a tie, ALONE if no other member passes.
    """

    survivor: np.ndarray
    cluster_id: np.ndarray
    by: np.ndarray


def choose_survivors(members: np.ndarray) -> Survivors:
    """The survivors of MEMBER rows of whole clusters, in any order."""
    clusters, group = np.unique(members["cluster"], return_inverse=True)
    cluster_ids = np.zeros(len(clusters), "S16")
    by_id = np.lexsort((members["id"][:, 1], members["id"][:, 0]))[::-1]  # the smallest is written last
    cluster_ids[group[by_id]] = _bytes16(members["id"][by_id])
    best_first = np.lexsort((*_sort_keys(members), members["cluster"]))
    best_first = best_first[members["passes"][best_first] == 1]
    places = np.searchsorted(group[best_first], np.arange(len(clusters) + 1))
    first, passing = places[:-1], np.diff(places)
    survivors, by = np.full(len(clusters), NONE), np.full(len(clusters), ALONE, np.uint8)
    best = best_first[first[passing > 0]]
    survivors[passing > 0] = members["locator"][best]
    contested = passing > 1
    by[contested] = _deciding_key(
        members[best_first[first[contested]]], members[best_first[first[contested] + 1]]
    )
    return Survivors(survivors[group], cluster_ids[group], by[group])


def _deciding_key(best: np.ndarray, next_best: np.ndarray) -> np.ndarray:
    """The first key in which the best member differs from the next."""
    differs = best["keys"] != next_best["keys"]
    same_text = np.all(best["digest"] == next_best["digest"], axis=1)
    tied = np.where(same_text, BY_ID, BY_DIGEST)
    return np.where(differs.any(axis=1), differs.argmax(axis=1), tied)


def name_deciders(by: np.ndarray, policy: Sequence[str]) -> np.ndarray:
    """What `by` says, in words."""
    columns = _columns(policy)
    names = np.asarray([*columns, *[""] * (ALONE + 1 - len(columns))], object)
    names[[BY_DIGEST, BY_ID, ALONE]] = "text_digest", "id", "only"
    return names[by]


def _sort_keys(members: np.ndarray) -> tuple[np.ndarray, ...]:
    """For lexsort (last = most significant): best member first."""
    keys = [~members["keys"][:, number] for number in range(_KEYS)]  # ~x orders as -x, and cannot overflow
    ties = [members["digest"][:, 0], members["digest"][:, 1], members["id"][:, 0], members["id"][:, 1]]
    return tuple(reversed([*keys, *ties, members["locator"]]))


def stands_for_itself(survivor: pa.Array, first: int) -> np.ndarray:
    """bool per row of decisions whose first document has the locator `first`: what survived, which is what is
    kept and what was taken down afterwards.
    """
    own = np.arange(first, first + len(survivor), dtype=np.uint64)
    return survivor.fill_null(int(NONE)).to_numpy() == own


def is_validation(cluster_ids: np.ndarray, share: float, seed: int) -> np.ndarray:
    """bool per row: whether a cluster is held out, by keyed hash of its 16-byte id."""
    ids = pa.Array.from_buffers(pa.binary(16), len(cluster_ids), [None, pa.py_buffer(cluster_ids.tobytes())])
    draw = keyed_u64(ids, seed=seed, tag="validation") % np.uint64(_MILLIONTHS)
    return draw < np.uint64(round(share * _MILLIONTHS))


def _bytes16(words: np.ndarray) -> np.ndarray:
    """S16 of uint64 pairs in any byte order: np.concatenate turns MEMBER rows into the machine's own."""
    return np.ascontiguousarray(words, ">u8").view("S16").ravel()
