import hashlib
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pack.exchange import (
    MAX_PIECES,
    SLICES,
    Dealing,
    deal,
    plan_dealing,
    plan_groups,
    read_index,
    read_piece,
    write_exchange,
)
from pipeline.schema import ENCODED


def make_ids(count: int) -> pa.Array:
    return pa.array(
        [hashlib.blake2b(b"%d" % i, digest_size=16).digest() for i in range(count)], pa.binary(16)
    )


def make_part(lengths: list[int], validation: frozenset[int] = frozenset()) -> pa.RecordBatch:
    """An encoded part whose token i of row r is 1000 * r + i; rows are numbered with gaps."""
    rows = len(lengths)
    tokens = [[1000 * row + i for i in range(length)] for row, length in enumerate(lengths)]
    columns = [
        pa.array([2 * row for row in range(rows)], pa.uint32()),
        make_ids(rows),
        pa.array([row in validation for row in range(rows)]),
        pa.array([1] * rows, pa.uint16()),
        pa.array(["en"] * rows),
        pa.array(tokens, pa.list_(pa.int32())),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=ENCODED)


@given(st.integers(1, 3_000_000), st.integers(1, 30_000))
def test_no_group_reads_more_than_the_limit(parts, shards):
    dealing = plan_dealing(parts, shards)
    slices = -(-parts * dealing.slices // dealing.groups)
    if slices * dealing.shards_per_group > MAX_PIECES:
        assert dealing.groups == shards  # one shard per group is the end of what dealing can do
    assert dealing.shards >= shards
    assert dealing.slices == min(SLICES, dealing.groups)
    if dealing.groups > 1:  # one group fewer would read too much
        fewer = dealing.groups - 1
        assert -(-parts * min(SLICES, fewer) // fewer) * -(-shards // fewer) > MAX_PIECES


def test_small_corpora_need_one_group_and_large_ones_grow_linearly():
    assert plan_groups(100, 100) == 1
    assert plan_groups(100, 101) > 1
    batches = []
    for size in (1, 2, 4, 8):
        parts, shards = 100_000 * size, 2_000 * size
        dealing = plan_dealing(parts, shards)
        batches.append(parts * dealing.slices * dealing.shards_per_group)
    for smaller, larger in pairwise(batches):
        assert larger < 2.5 * smaller


def test_nothing_to_deal_is_refused():
    with pytest.raises(ValueError, match="0 shards"):
        plan_dealing(3, 0)


def test_slices_of_all_parts_spread_over_all_groups():
    dealing = Dealing(groups=10, slices=4, shards_per_group=3)
    ids = make_ids(400)
    reached = np.zeros((10, 25), dtype=bool)
    for part in range(25):
        group, shard = deal(ids, np.zeros(400, int), part, dealing=dealing, seed=1)
        assert len(np.unique(group)) == 4
        assert np.array_equal(shard // 3, group)
        reached[group, part] = True
    assert set(reached.sum(axis=1)) == {10}  # 25 parts * 4 slices / 10 groups, the same for all


def test_copies_of_a_document_go_their_own_ways():
    dealing = Dealing(groups=1, slices=1, shards_per_group=64)
    ids = pa.concat_arrays([make_ids(1)] * 64)
    _, shard = deal(ids, np.arange(64), 0, dealing=dealing, seed=1)
    assert len(np.unique(shard)) > 30


def test_every_copy_reaches_its_shard_with_its_tokens(tmp_path):
    lengths = [5, 0, 3, 900, 1, 40, 7]
    encoded = make_part(lengths, validation=frozenset({2, 5}))
    copies = np.array([1, 2, 3, 1, 0, 0, 4])
    train, validation = plan_dealing(7, 5), plan_dealing(7, 2)
    path = tmp_path / "part.arrow"
    pieces = write_exchange(path, encoded, copies, 7, train=train, validation=validation, seed=3)
    assert read_index(pa.memory_map(str(path))) == pieces
    assert [piece.batch for piece in pieces] == list(range(len(pieces)))
    assert [(p.split, p.shard) for p in pieces] == sorted({(p.split, p.shard) for p in pieces})

    seen = []
    for piece in pieces:
        batch = read_piece(
            pa.memory_map(str(path)), piece.batch, columns=["id", "locator", "copy", "length", "tokens"]
        )
        batch.validate(full=True)
        assert batch.num_rows == piece.copies > 0
        assert sum(batch["length"].to_pylist()) == len(batch["tokens"].flatten()) == piece.tokens
        dealing = train if piece.split == "train" else validation
        _, shard = deal(batch["id"], batch["copy"].to_numpy(), 7, dealing=dealing, seed=3)
        assert set(shard) == {piece.shard}
        for entry in batch.to_pylist():
            row = (entry["locator"] & 0xFFFFFFFF) // 2
            assert entry["locator"] >> 32 == 7
            assert entry["id"] == encoded["id"][row].as_py()
            assert entry["tokens"] == encoded["tokens"][row].as_py()
            seen.append((piece.split, row, entry["copy"]))
    held_out = {("validation", row, 0) for row in (2, 5)}
    trained = {("train", row, copy) for row in (0, 1, 3, 4, 6) for copy in range(copies[row])}
    assert len(seen) == len(set(seen))
    assert set(seen) == held_out | trained


def test_the_file_is_a_function_of_its_input(tmp_path):
    encoded, copies = make_part([3] * 200), np.full(200, 2)
    sliced = pa.concat_batches([make_part([9]), encoded]).slice(1)
    dealing = plan_dealing(200, 100)
    for name, part in (("a", encoded), ("b", encoded), ("sliced", sliced)):
        write_exchange(tmp_path / name, part, copies, 4, train=dealing, validation=dealing, seed=3)
    assert (
        (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "sliced").read_bytes()
    )


def test_a_part_without_copies_makes_an_empty_file(tmp_path):
    dealing = plan_dealing(1, 1)
    for encoded in (make_part([]), make_part([4, 4])):
        copies = np.zeros(encoded.num_rows, int)
        assert (
            write_exchange(tmp_path / "none", encoded, copies, 0, train=dealing, validation=dealing, seed=0)
            == []
        )
        assert read_index(pa.memory_map(str(tmp_path / "none"))) == []


def test_a_foreign_file_is_refused(tmp_path):
    with pa.ipc.new_file(tmp_path / "foreign", ENCODED):
        pass
    with pytest.raises(ValueError, match="no index of pieces"):
        read_index(pa.memory_map(str(tmp_path / "foreign")))
    with pytest.raises(ValueError, match="encoded part"):
        batch = pa.record_batch({"id": make_ids(1)})
        dealing = plan_dealing(1, 1)
        write_exchange(tmp_path / "x", batch, np.ones(1), 0, train=dealing, validation=dealing, seed=0)


class CountingFile:
    """A file that counts the bytes read from it."""

    def __init__(self, content: bytes) -> None:
        self.content, self.place, self.count, self.closed = content, 0, 0, False

    def read(self, size: int = -1) -> bytes:
        end = len(self.content) if size < 0 else self.place + size
        block = self.content[self.place : end]
        self.place += len(block)
        self.count += len(block)
        return block

    def seek(self, offset: int, whence: int = 0) -> int:
        self.place = offset + (0, self.place, len(self.content))[whence]
        return self.place

    def tell(self) -> int:
        return self.place

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


def test_reading_a_piece_leaves_the_rest_of_the_file_alone(tmp_path):
    encoded = make_part([900] * 1000)
    dealing = plan_dealing(1, 10)
    path = tmp_path / "part.arrow"
    pieces = write_exchange(path, encoded, np.ones(1000, int), 0, train=dealing, validation=dealing, seed=0)
    content = path.read_bytes()
    source = CountingFile(content)
    read_piece(pa.PythonFile(source, mode="r"), pieces[3].batch, columns=["id", "locator", "copy", "length"])
    assert source.count < len(content) / 50
    read_piece(pa.PythonFile(source, mode="r"), pieces[3].batch, columns=["tokens"])
    assert source.count < len(content) / 5
