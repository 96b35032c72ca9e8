"""Digests and bands meet, whatever the order in which their rows arrive."""

import numpy as np
import pyarrow as pa

from pipeline.dedup import candidates


def shuffle(rows: np.ndarray, family: int, partitions: int, seed: int) -> dict[int, np.ndarray]:
    """What a runner does: blocks of each key, joined in some order."""
    order = np.random.default_rng(seed)
    blocks: dict[int, list[bytes]] = {}
    for part in np.array_split(order.permutation(rows), 5):
        for key, block in candidates.scatter_rows(part, family, partitions):
            blocks.setdefault(key, []).append(block)
    return {key: np.frombuffer(b"".join(block), rows.dtype) for key, block in blocks.items()}


def test_equal_digests_become_stars_from_the_smallest_locator() -> None:
    digests = pa.array(
        [b"a" * 16, b"b" * 16, None, b"a" * 16, b"c" * 16, b"a" * 16, b"b" * 15 + b"\0"], pa.binary(16)
    )
    rows = candidates.digest_rows(digests, np.arange(7, dtype=np.uint64))
    assert len(rows) == 6  # a null has nothing to meet
    assert candidates.star_edges(rows[::-1]).tolist() == [[0, 3], [0, 5]]


def test_edges_do_not_depend_on_arrival() -> None:
    keys = np.random.default_rng(1).integers(0, 300, size=(500, 4), dtype=np.uint64) << np.uint64(32)
    ranks, digests = np.zeros(500, np.uint32), np.zeros(500, np.uint64)
    rows = candidates.band_rows(keys, ranks, digests, np.arange(500, dtype=np.uint64))
    found = []
    for seed in range(3):
        by_key = shuffle(rows, candidates.BAND, 8, seed)
        assert all(candidates.BAND * 8 <= key < (candidates.BAND + 1) * 8 for key in by_key)
        assert sum(map(len, by_key.values())) == rows.size
        found.append({key: candidates.star_edges(block).tolist() for key, block in by_key.items()})
    assert found[0] == found[1] == found[2]
    pairs = {(a, b) for edges in found[0].values() for a, b in edges}
    brute = {
        (min(np.flatnonzero(keys == k)[:1] // 4), int(at) // 4)
        for k in np.unique(keys)
        for at in np.flatnonzero(keys == k)
    }
    assert pairs == {(int(a), b) for a, b in brute if a != b}


def test_index_is_sorted_by_key_bytes() -> None:
    names = [bytes([number % 7, number]) * 8 for number in range(50)]
    rows = candidates.digest_rows(pa.array(names, pa.binary(16)), np.arange(50, dtype=np.uint64))
    index = candidates.sorted_index(rows)
    assert index["key"].to_pylist() == sorted(names)
    assert [names[locator] for locator in index["locator"].to_pylist()] == sorted(names)


def test_no_rows_make_no_edges_and_an_empty_index() -> None:
    empty = candidates.digest_rows(pa.array([], pa.binary(16)), np.empty(0, np.uint64))
    assert candidates.star_edges(empty).shape == (0, 2)
    assert candidates.sorted_index(empty).num_rows == 0
    assert list(candidates.scatter_rows(empty, candidates.ID, 8)) == []


def test_distinct_values_are_those_of_a_set() -> None:
    values = np.array([7, 1 << 63, 7, 0, 3, 3], np.uint64)
    assert candidates.distinct_values(values).tolist() == sorted(set(values.tolist()))
    assert candidates.distinct_values(values[:0]).tolist() == []
