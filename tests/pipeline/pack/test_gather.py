import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.kernels.keyed import keyed_u64
from pipeline.pack.exchange import plan_dealing, write_exchange
from pipeline.pack.gather import gather_stream, training_order
from pipeline.pack.shard_check import check_shard
from pipeline.pack.shards import write_shard
from pipeline.schema import ENCODED
from tokenizer_build.vocabulary import Vocabulary

EOT = 1_000_000
PARTS = 4
VOCABULARY = Vocabulary(name="tiny", file="tiny.tiktoken", sha256="ab" * 32, n_vocab=EOT + 208, eot=EOT)


def make_part(part: int, rows: int = 30) -> pa.RecordBatch:
    ids = [hashlib.blake2b(b"%d %d" % (part, row), digest_size=16).digest() for row in range(rows)]
    tokens = [[part * 100_000 + row * 1000 + i for i in range(row * 7 % 25)] for row in range(rows)]
    columns = [
        pa.array(range(rows), pa.uint32()),
        pa.array(ids, pa.binary(16)),
        pa.array([r % 10 == 3 for r in range(rows)]),
        pa.array([1] * rows, pa.uint16()),
        pa.array(["en"] * rows),
    ]
    return pa.RecordBatch.from_arrays([*columns, pa.array(tokens, pa.list_(pa.int32()))], schema=ENCODED)


@pytest.fixture
def exchanged(tmp_path) -> tuple[Path, dict[tuple[str, int], list[tuple[int, int]]]]:
    """Exchange files of all parts, and per (split, shard) its pieces."""
    train, validation = plan_dealing(PARTS, 3), plan_dealing(PARTS, 1)
    pieces: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for part in range(PARTS):
        encoded = make_part(part)
        copies = np.arange(encoded.num_rows) % 3
        path = tmp_path / f"part-{part}.arrow"
        for piece in write_exchange(path, encoded, copies, part, train=train, validation=validation, seed=9):
            pieces.setdefault((piece.split, piece.shard), []).append((part, piece.batch))
    return tmp_path, pieces


def gather(folder: Path, pieces: list[tuple[int, int]], row_tokens: int = 16):
    def open_file(part: int) -> pa.NativeFile:
        return pa.memory_map(str(folder / f"part-{part}.arrow"))

    return gather_stream(pieces, open_file, seed=9, row_tokens=row_tokens, eot=EOT)


def test_shards_hold_every_copy_once_in_keyed_order(exchanged, tmp_path):
    folder, pieces = exchanged
    parts = [make_part(part) for part in range(PARTS)]
    seen = []
    for number, ((split, shard), found) in enumerate(sorted(pieces.items())):
        stream = gather(folder, found)
        path = tmp_path / f"{split}-{shard}.arrow"
        summary = write_shard(path, stream, row_tokens=16, vocabulary=VOCABULARY, shard_number=shard)
        assert check_shard(path) == summary, number
        keys = []
        for begin, end, locator, copy in zip(
            stream.starts[:-1],
            stream.starts[1:],
            stream.locators.tolist(),
            stream.copies.tolist(),
            strict=True,
        ):
            part, row = locator >> 32, locator & 0xFFFFFFFF
            assert stream.ids[begin:end].tolist() == [*parts[part]["tokens"][row].as_py(), EOT]
            [key] = keyed_u64(parts[part]["id"].slice(row, 1), seed=9, tag="order", copy=copy)
            keys.append(key)
            seen.append((split, part, row, copy))
        assert keys == sorted(keys)
    expected = [("validation", part, row, 0) for part in range(PARTS) for row in range(3, 30, 10)]
    expected += [
        ("train", part, row, copy)
        for part in range(PARTS)
        for row in range(30)
        if row % 10 != 3
        for copy in range(row % 3)
    ]
    assert sorted(seen) == sorted(expected)


def test_the_order_of_pieces_does_not_matter(exchanged):
    folder, pieces = exchanged
    found = pieces["train", 1]
    assert len(found) > 2
    forward, backward = gather(folder, found), gather(folder, found[::-1])
    for name in ("ids", "starts", "locators", "copies"):
        assert np.array_equal(getattr(forward, name), getattr(backward, name))


def test_no_pieces_make_an_empty_stream(tmp_path):
    stream = gather(tmp_path, [])
    assert (stream.tokens, len(stream.ids), len(stream.locators)) == (0, 0, 0)


def test_ties_are_broken_by_id_then_copy_then_locator(monkeypatch):
    monkeypatch.setattr("pipeline.pack.gather.keyed_u64", lambda ids, **_: np.zeros(len(ids), np.uint64))
    # Bytewise, b"\x00...\x02" precedes b"\x01..."; as little-endian integers it would follow.
    low, high = bytes(15) + b"\x02", b"\x01" + bytes(15)
    ids = pa.chunked_array([[high, low], [low, low]], pa.binary(16))
    order = training_order(ids, np.array([0, 9, 8, 7], np.uint64), np.array([0, 1, 0, 1], np.uint16), seed=0)
    assert order.tolist() == [2, 3, 1, 0]
