"""From parts to shards by files: every copy of every document goes to a shard chosen by hash.

A part deals its copies to shards and writes one Arrow file whose record batches are ordered by destination,
one batch per destination that gets anything; the index of batches (`Piece`) goes into the file's metadata and
the part's commit row. A shard later opens exactly the batches that are its own (gather.py). No token crosses
the runner.

If every part wrote to every shard, there would be parts x shards small batches: quadratic in the corpus. So
shards form groups, and a part is cut by hash into SLICES slices, each of which is dealt to the shards of one
group (`plan_groups`). A source of many parts reaches every group, and the trainer draws its rows over all
shards.

Memory: a part's tokens and one destination's copy of them. A part of 64 MB compressed input (up to 200 MB of
tokens) stays far below 1.5 GB.
"""

import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.kernels.keyed import below, keyed_u64
from pipeline.schema import ENCODED

SLICES = 4  # groups that one part reaches: enough to spread a source, few enough to keep batches large
MAX_PIECES = 10_000  # batches that one group reads: at 134M tokens a shard, 50 kB and more each

PIECES_KEY = b"sluice.pieces"
COPIES = pa.schema(
    [
        ("id", pa.binary(16)),
        ("locator", pa.uint64()),  # part << 32 | row in part
        ("copy", pa.uint16()),  # 0 for the first
        ("length", pa.uint32()),  # of `tokens`: a shard plans its rows before it reads them
        ("tokens", pa.list_(pa.int32())),  # ordinary ids; <|endoftext|> is added in the shard
    ]
)


@dataclass(frozen=True, slots=True)
class Dealing:
    """How the copies of one split are dealt; shards are numbered group by group."""

    groups: int
    slices: int  # of each part, at most `groups`
    shards_per_group: int

    @property
    def shards(self) -> int:
        return self.groups * self.shards_per_group


@dataclass(frozen=True, slots=True)
class Piece:
    """One record batch of an exchange file: what a part sends to a shard."""

    split: str  # train or validation
    shard: int
    batch: int
    copies: int
    tokens: int  # without <|endoftext|>


def plan_groups(parts: int, shards: int) -> int:
    """The fewest groups of shards for which no group reads more than MAX_PIECES batches; 1 for small corpora.

    With k = min(SLICES, groups), a group receives ceil(parts*k/groups) slices and writes each to
    ceil(shards/groups) shards; the product is its batches. It falls with the square of groups, so groups grow
    as sqrt(parts*k*shards/MAX_PIECES): in proportion to a corpus that grows in parts and shards, and so do
    all batches together (groups*MAX_PIECES). A group has at least one shard: where parts*k/shards exceeds
    MAX_PIECES already (very many parts for few tokens), groups = shards, and the batches are still linear, k
    per part.
    """

    def fits(groups: int) -> bool:
        slices = -(-parts * min(SLICES, groups) // groups)
        return slices * -(-shards // groups) <= MAX_PIECES

    return 1 + bisect_left(range(1, shards), True, key=fits)


def plan_dealing(parts: int, shards: int) -> Dealing:
    """The dealing of parts to at least `shards` shards (filled up to equal groups); ValueError below 1."""
    if parts < 1 or shards < 1:
        raise ValueError(f"nothing to deal: {parts} parts, {shards} shards")
    groups = plan_groups(parts, shards)
    return Dealing(groups, slices=min(SLICES, groups), shards_per_group=-(-shards // groups))


def deal(
    ids: pa.FixedSizeBinaryArray, copies: np.ndarray, part: int, *, dealing: Dealing, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(group, shard), int64 per copy of a part's documents; `copies[i]` says which copy of `ids[i]` it is.

    A hash of (id, copy) picks the slice; slice j of part p belongs to group (p * slices + j) mod groups,
    which gives all groups equally many slices, within one. A second hash picks the shard in the group.
    """
    chosen = below(keyed_u64(ids, seed=seed, tag="slice", copy=copies), dealing.slices).astype(np.int64)
    group = (part * dealing.slices % dealing.groups + chosen) % dealing.groups
    within = below(keyed_u64(ids, seed=seed, tag="shard", copy=copies), dealing.shards_per_group)
    return group, group * dealing.shards_per_group + within.astype(np.int64)


def write_exchange(
    path: Path,
    encoded: pa.RecordBatch,
    copies: np.ndarray,
    part: int,
    *,
    train: Dealing,
    validation: Dealing,
    seed: int,
) -> list[Piece]:
    """Deals the documents of a part (schema.ENCODED, one batch) into an exchange file; returns its pieces.

    `copies`: per document, how often it is trained on. A validation document goes once to a validation shard,
    whatever its copies. Batches are ordered by split, group and shard; within one, copies keep the part's
    order.
    """
    if encoded.schema != ENCODED:
        raise ValueError(f"expected the columns of an encoded part, got {encoded.schema}")
    rows, copy, shard, held_out = _deal_copies(
        encoded, copies, part, train=train, validation=validation, seed=seed
    )
    is_first = np.ones(len(rows), dtype=bool)
    is_first[1:] = (shard[1:] != shard[:-1]) | (held_out[1:] != held_out[:-1])
    bounds = np.append(np.flatnonzero(is_first), len(rows)).tolist()
    runs = [slice(begin, end) for begin, end in pairwise(bounds)]

    starts = encoded["tokens"].offsets.to_numpy().astype(np.int64)
    lengths = np.diff(starts)[rows]
    pieces = [
        Piece(
            split="validation" if held_out[run.start] else "train",
            shard=int(shard[run.start]),
            batch=number,
            copies=run.stop - run.start,
            tokens=int(lengths[run].sum()),
        )
        for number, run in enumerate(runs)
    ]
    locators = np.uint64(part << 32) | encoded["row"].to_numpy().astype(np.uint64)
    values = encoded["tokens"].values.to_numpy()
    index = json.dumps([asdict(piece) for piece in pieces], separators=(",", ":"))
    schema = COPIES.with_metadata({PIECES_KEY: index})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for run in runs:
            columns = [
                encoded["id"].take(pa.array(rows[run])),
                pa.array(locators[rows[run]]),
                pa.array(copy[run], pa.uint16()),
                pa.array(lengths[run], pa.uint32()),
                _take_lists(values, starts, rows[run]),
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    return pieces


def read_index(source: pa.NativeFile) -> list[Piece]:
    """The pieces of an exchange file, from its metadata; ValueError if it is none."""
    metadata = pa.ipc.open_file(source).schema.metadata or {}
    if PIECES_KEY not in metadata:
        raise ValueError("not an exchange file: its metadata holds no index of pieces")
    return [Piece(**piece) for piece in json.loads(metadata[PIECES_KEY])]


def read_piece(source: pa.NativeFile, batch: int, *, columns: Sequence[str]) -> pa.RecordBatch:
    """These columns (of COPIES, in its order) of one batch; of the rest, only the footer is read."""
    wanted = [COPIES.get_field_index(name) for name in columns]
    options = pa.ipc.IpcReadOptions(included_fields=wanted, use_threads=False)
    return pa.ipc.open_file(source, options=options).get_batch(batch)


def _deal_copies(
    encoded: pa.RecordBatch, copies: np.ndarray, part: int, *, train: Dealing, validation: Dealing, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(row in the batch, copy, shard, is validation) of every copy, in order of destination, row, copy."""
    held_out = encoded["validation"].to_numpy(zero_copy_only=False)
    times = np.where(held_out, 1, copies).astype(np.int64)
    rows = np.repeat(np.arange(len(times)), times)
    copy = np.arange(len(rows)) - np.repeat(np.cumsum(times) - times, times)
    held_out = held_out[rows]
    ids = encoded["id"].take(pa.array(rows))
    _, train_shard = deal(ids, copy, part, dealing=train, seed=seed)
    _, validation_shard = deal(ids, copy, part, dealing=validation, seed=seed)
    shard = np.where(held_out, validation_shard, train_shard)
    order = np.lexsort((shard, held_out))  # stable; shard numbers ascend with groups
    return rows[order], copy[order], shard[order], held_out[order]


def _take_lists(values: np.ndarray, starts: np.ndarray, rows: np.ndarray) -> pa.ListArray:
    """The token lists of these rows, by one memory copy per document: several times faster than `take`."""
    begins, ends = starts[rows], starts[rows + 1]
    offsets = pa.array(np.concatenate(([0], np.cumsum(ends - begins))), pa.int32())
    lists = [values[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
    return pa.ListArray.from_arrays(offsets, pa.array(np.concatenate(lists), pa.int32()))
