"""Planted copies: as similar as they were meant to be, and a function of the document and its id alone."""

import hashlib
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kernels import planted
from pipeline.kernels.compare import JACCARD, MILLION, similarity_ppm
from pipeline.kernels.planted import LEVELS, choose_planted, plant
from pipeline.kernels.shingles import Shingling, shingle_sets

WORDS = Shingling("words", 5, 500_000)
CHARACTERS = Shingling("characters", 13, 500_000)


def make_ids(count: int, salt: int = 0) -> pa.Array:
    keys = [hashlib.blake2b(b"%d %d" % (salt, i), digest_size=16).digest() for i in range(count)]
    return pa.array(keys, pa.binary(16))


def english(rng: np.random.Generator, words: int = 800) -> str:
    return " ".join(f"w{number}" for number in rng.integers(0, 10**9, words))


def chinese(rng: np.random.Generator, characters: int = 800) -> str:
    return "".join(chr(number) for number in rng.integers(0x4E00, 0x9F00, characters))


@pytest.mark.parametrize(
    ("write", "shingling"), [(english, WORDS), (chinese, WORDS), (english, CHARACTERS), (chinese, CHARACTERS)]
)
def test_copies_have_the_similarity_that_is_aimed_at(write, shingling: Shingling) -> None:
    rng = np.random.default_rng(3)
    texts, ids = pa.array([write(rng) for _ in range(400)]), make_ids(400)
    copies, levels = plant(texts, ids, shingling, seed=0)
    pairs = zip(shingle_sets(texts, shingling).split(), shingle_sets(copies, shingling).split(), strict=True)
    found = np.array([similarity_ppm(one, other, measure=JACCARD) / MILLION for one, other in pairs])
    for level, aim in enumerate(LEVELS):
        assert 20 < np.count_nonzero(levels == level) < 90  # 50 expected
        assert abs(found[levels == level].mean() - aim) < 0.06  # a doubled unit breaks fewer shingles


@pytest.mark.parametrize("width", [1, 5, 13, 24])
@pytest.mark.parametrize("level", LEVELS)
def test_the_limit_is_the_least_that_does(level: float, width: int) -> None:
    limit = planted._change_limit(level, width)
    kept = 2 * Fraction(str(level)) / (1 + Fraction(str(level)))
    assert (1 - Fraction(limit, 1 << 32)) ** width <= kept < (1 - Fraction(limit - 1, 1 << 32)) ** width


def test_copies_never_change() -> None:
    """Frozen: what was measured on other copies would be something else."""
    texts = pa.array(
        [
            "The quick brown fox jumps over the lazy dog. Don’t wake it, or it barks all night long!",
            "快速的棕色狐狸跳过了懒狗，明天它还要早起看家。",
        ]
    )
    ids = pa.array([bytes(16), bytes(range(16))], pa.binary(16))
    copies, levels = plant(texts, ids, Shingling("words", 2, 500), seed=9)
    assert levels.tolist() == [3, 0]
    assert copies.to_pylist() == [
        "The quick brown  jumps over the lazy or. Don’t wake it, or it barks all  long!",
        "快天的棕色狐狸跳过了 了懒狗 狗，速天 天它还要早起还家。",
    ]
    copies, _ = plant(texts, ids, Shingling("characters", 3, 500), seed=9)
    assert copies.to_pylist() == [
        "The quic  brown fox jumps over the lazy dog.mDtn’n wake i, or i  bark all night ong!",
        "快速的棕色狐狸跳过了了懒狗快明明天它还要早它看家棕",
    ]


def test_a_copy_does_not_depend_on_its_neighbours() -> None:
    """Not even where a copy has no room left: one long word that wants to stand in many places."""
    rng = np.random.default_rng(4)
    texts = ["a b c d e f " * 40 + "x" * 2_000, "", "y", *(english(rng, 50) for _ in range(20))] * 3
    ids = make_ids(len(texts))
    whole, levels = plant(pa.array(texts), ids, WORDS, seed=1)
    for row in range(len(texts)):
        alone, level = plant(
            pa.array(texts[row : row + 1], pa.large_string()), ids[row : row + 1], WORDS, seed=1
        )
        assert alone[0].as_py() == whole[row].as_py() and level[0] == levels[row]
    order = rng.permutation(len(texts))
    shuffled, _ = plant(pa.array(texts).take(pa.array(order)), ids.take(pa.array(order)), WORDS, seed=1)
    assert shuffled.equals(whole.take(pa.array(order)))
    assert plant(pa.array(["pad", *texts])[1:], ids, WORDS, seed=1)[0].equals(whole)
    assert sum(copy.count("x" * 2_000) >= 1 for copy in whole.to_pylist()) >= 1
    other, _ = plant(pa.array(texts), ids, WORDS, seed=2)
    assert not other.equals(whole)


@given(
    st.lists(st.text(max_size=200), max_size=5),
    st.sampled_from([WORDS, CHARACTERS, Shingling("tokens", 2, 9)]),
)
def test_any_text_gives_text_within_its_room(texts: list[str], shingling: Shingling) -> None:
    texts = [text.encode(errors="ignore").decode() for text in texts]
    copies, levels = plant(pa.array(texts, pa.string()), make_ids(len(texts)), shingling, seed=0)
    copies.validate(full=True)  # valid UTF-8
    assert len(copies) == len(levels) == len(texts)
    for text, copy in zip(texts, copies.to_pylist(), strict=True):
        assert len(copy.encode()) <= 2 * len(text.encode()) + 64


def test_the_first_rows_and_some_others_are_chosen() -> None:
    ids = make_ids(60_000)
    rows = choose_planted(ids, 0, seed=0)
    assert rows[:32].tolist() == list(range(32))
    expected = (60_000 - 32) / 256
    assert abs(len(rows) - 32 - expected) < 4 * np.sqrt(expected)
    parts = [
        choose_planted(ids[start : start + 7_001], start, seed=0) + start for start in range(0, 60_000, 7_001)
    ]
    assert np.array_equal(np.concatenate(parts), rows)
    assert not np.array_equal(choose_planted(ids, 0, seed=1), rows)
    assert choose_planted(ids[:0], 0, seed=0).tolist() == []
