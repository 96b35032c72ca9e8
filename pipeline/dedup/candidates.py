"""Rows that meet: equal digests and equal bands become edges; ids and URLs become an index on the way.

Pure functions over packed rows. Four families share one shuffle, each with its own partitions; a partition's
result is sorted, so the order in which blocks arrive does not matter.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

ID, URL, TEXT, BAND = range(4)
FAMILIES = ("id", "url", "text", "band")
KEYED = np.dtype([("high", "<u8"), ("low", "<u8"), ("locator", "<u8")])  # a 128-bit digest and who has it
BANDED = np.dtype([("key", "<u8"), ("locator", "<u8")])
_BLOCK_BYTES = 4 << 20  # a shuffled value stays small: runners hold whole values in memory


def digest_rows(digests: pa.Array, locators: np.ndarray) -> np.ndarray:
    """KEYED rows of the non-null 16-byte digests."""
    present = digests.is_valid().to_numpy(zero_copy_only=False)
    words = np.frombuffer(b"".join(digests.drop_null().to_pylist()), "<u8").reshape(-1, 2)
    rows = np.empty(len(words), KEYED)
    rows["high"], rows["low"], rows["locator"] = words[:, 0], words[:, 1], locators[present]
    return rows


def band_rows(keys: np.ndarray, locators: np.ndarray) -> np.ndarray:
    """BANDED rows [documents × bands] of band keys uint64 [documents, bands]."""
    rows = np.empty(keys.size, BANDED)
    rows["key"], rows["locator"] = keys.ravel(), np.repeat(locators, keys.shape[1])
    return rows


def scatter_rows(rows: np.ndarray, family: int, partitions: int) -> Iterator[tuple[int, bytes]]:
    """Blocks of rows by (family, partition); the key's upper bits choose the partition."""
    words = rows["high"] if "high" in (rows.dtype.names or ()) else rows["key"]
    partition = ((words >> np.uint64(32)) % np.uint64(partitions)).astype(np.int64)
    order = np.argsort(partition, kind="stable")
    rows, partition = rows[order], partition[order]
    bounds = np.searchsorted(partition, np.arange(partitions + 1))
    step = _BLOCK_BYTES // rows.dtype.itemsize
    for number in range(partitions):
        for start in range(bounds[number], bounds[number + 1], step):
            end = min(start + step, bounds[number + 1])
            yield family * partitions + number, rows[start:end].tobytes()


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
    edges = np.stack([leaders, rows["locator"]], axis=1)[leaders != rows["locator"]]
    edges = edges[np.lexsort((edges[:, 1], edges[:, 0]))]
    distinct = np.ones(len(edges), bool)
    distinct[1:] = np.any(edges[1:] != edges[:-1], axis=1)
    return edges[distinct]


def sorted_index(rows: np.ndarray) -> pa.RecordBatch:
    """Index batch (key 16 bytes, locator) sorted by key bytes, then locator."""
    digests = np.ascontiguousarray(np.stack([rows["high"], rows["low"]], axis=1)).view("S16").ravel()
    big_endian = digests.view(">u8").reshape(-1, 2)
    order = np.lexsort((rows["locator"], big_endian[:, 1], big_endian[:, 0]))
    keys = pa.Array.from_buffers(pa.binary(16), len(rows), [None, pa.py_buffer(big_endian[order].tobytes())])
    return pa.record_batch([keys, pa.array(rows["locator"][order])], names=["key", "locator"])
