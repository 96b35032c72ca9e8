"""Packed evidence between parts and the partitions that compare: what was asked for, and what comes back."""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa

from pipeline.dedup.candidates import run_bounds
from pipeline.kernels.compare import Evidence

# What a partition asks a part for: the evidence of a document, or of the planted copy of one.
REQUEST = np.dtype([("row", "<u4"), ("partition", "<u4"), ("planted", "u1")])
PLANTED = np.uint64(1 << 63)  # in a locator: the planted copy of the document; parts stay below 2^31
_BLOCK_VALUES = 1 << 20  # 4 MB


def pack_evidence(locators: np.ndarray, evidence: Evidence) -> Iterator[bytes]:
    """Blocks of at most about 4 MB: number of documents, their locators, their lengths, their values."""
    lengths = np.diff(evidence.offsets)
    block = evidence.offsets[:-1] // _BLOCK_VALUES
    for first, last in pairwise(run_bounds(block).tolist()):
        values = evidence.values[evidence.offsets[first] : evidence.offsets[last]]
        head = np.array([last - first], "<u8").tobytes()
        yield b"".join(
            (
                head,
                locators[first:last].astype("<u8").tobytes(),
                lengths[first:last].astype("<u4").tobytes(),
                values.astype("<u4").tobytes(),
            )
        )


def unpack_evidence(blocks: Iterable[bytes]) -> tuple[np.ndarray, Evidence]:
    """(sorted locators, the evidence of each) of all blocks together; a locator that comes twice is kept
    once.
    """
    locators, lengths, values = [], [], []
    for block in blocks:
        count = int(np.frombuffer(block, "<u8", 1)[0])
        locators.append(np.frombuffer(block, "<u8", count, 8))
        lengths.append(np.frombuffer(block, "<u4", count, 8 + 8 * count))
        values.append(np.frombuffer(block, "<u4", offset=8 + 12 * count))
    if not locators:
        return np.empty(0, np.uint64), Evidence(np.zeros(1, np.int64), np.empty(0, np.uint32))
    found, first = np.unique(np.concatenate(locators), return_index=True)
    sizes = np.concatenate(lengths).astype(np.int64)
    starts = np.cumsum(sizes) - sizes
    whole = Evidence(np.append(starts, sizes.sum()), np.concatenate(values).astype(np.uint32, copy=False))
    return found, take_evidence(whole, first)


def take_evidence(evidence: Evidence, rows: np.ndarray) -> Evidence:
    """The evidence of some documents, in their order."""
    if len(rows) == len(evidence.offsets) - 1 and np.array_equal(rows, np.arange(len(rows))):
        return evidence
    sizes = np.diff(evidence.offsets)[rows]
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    places = np.repeat(evidence.offsets[rows] - offsets[:-1], sizes) + np.arange(offsets[-1])
    return Evidence(offsets, evidence.values[places])


def signature_evidence(signatures: pa.FixedSizeListArray) -> Evidence:
    """Signatures (without nulls) as evidence."""
    values = signatures.flatten().to_numpy()
    return Evidence(np.arange(len(signatures) + 1, dtype=np.int64) * signatures.type.list_size, values)
