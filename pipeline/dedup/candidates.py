"""Rows that meet: equal digests become edges, equal bands become buckets; ids and URLs become an index.

Pure functions over packed rows. The families share one shuffle, each with its own partitions; a partition's
result is sorted, so the order in which blocks arrive does not matter.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa

from pipeline.kernels.keyed import mix

ID, URL, TEXT, BAND, LABEL = range(5)
FAMILIES = ("id", "url", "text", "band", "label")
KEYED = np.dtype([("high", "<u8"), ("low", "<u8"), ("locator", "<u8")])  # a 128-bit digest and who has it
# One band of one document. Members of a bucket are taken in order of rank (when the document came; followers
# last), then of `digest`: 64 bits that name the folded text and its signature.
BANDED = np.dtype([("key", "<u8"), ("rank", "<u4"), ("digest", "<u8"), ("locator", "<u8")])
LABELLED = np.dtype([("key", "<u8"), ("locator", "<u8")])  # an earlier run's cluster and a member
ROWS = (KEYED, KEYED, KEYED, BANDED, LABELLED)
FOLLOWER = np.uint32(0xFFFFFFFF)  # the rank of a planted copy: it follows leaders and never is one
_BLOCK_BYTES = 4 << 20  # a shuffled value stays small: runners hold whole values in memory


def digest_rows(digests: pa.Array, locators: np.ndarray) -> np.ndarray:
    """KEYED rows of the non-null 16-byte digests."""
    present = digests.is_valid().to_numpy(zero_copy_only=False)
    words = digest_words(digests.drop_null())
    rows = np.empty(len(words), KEYED)
    rows["high"], rows["low"], rows["locator"] = words[:, 0], words[:, 1], locators[present]
    return rows


def digest_words(digests: pa.FixedSizeBinaryArray) -> np.ndarray:
    """uint64 [n, 2] whose numeric order is the byte order of 16-byte digests without nulls."""
    if not len(digests):
        return np.empty((0, 2), np.uint64)
    words = np.frombuffer(digests.buffers()[1], ">u8").reshape(-1, 2)
    return words[digests.offset : digests.offset + len(digests)].astype(np.uint64)


def band_rows(keys: np.ndarray, ranks: np.ndarray, digests: np.ndarray, locators: np.ndarray) -> np.ndarray:
    """BANDED rows [documents × bands] of band keys uint64 [documents, bands]."""
    rows, bands = np.empty(keys.size, BANDED), keys.shape[1]
    rows["key"], rows["rank"] = keys.ravel(), np.repeat(ranks, bands)
    rows["digest"], rows["locator"] = np.repeat(digests, bands), np.repeat(locators, bands)
    return rows


def scatter_rows(rows: np.ndarray, family: int, partitions: int) -> Iterator[tuple[int, bytes]]:
    """Blocks of rows by (family, partition); the key's upper bits choose the partition."""
    words = rows["high"] if "high" in (rows.dtype.names or ()) else rows["key"]
    partition = ((words >> np.uint64(32)) % np.uint64(partitions)).astype(np.int64)
    for number, block in scatter_blocks(rows, partition):
        yield family * partitions + number, block


def scatter_blocks(rows: np.ndarray, keys: np.ndarray) -> Iterator[tuple[int, bytes]]:
    """Rows as blocks of at most 4 MB by key, in rising order of keys; rows of one key keep their order."""
    order = np.argsort(keys, kind="stable")
    rows, keys = rows[order], keys[order]
    bounds = run_bounds(keys)
    step = max(1, _BLOCK_BYTES // rows.dtype.itemsize)
    for first, last in pairwise(bounds.tolist()):
        for start in range(first, last, step):
            yield int(keys[first]), rows[start : min(start + step, last)].tobytes()


def run_bounds(values: np.ndarray) -> np.ndarray:
    """int64 [runs + 1]: where each run of equal neighbours begins, and the end; [0] for nothing."""
    inner = np.flatnonzero(values[1:] != values[:-1]) + 1
    return np.concatenate(([0], inner, [len(values)])) if len(values) else np.zeros(1, np.int64)


def distinct_values(values: np.ndarray) -> np.ndarray:
    """Sorted, each once, by one sort: np.unique alone hashes uint64 first and takes 70 times as long."""
    values = np.sort(values)
    return values[run_bounds(values)[:-1]]


def star_edges(rows: np.ndarray) -> np.ndarray:
    """Edges uint64 [n, 2] from the smallest locator of each group of equal keys to the others, sorted and
    distinct.
    """
    names = [name for name in rows.dtype.names or () if name != "locator"]
    rows = rows[np.lexsort((rows["locator"], *(rows[name] for name in reversed(names))))]
    if not len(rows):
        return np.empty((0, 2), np.uint64)
    first = np.ones(len(rows), bool)
    first[1:] = np.any([rows[name][1:] != rows[name][:-1] for name in names], axis=0)
    leaders = rows["locator"][first][np.cumsum(first) - 1]
    return distinct_edges(np.stack([leaders, rows["locator"]], axis=1))


def distinct_edges(edges: np.ndarray) -> np.ndarray:
    """Edges uint64 [n, 2] with the smaller end first, sorted, without loops and repetitions."""
    edges = np.sort(edges[edges[:, 0] != edges[:, 1]], axis=1)
    edges = edges[np.lexsort((edges[:, 1], edges[:, 0]))]
    distinct = np.ones(len(edges), bool)
    distinct[1:] = np.any(edges[1:] != edges[:-1], axis=1)
    return edges[distinct]


def label_edges(rows: np.ndarray) -> np.ndarray:
    """Edges uint64 [n, 2] of LABELLED rows, from a cluster's label to its members, sorted."""
    return distinct_edges(np.stack([rows["key"], rows["locator"]], axis=1))


def without_old(rows: np.ndarray, parts: int) -> np.ndarray:
    """Rows of those groups of equal keys that hold a document of this run (part < parts): what earlier runs'
    documents are to each other was found when they came.
    """
    names = [name for name in ("key", "high", "low") if name in (rows.dtype.names or ())]
    rows = rows[np.lexsort(tuple(rows[name] for name in names))]
    if not len(rows):
        return rows
    first = np.ones(len(rows), bool)
    first[1:] = np.any([rows[name][1:] != rows[name][:-1] for name in names], axis=0)
    group = np.cumsum(first) - 1
    new = (rows["locator"] >> np.uint64(32)) < np.uint64(parts)
    return rows[np.bincount(group, weights=new)[group] > 0]


def sorted_index(rows: np.ndarray) -> pa.RecordBatch:
    """Index batch (key 16 bytes, locator) sorted by key bytes, then locator."""
    rows = rows[np.lexsort((rows["locator"], rows["low"], rows["high"]))]
    words = np.stack([rows["high"], rows["low"]], axis=1).astype(">u8")
    keys = pa.Array.from_buffers(pa.binary(16), len(rows), [None, pa.py_buffer(words.tobytes())])
    return pa.record_batch([keys, pa.array(rows["locator"])], names=["key", "locator"])


def spread(digests: np.ndarray, partitions: int) -> np.ndarray:
    """The partition (int64) of each 64-bit digest."""
    return (mix(digests) % np.uint64(partitions)).astype(np.int64)
