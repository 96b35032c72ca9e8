import hashlib
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decide.mixture import MICRO, copies, rehydration, repeats_to_micro

IDS = pa.array([hashlib.blake2b(b"%d" % i, digest_size=16).digest() for i in range(4000)], pa.binary(16))


def at(r_micro: int, seed: int = 1) -> np.ndarray:
    return copies(IDS, np.full(len(IDS), r_micro), seed=seed)


@given(st.integers(0, 5 * MICRO), st.integers(0, 5 * MICRO), st.integers(0, 2**63 - 1))
def test_raising_repeats_only_adds_copies(r_micro, more, seed):
    fewer, raised = at(r_micro, seed), at(r_micro + more, seed)
    assert np.all(raised >= fewer)
    assert np.all(fewer - r_micro // MICRO <= 1)


@given(
    st.lists(st.integers(0, 8), min_size=4, max_size=4),
    st.integers(0, 3),
    st.integers(1, 5),
    st.integers(0, 3 * MICRO),
)
def test_raising_a_factor_only_adds_copies(factors, raised, by, r_micro):
    sizes = np.arange(len(IDS)) % 1100 + 1
    more = [factor + by * (entry == raised) for entry, factor in enumerate(factors)]
    starts = [1, 2, 100, 1000]
    before, after = (
        copies(IDS, r_micro * rehydration(sizes, list(zip(starts, of, strict=True))), seed=1)
        for of in (factors, more)
    )
    assert np.all(after >= before)
    other = np.searchsorted(starts, sizes, side="right") - 1 != raised
    assert np.array_equal(after[other], before[other])


@pytest.mark.parametrize("whole", [0, 1, 2, 65_535])
def test_whole_repeats_draw_nothing(whole):
    assert np.all(at(whole * MICRO) == whole)


def test_the_fraction_is_met():
    mean = at(2_300_000).mean()
    assert abs(mean - 2.3) < 4 * (0.3 * 0.7 / len(IDS)) ** 0.5


def test_the_smallest_step_decides():
    # A fraction of d + 1 micro-units takes the document whose draw is d, a fraction of d does not.
    low, high = 0, MICRO
    while high - low > 1:  # find the draw of the first document
        middle = (low + high) // 2
        low, high = (low, middle) if at(middle)[0] else (middle, high)
    assert at(low)[0] == 0
    assert at(low + 1)[0] == 1


def test_repeats_differ_by_row_and_seed_changes_the_draw():
    r_micro = np.where(np.arange(len(IDS)) % 2, 500_000, 3_000_000)
    mixed = copies(IDS, r_micro, seed=1)
    assert np.all(mixed[::2] == 3)
    assert np.array_equal(mixed[1::2], at(500_000)[1::2])
    assert not np.array_equal(at(500_000, seed=1), at(500_000, seed=2))


@pytest.mark.parametrize(
    ("repeats", "micro"),
    [(1, MICRO), (0.3, 300_000), ("2.5", 2_500_000), (Decimal("0.0000005"), 0), (1 / 3, 333_333)],
)
def test_repeats_become_whole_micro_units(repeats, micro):
    assert repeats_to_micro(repeats) == micro


@pytest.mark.parametrize("repeats", [-0.1, 65_536])
def test_impossible_repeats_are_refused(repeats):
    with pytest.raises(ValueError, match="between 0 and 65535"):
        repeats_to_micro(repeats)
    with pytest.raises(ValueError, match="between 0 and 65535"):
        copies(IDS, np.full(len(IDS), int(repeats * MICRO)), seed=1)


def test_one_repeat_per_document():
    with pytest.raises(ValueError, match="4000 ids"):
        copies(IDS, np.array([MICRO]), seed=1)
