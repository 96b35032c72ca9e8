"""The order of samples: bijections with fixed values, exact shares, windows, skips."""

import numpy as np
import pytest

from train.order import (
    MIXTURE_BLOCK,
    Shuffle,
    choose_datasets,
    derive_key,
    mix,
    mixture_quotas,
    parse_skips,
    permute,
    skip_samples,
)

KEY = 0xDC0353A605E75698
TEN = [2, 3, 0, 9, 5, 7, 6, 8, 4, 1]
LARGE = [69279308513, 793629577083, 749355505197, 722379576419]


def test_mix_is_splitmix64() -> None:
    """The published generator, seeded with 0 and 1: its outputs are mix(seed + n * gamma)."""
    gamma = np.uint64(0x9E3779B97F4A7C15)
    outputs = mix(np.arange(1, 4, dtype=np.uint64) * gamma)
    assert [f"{value:016x}" for value in outputs.tolist()] == [
        "e220a8397b1dcdaf",
        "6e789e6aa1b965f4",
        "06c45d188009454f",
    ]


def test_golden_values() -> None:
    """feistel6-v1 stands in checkpoints: these never change."""
    assert derive_key(0, "rows", 0, 0) == KEY
    assert permute(np.arange(10), 10, KEY).tolist() == TEN
    assert permute(np.array([0, 1, 10**9, 10**12 - 1]), 10**12, KEY).tolist() == LARGE


def slow_permute(index: int, n: int, key: int) -> int:
    """The same network for one index in plain integers."""

    def mixed(value: int) -> int:
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            value = ((value ^ (value >> shift)) * factor) % 2**64
        return value ^ (value >> 31)

    bits = (n - 1).bit_length()
    low = bits // 2
    keys = [mixed((key + k * 0x9E3779B97F4A7C15) % 2**64) for k in range(1, 7)]
    while True:
        left, right = index >> low, index % 2**low
        widths = [bits - low, low]
        for round_key in keys:
            left, right = right, left ^ (mixed(right ^ round_key) % 2 ** widths[0])
            widths.reverse()
        index = left << low | right
        if index < n:
            return index


@pytest.mark.parametrize("n", [1, 2, 3, 5, 31, 32, 33, 1000, 8192, 65_537])
def test_every_size_is_a_bijection(n: int) -> None:
    key = derive_key(7, "rows", 3, n)
    values = permute(np.arange(n), n, key)
    assert np.array_equal(np.sort(values), np.arange(n))
    for index in range(0, n, max(1, n // 50)):
        assert values[index] == slow_permute(index, n, key)


def test_shuffles_well() -> None:
    """Neighbours are not neighbours, and epochs are unlike."""
    n = 100_003
    first, second = (permute(np.arange(n), n, derive_key(0, "rows", 0, e)).astype(float) for e in (0, 1))
    for other in (np.arange(n), np.roll(first, 1), second):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.015  # sigma is 0.003


def test_indices_outside_are_refused() -> None:
    with pytest.raises(ValueError, match=r"range\(5\)"):
        permute(np.array([5]), 5, 1)


def test_shares_are_exact_in_every_block() -> None:
    quotas = mixture_quotas([0.5, 0.3, 0.2])
    assert quotas.sum() == MIXTURE_BLOCK
    samples = np.arange(2 * MIXTURE_BLOCK)
    chosen, draws = choose_datasets(samples, quotas, seed=4)
    for block in (samples < MIXTURE_BLOCK, samples >= MIXTURE_BLOCK):
        assert np.array_equal(np.bincount(chosen[block]), quotas)
    for dataset in range(3):  # every dataset is gone through without gap or repetition
        assert np.array_equal(np.sort(draws[chosen == dataset]), np.arange(2 * quotas[dataset]))
    early = np.bincount(chosen[:1000]) / 1000
    assert np.abs(early - [0.5, 0.3, 0.2]).max() < 0.06


@pytest.mark.parametrize("weights", [[1.0, -1.0], [1.0, 0.0], [1.0, float("nan")], [1.0, 1e-9]])
def test_bad_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        mixture_quotas(weights)


@pytest.mark.parametrize("window", [0, 1, 2, 3, 9])
def test_every_epoch_has_every_row_once(window: int) -> None:
    shuffle = Shuffle((50, 1, 70, 30), window, seed=1, tag=0)
    rows = shuffle.rows_of(np.arange(302))
    for epoch in (rows[:151], rows[151:]):
        assert np.array_equal(np.sort(epoch), np.arange(151))
    assert not np.array_equal(rows[:151], rows[151:])
    assert np.array_equal(shuffle.rows_of(np.arange(302)[::-1]), rows[::-1])  # any order of asking


def test_windows_stay_within_their_shards() -> None:
    shuffle = Shuffle((100,) * 10, 2, seed=1, tag=0)
    shards = shuffle.rows_of(np.arange(1000)) // 100
    for start in range(0, 1000, 200):
        assert len(set(shards[start : start + 200].tolist())) == 2
    assert len(set(shards[:100].tolist())) == 2  # and mix them


def test_skips() -> None:
    skips = parse_skips(["4:6", "0:1", "5:8"])
    assert skips == ((0, 1), (4, 8))
    assert skip_samples(np.arange(6), skips).tolist() == [1, 2, 3, 8, 9, 10]
    for bad in ("5", "5:5", "6:2", "a:b", "-1:3"):
        with pytest.raises(ValueError, match="no range"):
            parse_skips([bad])
