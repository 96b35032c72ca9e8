"""Counting against the scanner itself, in any order, in any memory."""

import collections
import random

import pyarrow as pa
import pytest

from tokenizer_build.piece_counts import LONGEST_PIECE, PieceCounter, in_order, merge_counts
from tokenizer_build.scan import split_pieces
from tokenizer_build.vocabulary import PATTERNS, QWEN_PATTERN

RULE = PATTERNS[QWEN_PATTERN]
SMALL = 1 << 10  # bytes: room for 1,024 pieces, the least, so that counters spill


def documents(seed: int, size: int = 600) -> list[str]:
    draw = random.Random(seed)
    signs = "ab c的 一，。1 2\n'é\t𠀀"
    return ["".join(draw.choices(signs, k=draw.randint(0, 80))) for _ in range(size)]


def expected(texts: list[str]) -> collections.Counter[bytes]:
    array = pa.array(texts, pa.large_string())
    whole = "".join(texts).encode()
    counts: collections.Counter[bytes] = collections.Counter()
    start = 0
    for end in split_pieces(array, RULE).tolist():
        counts[whole[start:end]] += 1
        start = end
    return counts


def counted(texts: list[str], memory_bytes: int = 1 << 20, batch: int = 50) -> pa.Table:
    counter = PieceCounter(RULE, memory_bytes=memory_bytes)
    for at in range(0, len(texts), batch):
        counter.add(pa.array(texts[at : at + batch], pa.string()))
    return counter.table()


def as_dict(table: pa.Table) -> dict[bytes, int]:
    return dict(zip(table["piece"].to_pylist(), table["count"].to_pylist(), strict=True))


@pytest.mark.parametrize("memory_bytes", [SMALL, 1 << 20])
def test_counts(memory_bytes: int) -> None:
    texts = documents(1)
    found = as_dict(counted(texts, memory_bytes))
    assert found == expected(texts) and len(found) > 1024


def test_order_batches_and_memory_do_not_matter() -> None:
    texts = documents(2)
    turned = texts[::-1]
    first = in_order(counted(texts))
    assert first.equals(in_order(counted(turned, SMALL, batch=7)))
    counts = first["count"].to_pylist()
    assert counts == sorted(counts, reverse=True)


def test_slices_and_nulls() -> None:
    texts = documents(3, 40)
    counter = PieceCounter(RULE, memory_bytes=1 << 20)
    counter.add(pa.array(["不", *texts, "no"], pa.string()).slice(1, 40))
    counter.add(pa.array([None, ""], pa.large_string()))
    assert as_dict(counter.table()) == expected(texts)
    assert len(counter.table()) == 0, "taking the table empties the counter"


def test_merged_counts_are_counts_of_all() -> None:
    one, two = documents(4), documents(5)
    together = merge_counts([counted(one), counted(two)])
    assert as_dict(together) == as_dict(counted(one + two))
    weighted = as_dict(merge_counts([counted(one), counted(two)], [3, 1]))
    want = expected(two)
    for piece, count in expected(one).items():
        want[piece] += 3 * count
    assert weighted == want


def test_least() -> None:
    counter = PieceCounter(RULE, memory_bytes=1 << 20)
    counter.add(pa.array(["的 的 x"]))
    assert as_dict(counter.table(least=2)) == {}
    counter.add(pa.array(["a1a1b"]))
    assert as_dict(counter.table(least=2)) == {b"a": 2, b"1": 2}


def test_long_pieces_are_cut_between_characters() -> None:
    found = as_dict(counted(["的" * 1000]))
    assert sum(len(piece) * count for piece, count in found.items()) == 3000
    assert max(map(len, found)) == LONGEST_PIECE // 3 * 3
    assert all(piece.decode() for piece in found)
