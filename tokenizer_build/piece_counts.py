"""How often each piece occurs in text: what training sees of a corpus.

Pieces are cut by the pattern of the vocabulary (`scan`), counted in a hash table over Arrow buffers, and come
out as a table (piece, count). Counts of several corpora, machines or Beam workers are tables like any other:
`merge_counts` adds them with integer weights. `in_order` gives the one order that does not depend on that of
the documents; training does not need it.

Memory is bounded: when the table is full it is written to a folder, in parts by hash, and emptied; in the end
every part is merged alone.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.kernels.buffers import text_buffers
from pipeline.kernels.jit import inlined, kernel, load_eight, prefetch
from tokenizer_build.scan import next_piece
from tokenizer_build.unicode_classes import load_tables
from tokenizer_build.vocabulary import PieceRule

SCHEMA = pa.schema([("piece", pa.large_binary()), ("count", pa.int64())])
LONGEST_PIECE = 1024  # bytes; longer ones (rules of ===, scripts without spaces) are counted in parts
_PARTS = 16
_GROUP = 32  # pieces that are cut before they are counted
_BYTES_PER_PIECE = 48  # one piece's share of memory: about 24 bytes of text, 8 of slots, 16 of the rest
# Places in `state`.
_DOCUMENT, _AT, _PIECES, _BYTES = 0, 1, 2, 3

_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio
_MIX_2 = np.uint64(0xD6E8FEB86659FD93)  # rrmxmx's multiplier (P. Evensen, 2018)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_EIGHT = np.uint64(8)
_FULL = np.uint64(64)
_ZERO = np.uint64(0)
_ONE = np.uint64(1)


class PieceCounter:
    """Counts pieces of text in about `memory_bytes`, with a folder under `scratch` for what does not fit."""

    def __init__(self, rule: PieceRule, *, memory_bytes: int = 1 << 29, scratch: Path | None = None) -> None:
        self._rule = rule
        pieces = max(1024, memory_bytes // _BYTES_PER_PIECE)
        self._slots = np.zeros(1 << (2 * pieces - 1).bit_length(), np.uint64)
        self._starts = np.empty(pieces + 1, np.int64)
        self._counts = np.empty(pieces, np.int64)
        self._bytes = np.empty(max(24 * pieces, 4 * LONGEST_PIECE) + 8, np.uint8)
        self._group = np.empty((_GROUP, 2), np.uint64)  # of a piece: where it ends, its hash
        self._state = np.zeros(4, np.int64)
        self._scratch = scratch
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._runs = 0
        self._starts[0] = 0

    def add(self, text: pa.Array) -> None:
        """Count the pieces of a `string` or `large_string` array of documents; NFC is the caller's choice."""
        buffers = text_buffers(text)
        blocks, classes = load_tables()
        self._state[[_DOCUMENT, _AT]] = 0, buffers.offsets[0]
        while not _count(
            buffers.offsets,
            buffers.bytes,
            blocks,
            classes,
            self._rule.digits,
            self._rule.one_tail,
            self._slots,
            self._starts,
            self._counts,
            self._bytes,
            self._group,
            self._state,
        ):
            self._spill()

    def table(self, *, least: int = 1) -> pa.Table:
        """All counts of `least` or more, in no order; the counter is empty again."""
        if not self._runs:
            found = self._take()
        else:
            self._spill()
            parts = [self._merge_part(part, least) for part in range(_PARTS)]
            found = pa.concat_tables(parts)
            self._runs = 0
        if self._folder:
            self._folder.cleanup()
            self._folder = None
        return _at_least(found, least)

    def _take(self) -> pa.Table:
        """What the hash table holds, as an Arrow table with its own memory; empties the hash table."""
        pieces, size = int(self._state[_PIECES]), int(self._state[_BYTES])
        offsets, content = self._starts[: pieces + 1].copy(), self._bytes[:size].copy()
        array = pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), pieces, [None, pa.py_buffer(offsets), pa.py_buffer(content)]
        )
        taken = pa.table([array, pa.array(self._counts[:pieces].copy())], schema=SCHEMA)
        self._slots = np.zeros(len(self._slots), np.uint64)  # pages that are not touched cost nothing
        self._state[[_PIECES, _BYTES]] = 0
        return taken

    def _spill(self) -> None:
        parts = np.zeros(int(self._state[_PIECES]), np.int8)
        _part_of(self._bytes, self._starts, parts)
        taken = self._take()
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="sluice-pieces-", dir=self._scratch)
        for part in range(_PARTS):
            path = Path(self._folder.name, f"{self._runs}-{part}.arrow")
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
                writer.write_table(taken.filter(pa.array(parts == part)))
        self._runs += 1

    def _merge_part(self, part: int, least: int) -> pa.Table:
        assert self._folder is not None
        runs = []
        for run in range(self._runs):
            path = Path(self._folder.name, f"{run}-{part}.arrow")
            with pa.OSFile(str(path)) as file:
                runs.append(pa.ipc.open_file(file).read_all())
        return _at_least(_summed(pa.concat_tables(runs)), least)


def merge_counts(tables: Sequence[pa.Table], weights: Sequence[int] | None = None) -> pa.Table:
    """The sum of counts, each table's times its weight; in no order."""
    weighted = [
        table.set_column(1, SCHEMA.field(1), pa.array(table["count"].to_numpy() * weight, pa.int64()))
        for table, weight in zip(tables, weights or [1] * len(tables), strict=True)
    ]
    return _summed(pa.concat_tables(weighted))


def _at_least(table: pa.Table, least: int) -> pa.Table:
    return table if least <= 1 else table.filter(pa.array(table["count"].to_numpy() >= least))


def _summed(table: pa.Table) -> pa.Table:
    sums = table.group_by("piece").aggregate([("count", "sum")])
    return pa.table([sums["piece"], sums["count_sum"]], schema=SCHEMA)


def in_order(table: pa.Table) -> pa.Table:
    """By falling count, then by the bytes of the piece."""
    return table.sort_by([("count", "descending"), ("piece", "ascending")]).combine_chunks()


@kernel
def _eight(text, at, size):
    """Up to eight bytes as a number, the first lowest; never reads past the array."""
    if at + 8 <= text.size:
        low = load_eight(text, at)  # pyright: ignore[reportCallIssue]
        return low & (~_ZERO >> (_FULL - _EIGHT * np.uint64(size)))
    word = _ZERO
    for i in range(size):
        word |= np.uint64(text[at + i]) << (_EIGHT * np.uint64(i))
    return word


@kernel
def _hash(text, at, end):
    """64 bits over `text[at:end]`; not for keys or output: it only spreads."""
    mixed = np.uint64(end - at) * _MIX_2
    while end - at > 8:
        eight = load_eight(text, at)  # pyright: ignore[reportCallIssue]
        mixed = (mixed ^ eight) * _MIX
        mixed ^= mixed >> _HALF
        at += 8
    mixed = (mixed ^ _eight(text, at, end - at)) * _MIX
    mixed = (mixed ^ (mixed >> _HALF)) * _MIX_2
    return mixed ^ (mixed >> _HALF)


@kernel
def _same(text, at, end, other, other_at):
    while end - at > 8:
        one = load_eight(text, at)  # pyright: ignore[reportCallIssue]
        two = load_eight(other, other_at)  # pyright: ignore[reportCallIssue]
        if one != two:
            return False
        at += 8
        other_at += 8
    return _eight(text, at, end - at) == _eight(other, other_at, end - at)


@inlined
def _cut(text, at, end, blocks, classes, digits, one_tail, slots, starts, group):
    """Cut the next pieces of a document, at most _GROUP, and have memory fetch what counting looks at."""
    mask = np.uint64(slots.size - 1)
    pieces = 0
    while at < end and pieces < _GROUP:
        behind = next_piece(text, at, end, blocks, classes, digits, one_tail)
        if behind - at > LONGEST_PIECE:
            behind = at + LONGEST_PIECE
            while text[behind] & 0xC0 == 0x80 and behind > at + 1:
                behind -= 1
        hashed = _hash(text, at, behind)
        group[pieces, 0], group[pieces, 1] = np.uint64(behind), hashed
        prefetch(slots, np.int64(hashed & mask))  # pyright: ignore[reportCallIssue]
        pieces += 1
        at = behind
    for piece in range(pieces):
        entry = slots[group[piece, 1] & mask]
        prefetch(starts, np.int64(entry & _LOW))  # pyright: ignore[reportCallIssue]
    return pieces


@kernel
def _count(offsets, text, blocks, classes, digits, one_tail, slots, starts, counts, store, group, state):
    """Count on from `state`; False if the table is full first, with `state` at the piece that did not fit."""
    mask = np.uint64(slots.size - 1)
    at, pieces, used = state[_AT], state[_PIECES], state[_BYTES]
    for document in range(state[_DOCUMENT], offsets.size - 1):
        end = offsets[document + 1]
        at = max(at, offsets[document])
        while at < end:
            for cut in range(_cut(text, at, end, blocks, classes, digits, one_tail, slots, starts, group)):
                behind, hashed = np.int64(group[cut, 0]), group[cut, 1]
                slot, tag = hashed & mask, hashed >> _HALF
                while True:
                    entry = slots[slot]
                    if entry == _ZERO:
                        if pieces == counts.size or used + (behind - at) + 8 > store.size:
                            state[_DOCUMENT], state[_AT] = document, at
                            state[_PIECES], state[_BYTES] = pieces, used
                            return False
                        for i in range(behind - at):
                            store[used + i] = text[at + i]
                        used += behind - at
                        counts[pieces] = 1
                        pieces += 1
                        starts[pieces] = used
                        slots[slot] = tag << _HALF | np.uint64(pieces)
                        break
                    if entry >> _HALF == tag:
                        piece = np.int64(entry & _LOW) - 1
                        start = starts[piece]
                        if starts[piece + 1] - start == behind - at and _same(text, at, behind, store, start):
                            counts[piece] += 1
                            break
                    slot = (slot + _ONE) & mask
                at = behind
    state[_DOCUMENT], state[_AT] = offsets.size - 1, at
    state[_PIECES], state[_BYTES] = pieces, used
    return True


@kernel
def _part_of(store, starts, parts):
    """Which of the parts on disk a piece belongs to: four bits of its hash."""
    for piece in range(parts.size):
        hashed = _hash(store, starts[piece], starts[piece + 1])
        parts[piece] = np.int64(hashed >> np.uint64(60))
