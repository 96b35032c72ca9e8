"""One survivor per cluster: the best of the members that pass, by the recipe's ordered keys.

Pure functions over packed MEMBER rows of whole clusters. Ties are broken by text digest, then id, never by
order.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pipeline.kernels.keyed import keyed_u64

_KEYS = 6  # as many as there are survivor keys
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
# What a member learns about its cluster; survivor is NONE where no member passes.
VERDICT = np.dtype([("row", "<u4"), ("survivor", "<u8"), ("cluster_id", "S16"), ("validation", "u1")])
NONE = np.uint64(0xFFFFFFFFFFFFFFFF)
_MILLIONTHS = 1_000_000


def survivor_keys(batch: pa.RecordBatch, policy: Sequence[str], priorities: np.ndarray) -> np.ndarray:
    """int64 [rows, _KEYS]: the policy's keys in order, the greater the better; unused ones are 0.

    `batch` has date, url, characters and language_score; `priorities` is the source's priority per row.
    """
    keys = np.zeros((batch.num_rows, _KEYS), np.int64)
    for number, name in enumerate(policy):
        keys[:, number] = _survivor_key(batch, name, priorities)
    return keys


def _survivor_key(batch: pa.RecordBatch, name: str, priorities: np.ndarray) -> np.ndarray:
    if name == "priority":
        return priorities
    if name == "longest":
        return batch["characters"].to_numpy().astype(np.int64)
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


def choose_survivors(members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For MEMBER rows of whole clusters, in any order: (survivor locator or NONE, cluster id S16) per row."""
    order = np.lexsort((members["id"][:, 1], members["id"][:, 0], members["cluster"]))
    _, group = np.unique(members["cluster"], return_inverse=True)
    groups = int(group.max()) + 1 if len(group) else 0
    cluster_ids = np.zeros(groups, "S16")
    reverse = order[::-1]  # the smallest id is written last
    cluster_ids[group[reverse]] = _bytes16(members["id"][reverse])
    survivors = np.full(groups, NONE)
    best_last = np.lexsort(_sort_keys(members))[::-1]
    passing = best_last[members["passes"][best_last] == 1]
    survivors[group[passing]] = members["locator"][passing]
    return survivors[group], cluster_ids[group]


def _sort_keys(members: np.ndarray) -> tuple[np.ndarray, ...]:
    """For lexsort (last = most significant): best member first."""
    keys = [~members["keys"][:, number] for number in range(_KEYS)]  # ~x orders as -x, and cannot overflow
    ties = [members["digest"][:, 0], members["digest"][:, 1], members["id"][:, 0], members["id"][:, 1]]
    return tuple(reversed([*keys, *ties, members["locator"]]))


def is_validation(cluster_ids: np.ndarray, share: float, seed: int) -> np.ndarray:
    """bool per row: whether a cluster is held out, by keyed hash of its 16-byte id."""
    ids = pa.Array.from_buffers(pa.binary(16), len(cluster_ids), [None, pa.py_buffer(cluster_ids.tobytes())])
    draw = keyed_u64(ids, seed=seed, tag="validation") % np.uint64(_MILLIONTHS)
    return draw < np.uint64(round(share * _MILLIONTHS))


def _bytes16(words: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(words).view("S16").ravel()
