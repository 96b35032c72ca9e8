import hashlib

import numpy as np
import pyarrow as pa
import pytest

from pipeline.kernels.keyed import below, keyed_u64

MASK = (1 << 64) - 1


def make_ids(count: int, salt: int = 0) -> pa.Array:
    return pa.array(
        [hashlib.blake2b(b"%d %d" % (salt, i), digest_size=16).digest() for i in range(count)], pa.binary(16)
    )


def slow_keyed(value: bytes, seed: int, tag: str, copy: int) -> int:
    """The definition, on Python integers."""

    def mix(word: int) -> int:
        word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & MASK
        word = (word ^ word >> 27) * 0x94D049BB133111EB & MASK
        return word ^ word >> 31

    key = hashlib.blake2b(tag.encode(), key=(seed & MASK).to_bytes(8, "little"), digest_size=8).digest()
    low, high = (int.from_bytes(word, "little") for word in (value[:8], value[8:]))
    mixed = mix(mix(low ^ int.from_bytes(key, "little")) ^ high)
    return mix((mixed + (copy + 1) * 0x9E3779B97F4A7C15) & MASK)


@pytest.mark.parametrize("seed", [0, 1, (1 << 63) - 1, -1])
def test_agrees_with_the_definition_on_python_integers(seed):
    ids = make_ids(50)
    copies = np.arange(50)
    expected = [slow_keyed(value, seed, "order", i) for i, value in enumerate(ids.to_pylist())]
    assert keyed_u64(ids, seed=seed, tag="order", copy=copies).tolist() == expected


def test_values_never_change():
    # Frozen: another value here would reorder every corpus that was ever made.
    ids = pa.array([bytes(16), bytes(range(16))], pa.binary(16))
    assert keyed_u64(ids, seed=0, tag="order").tolist() == [8057198174694423489, 17458897708698674271]


def test_slices_and_batches_do_not_matter():
    ids = make_ids(100)
    whole = keyed_u64(ids, seed=3, tag="x")
    assert np.array_equal(keyed_u64(ids[37:80], seed=3, tag="x"), whole[37:80])
    assert len(keyed_u64(ids[:0], seed=3, tag="x")) == 0


def test_seed_tag_and_copy_give_independent_values():
    ids = make_ids(2000)
    base = keyed_u64(ids, seed=1, tag="a")
    for other in (
        keyed_u64(ids, seed=2, tag="a"),
        keyed_u64(ids, seed=1, tag="b"),
        keyed_u64(ids, seed=1, tag="a", copy=1),
    ):
        differing_bits = np.bitwise_count(base ^ other).mean()
        assert abs(differing_bits - 32) < 0.5  # standard error 4 / sqrt(2000) = 0.09


def test_below_is_uniform_and_stays_below():
    drawn = below(keyed_u64(make_ids(30_000), seed=9, tag="below"), 7)
    counts = np.bincount(drawn.astype(int), minlength=7)
    assert len(counts) == 7
    chi_square = ((counts - 30_000 / 7) ** 2 / (30_000 / 7)).sum()
    assert chi_square < 22.5  # 99.9 % of a chi-square with 6 degrees of freedom


def test_below_takes_its_extremes():
    assert below(np.array([0, MASK], np.uint64), 1 << 31).tolist() == [0, (1 << 31) - 1]


def test_refuses_other_types_and_nulls():
    with pytest.raises(ValueError, match="fixed_size_binary"):
        keyed_u64(pa.array([b"short"]), seed=0, tag="x")
    with pytest.raises(ValueError, match="1 ids are null"):
        keyed_u64(pa.array([bytes(16), None], pa.binary(16)), seed=0, tag="x")
