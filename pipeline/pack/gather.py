"""What a shard gets out of the exchange files, joined in the order in which it is trained on.

Two passes over the shard's own batches: the first reads ids and lengths and settles the order, the second
puts every document's tokens straight to their place. So memory holds the shard's tokens once (512 MiB by
default) and one batch of an exchange file; what is read twice is the files' footers.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from pipeline.kernels.keyed import ID_BYTES, id_words, keyed_u64
from pipeline.pack.exchange import COPIES, read_piece
from pipeline.pack.shards import Stream

HEADER = COPIES.remove(COPIES.get_field_index("tokens"))


def gather_stream(
    pieces: Sequence[tuple[int, int]],
    open_file: Callable[[int], pa.NativeFile],
    *,
    seed: int,
    row_tokens: int,
    eot: int,
) -> Stream:
    """Joins a shard's pieces, (part, batch number) each; `open_file(part)` opens a part's exchange file.

    The order of copies is that of a keyed hash of (id, copy), ties by id, copy and locator; the order of
    `pieces` does not matter.
    """

    def read(part: int, batch: int, columns: list[str]) -> pa.RecordBatch:
        with open_file(part) as source:
            return read_piece(source, batch, columns=columns)

    headers = [read(part, batch, HEADER.names) for part, batch in pieces]
    copies = pa.Table.from_batches([header.replace_schema_metadata() for header in headers], schema=HEADER)
    locators, copy, lengths = (copies[name].to_numpy() for name in ("locator", "copy", "length"))
    order = training_order(copies["id"], locators, copy, seed=seed)

    starts = np.concatenate(([0], np.cumsum(lengths[order].astype(np.int64) + 1)))  # + 1: the eot
    places = np.empty(len(order), np.int64)
    places[order] = starts[:-1]
    rows = -(-int(starts[-1]) // row_tokens)
    ids = np.full(rows * row_tokens, eot, np.int32)
    first = 0
    for (part, batch), header in zip(pieces, headers, strict=True):
        tokens = read(part, batch, ["tokens"])["tokens"]
        values, bounds = tokens.values.to_numpy(), tokens.offsets.to_numpy().tolist()
        to = places[first : first + header.num_rows].tolist()
        for place, begin, end in zip(to, bounds[:-1], bounds[1:], strict=True):
            ids[place : place + end - begin] = values[begin:end]
        first += header.num_rows
    return Stream(ids, starts, locators[order], copy[order])


def training_order(ids: pa.ChunkedArray, locators: np.ndarray, copy: np.ndarray, *, seed: int) -> np.ndarray:
    """Indexes of copies in the order of a keyed hash of (id, copy); ties by id (bytewise), copy, locator."""
    column = pa.concat_arrays(ids.chunks) if ids.num_chunks else pa.array([], pa.binary(ID_BYTES))
    words = id_words(column).view(">u8")  # big-endian words compare as bytes do
    key = keyed_u64(column, seed=seed, tag="order", copy=copy)
    return np.lexsort((locators, copy, words[:, 1], words[:, 0], key))
