"""The shard format: rows of exactly `row_tokens` token ids, each with the lineage of every piece in it.

A shard is an Arrow IPC file, uncompressed, in record batches of 4,096 rows, so that any row is found by
arithmetic and mapped into memory as it lies on disk. Its documents stand one behind the other, each followed
by `<|endoftext|>` (eot); the stream is cut into rows wherever a row is full, and the last row is padded with
eot.

The digest in the metadata covers all ids of all rows, padding included. Writing holds the shard's stream in
memory once (512 MiB at 65,536 rows of 2,048) and hashes it before the first byte is written, because the
metadata comes first in the file. NumPy and pyarrow only: whoever trains on shards needs neither Beam nor
Numba.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenizer_build.vocabulary import Vocabulary

FORMAT = "1"
BATCH_ROWS = 4096
SHARD_ROWS = 65_536

# One piece of a document in a row.
PIECE = pa.struct(
    [
        ("locator", pa.uint64()),  # which document: part << 32 | row in part
        ("row_start", pa.uint32()),  # where the piece starts in the row
        ("doc_start", pa.uint32()),  # at which token of the document (its eot included) it starts
        ("copy", pa.uint16()),  # which copy of the document
    ]
)


@dataclass(frozen=True, slots=True)
class Stream:
    """The documents of a shard in order, joined: what rows are cut from."""

    ids: np.ndarray  # int32, a whole number of rows; eot follows every document and fills the last row
    starts: (
        np.ndarray
    )  # int64 [documents + 1]: where each document starts in `ids`; at last, where the text ends
    locators: np.ndarray  # uint64 [documents]
    copies: np.ndarray  # uint16 [documents]

    @property
    def tokens(self) -> int:
        return int(self.starts[-1])


@dataclass(frozen=True, slots=True)
class ShardSummary:
    """What a shard holds, as the manifest says it."""

    rows: int
    tokens: int  # text and eot, without padding
    documents: int  # copies of documents
    digest: str  # blake2b-128 hex over all ids as little-endian int32, padding included


def number_of_shards(total_tokens: int, row_tokens: int, shard_rows: int = SHARD_ROWS) -> int:
    """How many shards of about `shard_rows` rows so many tokens (eot included) make; at least 1."""
    return max(1, -(-total_tokens // (row_tokens * shard_rows)))


def shard_schema(row_tokens: int) -> pa.Schema:
    """The columns of a shard, without metadata."""
    return pa.schema(
        [
            ("input_ids", pa.list_(pa.int32(), row_tokens)),
            ("documents", pa.list_(PIECE)),
            ("length", pa.uint32()),  # tokens of text or eot; what follows in the row is padding
        ]
    )


def write_shard(
    path: Path, stream: Stream, *, row_tokens: int, vocabulary: Vocabulary, shard_number: int
) -> ShardSummary:
    """Cuts a stream into rows and writes them with lineage; an empty stream makes a shard without rows."""
    rows = -(-stream.tokens // row_tokens)
    if len(stream.ids) != rows * row_tokens:
        raise ValueError(f"{len(stream.ids)} ids do not fill {rows} rows of {row_tokens}")
    digest = digest_ids([stream.ids])
    metadata = {
        "sluice.format": FORMAT,
        "sluice.row_tokens": str(row_tokens),
        "sluice.vocabulary": vocabulary.sha256,
        "sluice.n_vocab": str(vocabulary.n_vocab),
        "sluice.eot": str(vocabulary.eot),
        "sluice.shard": str(shard_number),
        "sluice.digest": digest,
    }
    schema = shard_schema(row_tokens).with_metadata(metadata)
    length = np.minimum(stream.tokens - np.arange(rows) * row_tokens, row_tokens)
    columns = [
        pa.FixedSizeListArray.from_arrays(pa.array(stream.ids), row_tokens),
        trace_rows(stream, row_tokens=row_tokens),
        pa.array(length, pa.uint32()),
    ]
    whole = pa.RecordBatch.from_arrays(columns, schema=schema)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for start in range(0, rows, BATCH_ROWS):
            writer.write_batch(whole.slice(start, BATCH_ROWS))
    return ShardSummary(rows, stream.tokens, len(stream.locators), digest)


def trace_rows(stream: Stream, *, row_tokens: int) -> pa.ListArray:
    """The lineage of every row, list<PIECE>: a piece starts where a document or a row starts."""
    row_starts = np.arange(0, stream.tokens, row_tokens)
    places = np.union1d(stream.starts[:-1], row_starts)
    document = np.searchsorted(stream.starts, places, side="right") - 1
    pieces = pa.StructArray.from_arrays(
        [
            pa.array(stream.locators[document], pa.uint64()),
            pa.array(places % row_tokens, pa.uint32()),
            pa.array(places - stream.starts[document], pa.uint32()),
            pa.array(stream.copies[document], pa.uint16()),
        ],
        fields=list(PIECE),
    )
    bounds = np.append(np.searchsorted(places, row_starts), len(places))
    return pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), pieces)


def digest_ids(ids: Sequence[np.ndarray]) -> str:
    """blake2b-128 hex over int32 ids as little-endian bytes, array by array."""
    digest = hashlib.blake2b(digest_size=16)
    for block in ids:
        digest.update(np.ascontiguousarray(block, dtype="<i4").data)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Shard:
    """An open shard: what its metadata say, and its batches in a memory map."""

    rows: int
    row_tokens: int
    vocabulary: str  # sha256 of the .tiktoken file
    n_vocab: int
    eot: int
    number: int
    digest: str
    batches: pa.ipc.RecordBatchFileReader


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a shard, in the order asked for."""

    ids: np.ndarray  # int32 [rows, row_tokens]
    documents: pa.ListArray  # list<PIECE> per row
    length: np.ndarray  # uint32 [rows]


def open_shard(path: Path) -> Shard:
    """Maps a shard into memory; ValueError naming the file if it is no shard of this format."""
    try:
        with pa.memory_map(str(path)) as file:  # the map outlives the file, which stays open only here
            batches = pa.ipc.open_file(file.read_buffer())
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not an Arrow file: {error}") from None
    metadata = {key.decode(): value.decode() for key, value in (batches.schema.metadata or {}).items()}
    found = metadata.get("sluice.format")
    if found != FORMAT:
        raise ValueError(f"{path}: shard format {found!r}, this reader knows {FORMAT!r}")
    try:
        counts = {key: int(metadata[f"sluice.{key}"]) for key in ("row_tokens", "n_vocab", "eot", "shard")}
        vocabulary, digest = metadata["sluice.vocabulary"], metadata["sluice.digest"]
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: metadata without a usable {error}") from None
    row_tokens = counts["row_tokens"]
    if not batches.schema.equals(shard_schema(row_tokens)):
        raise ValueError(f"{path}: columns are {batches.schema}")
    last = batches.num_record_batches - 1
    return Shard(
        rows=last * BATCH_ROWS + batches.get_batch(last).num_rows if last >= 0 else 0,
        row_tokens=row_tokens,
        vocabulary=vocabulary,
        n_vocab=counts["n_vocab"],
        eot=counts["eot"],
        number=counts["shard"],
        digest=digest,
        batches=batches,
    )


def read_rows(path: Path, rows: Sequence[int]) -> Rows:
    """Rows of a shard by number, copied out of a memory map; IndexError for a row that it does not have."""
    shard = open_shard(path)
    ids = np.empty((len(rows), shard.row_tokens), np.int32)
    length = np.empty(len(rows), np.uint32)
    documents = [pa.array([], pa.list_(PIECE))]
    for number, row in enumerate(rows):
        if not 0 <= row < shard.rows:
            raise IndexError(f"{path} has {shard.rows} rows, no row {row}")
        whole = shard.batches.get_batch(row // BATCH_ROWS).slice(row % BATCH_ROWS, 1)
        ids[number] = whole["input_ids"].flatten().to_numpy()
        length[number] = whole["length"][0].as_py()
        documents.append(whole["documents"])
    return Rows(ids, pa.concat_arrays(documents), length)
