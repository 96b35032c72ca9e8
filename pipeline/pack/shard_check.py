"""Whether a shard is what it says: digest, lengths, padding, and the lineage of every token, recomputed.

Reads the whole shard once through a memory map, about 100M tokens/s. It sees that every piece starts where a
document starts, or goes on where it left off; it cannot see whether the lineage names the right documents.
"""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.pack.shards import BATCH_ROWS, PIECE, Shard, ShardSummary, open_shard


def check_shard(path: Path) -> ShardSummary:
    """What a shard holds, recomputed from its rows; ValueError says what does not hold, and where."""
    shard = open_shard(path)
    try:
        length, eots, lineage = _check_batches(shard)
        tokens = int(length.sum())
        _check_ends(shard, length, eots)
        documents = _check_lineage(lineage, eots[eots < tokens] + 1, shard.row_tokens)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return ShardSummary(shard.rows, tokens, documents, shard.digest)


def _check_batches(shard: Shard) -> tuple[np.ndarray, np.ndarray, pa.ListArray]:
    """Checks each batch and the digest over all; returns lengths, the places of all eots, and the lineage."""
    digest = hashlib.blake2b(digest_size=16)
    lengths, eots = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    lineages = [pa.array([], pa.list_(PIECE))]
    first = 0
    for number in range(shard.batches.num_record_batches):
        batch = shard.batches.get_batch(number)
        batch.validate(full=True)
        if number < shard.batches.num_record_batches - 1 and batch.num_rows != BATCH_ROWS:
            raise ValueError(f"batch {number} has {batch.num_rows} rows, not {BATCH_ROWS}")
        if any(column.null_count for column in batch.columns):
            raise ValueError(f"batch {number} holds nulls")
        ids = batch["input_ids"].flatten().to_numpy()
        if ids.min() < 0 or ids.max() >= shard.n_vocab:
            raise ValueError(f"batch {number} holds ids beyond the vocabulary of {shard.n_vocab}")
        digest.update(np.ascontiguousarray(ids, "<i4").data)
        lengths.append(batch["length"].to_numpy().astype(np.int64))
        eots.append(np.flatnonzero(ids == shard.eot) + first)
        lineages.append(batch["documents"])
        first += len(ids)
    if digest.hexdigest() != shard.digest:
        raise ValueError(f"digest is {digest.hexdigest()}, its metadata say {shard.digest}")
    return np.concatenate(lengths), np.concatenate(eots), pa.concat_arrays(lineages)


def _check_ends(shard: Shard, length: np.ndarray, eots: np.ndarray) -> None:
    """Every row but the last is full; the text ends with eot, and nothing but eot follows."""
    tokens = int(length.sum())
    if np.any(length[:-1] != shard.row_tokens):
        raise ValueError("a row before the last is not full")
    if shard.rows != -(-tokens // shard.row_tokens):
        raise ValueError(f"{tokens} tokens do not make {shard.rows} rows")
    padding = np.arange(tokens, shard.rows * shard.row_tokens)
    if not np.array_equal(eots[eots >= tokens], padding):
        raise ValueError("the padding is not all eot")
    if tokens and tokens - 1 not in eots:
        raise ValueError("the text does not end with eot")


def _check_lineage(lineage: pa.ListArray, ends: np.ndarray, row_tokens: int) -> int:
    """Holds the pieces of all rows against `ends`, one place behind each document; returns the documents."""
    pieces = lineage.flatten()
    if any(column.null_count for column in pieces.flatten()):
        raise ValueError("a piece holds nulls")
    locator, row_start, doc_start, copy = (column.to_numpy() for column in pieces.flatten())
    row_start, doc_start = row_start.astype(np.int64), doc_start.astype(np.int64)
    row = np.repeat(np.arange(len(lineage)), np.diff(lineage.offsets.to_numpy()))
    places = row * row_tokens + row_start
    if np.any(row_start >= row_tokens):
        raise ValueError("a piece starts beyond its row")
    if np.any(np.diff(places) <= 0):
        raise ValueError("pieces are out of order")
    if not np.array_equal(row[row_start == 0], np.arange(len(lineage))):
        raise ValueError("a row does not start with a piece")
    if not np.array_equal(places[doc_start == 0], np.append(0, ends)[: len(ends)]):
        raise ValueError("pieces and eot disagree on where documents start")
    later = np.flatnonzero(doc_start)  # pieces of a document that began in an earlier row
    earlier = later - 1
    goes_on = (locator[later] == locator[earlier]) & (copy[later] == copy[earlier])
    goes_on &= doc_start[later] - doc_start[earlier] == places[later] - places[earlier]
    if not goes_on.all():
        raise ValueError(f"row {row[later[~goes_on][0]]}: a piece does not go on where the last row ended")
    return len(ends)
