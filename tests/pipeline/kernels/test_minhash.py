"""MinHash: what two signatures say about two texts, what does not matter to one, and its frozen values."""

import gzip
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kernels.buffers import read_only
from pipeline.kernels.minhash import Signatures, band_keys, minhash_signatures, permutation_constants
from pipeline.kernels.shingles import Shingling, shingle_sets
from pipeline.kernels.unicode_classes import load_tables
from pipeline.kernels.words import next_word

REAL_TEXT = Path(__file__).resolve().parents[3] / "../shared/data/text"
PERMUTATIONS = 112


def signed(units: pa.Array, *, shingle: int, permutations: int, seed: int, unit: str = "words") -> Signatures:
    shingling = Shingling(unit, shingle, 500_000)
    return minhash_signatures(units, shingling, permutations=permutations, seed=seed)


def sign(texts: Sequence[str | None], *, shingle: int = 5, seed: int = 1) -> list[list[int] | None]:
    text = pa.array(texts, pa.string())
    return signed(text, shingle=shingle, permutations=PERMUTATIONS, seed=seed).signatures.to_pylist()


def agreement(one: list[int] | None, other: list[int] | None) -> float:
    assert one is not None
    assert other is not None
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


@pytest.mark.parametrize("shingle", [1, 2])
@pytest.mark.parametrize("jaccard", [0.1, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("size", [20, 300, 3_000])
def test_the_estimate_is_unbiased(shingle: int, jaccard: float, size: int) -> None:
    """The mean over many pairs lies within 4 standard deviations of the sets' Jaccard similarity."""
    rng = random.Random(size)
    pairs = 100 if size > 1_000 else 300
    estimates, truths = [], []
    for pair in range(pairs):
        words = [f"w{pair}x{rng.randrange(10**9)}" for _ in range(size)]
        shared, apart = words[: int(size * jaccard)], words[int(size * jaccard) :]
        texts = [shared + apart[: len(apart) // 2], shared + apart[len(apart) // 2 :]]
        sets = [
            {tuple(words[at : at + shingle]) for at in range(len(words) - shingle + 1)} for words in texts
        ]
        truths.append(len(sets[0] & sets[1]) / len(sets[0] | sets[1]))
        estimates.append(agreement(*sign([" ".join(words) for words in texts], shingle=shingle, seed=pair)))
    error = np.mean(estimates) - np.mean(truths)
    deviation = np.sqrt(np.mean([truth * (1 - truth) for truth in truths]) / PERMUTATIONS / pairs)
    assert abs(error) < 4 * deviation


def test_permutations_are_independent() -> None:
    """The spread over pairs is the binomial one: a correlated family would have a wider."""
    rng = random.Random(11)
    estimates = []
    for _ in range(600):
        words = [str(rng.randrange(10**12)) for _ in range(200)]
        estimates.append(agreement(*sign([" ".join(words[:150]), " ".join(words[50:])], shingle=1)))
    ratio = np.var(estimates) / (0.25 / PERMUTATIONS)
    assert 0.75 < ratio < 1.3  # 4 standard deviations of a variance over 600 pairs are 0.23


def test_the_definition_by_brute_force() -> None:
    """Minima over the permutations of the set of shingle hashes, which one-shingle documents give away."""
    words = [f"word{number}" for number in range(300)]
    text = " ".join(words)
    factors, terms = permutation_constants(PERMUTATIONS, 1)
    shingles = [" ".join(words[at : at + 5]) for at in range(296)]
    first = np.array([(s or [0])[0] for s in sign(shingles)], np.uint32)
    inverse = np.uint32(pow(int(factors[0]), -1, 1 << 32))
    hashes = (first - terms[0]) * inverse  # a bijection can be undone
    expected = (hashes[:, None] * factors + terms).min(axis=0)
    assert sign([text]) == [expected.tolist()]


def test_case_punctuation_and_spacing_do_not_matter() -> None:
    plain = "don't count the ways in which 我们 喝 茶 and coffee at 9 o'clock in the naïve café"
    same = (
        "“DON’T count — the ways, in which\n\n我们喝茶; and coffee\tat 9 O'CLOCK (in the na\u00adïve CAFÉ)!"
    )
    one, other = sign([plain, same])
    assert one == other


def test_order_matters_and_so_does_one_word() -> None:
    words = [f"w{number}" for number in range(200)]
    base, changed, turned = sign(
        [" ".join(words), " ".join([*words[:100], "other", *words[101:]]), " ".join(words[::-1])]
    )
    assert 0.85 < agreement(base, changed) < 1.0  # 191 of 201 shingles are shared
    assert agreement(base, turned) < 0.05


def test_what_is_shorter_than_a_shingle_has_no_signature() -> None:
    text = pa.array([None, "", "?! 😀", "one two", "a b c d", "a b c d e", "茶", "中文字很短"])
    signatures, short, capped = signed(text, shingle=5, permutations=PERMUTATIONS, seed=1)
    assert [row is None for row in signatures.to_pylist()] == [True] * 5 + [False, True, False]
    assert short.to_pylist() == [False, False, False, True, True, False, True, False]
    assert capped.true_count == 0


@pytest.mark.parametrize("unit", ["words", "characters"])
def test_the_cap_is_exact_in_characters(unit: str) -> None:
    for text in ("one two three four five six seven eight", "中文字很短也要签名一下吧", "aé😀b cdé😀 fg" * 3):
        for most in range(6, len(text) + 2):
            shingling = Shingling(unit, 2, most)
            found = minhash_signatures(pa.array([text]), shingling, permutations=8, seed=1)
            cut = minhash_signatures(pa.array([text[:most]]), Shingling(unit, 2, 999), permutations=8, seed=1)
            assert found.signatures.to_pylist() == cut.signatures.to_pylist()
            assert found.capped.to_pylist() == [most < len(text)]


def test_characters_fold_case_and_white_space_only() -> None:
    texts = ["  Ab,\n\t cd Éf ", "ab, cd éf", "ab cd éf"]
    one, same, other = (
        sign_characters.to_pylist()
        for sign_characters in (
            signed(pa.array([text]), shingle=4, permutations=64, seed=1, unit="characters").signatures
            for text in texts
        )
    )
    assert one == same != other


def test_token_ids_are_shingled_like_any_unit() -> None:
    tokens = pa.array([[5, 6, 7, 8], None, [1, 2], [], list(range(3000)), [5, 6, 7, 8]], pa.list_(pa.int32()))
    found = signed(tokens, shingle=3, permutations=32, seed=1, unit="tokens")
    rows = found.signatures.to_pylist()
    assert [row is None for row in rows] == [False, True, True, True, False, False]
    assert rows[0] == rows[5]
    assert found.short.to_pylist() == [False, False, True, False, False, False]
    sliced = signed(tokens.slice(4, 2), shingle=3, permutations=32, seed=1, unit="tokens")
    assert sliced.signatures.to_pylist() == rows[4:]
    with pytest.raises(TypeError, match="int32"):
        signed(pa.array([["a"]]), shingle=3, permutations=3, seed=1, unit="tokens")


@pytest.mark.parametrize("unit", ["words", "characters"])
def test_shingle_sets_have_the_jaccard_of_python_sets(unit: str) -> None:
    rng = random.Random(3)
    texts = [
        " ".join(rng.choice(["a", "bb", "中", "don't", "é"]) for _ in range(n)) for n in (0, 3, 40, 3_000)
    ]
    units = [list(text) if unit == "characters" else re.findall(r"[a-z'é]+|中", text) for text in texts]
    width = 3
    expected = [{tuple(u[at : at + width]) for at in range(len(u) - width + 1)} for u in units]
    found = [
        set(hashes.tolist())
        for hashes in shingle_sets(pa.array(texts), Shingling(unit, width, 10**6)).split()
    ]
    assert [len(hashes) for hashes in found] == [len(shingles) for shingles in expected]
    for one in range(4):
        for other in range(4):
            assert len(found[one] & found[other]) == len(expected[one] & expected[other])


@pytest.mark.parametrize("storage", [pa.string(), pa.large_string()])
def test_slices_are_signed_like_whole_arrays(storage: pa.DataType) -> None:
    texts = ["gone", "a b c d e f", None, "", "x y", "gone"]
    sliced = signed(pa.array(texts, storage).slice(1, 4), shingle=3, permutations=9, seed=2)
    alone = [signed(pa.array([t], storage), shingle=3, permutations=9, seed=2) for t in texts[1:5]]
    assert sliced.signatures.to_pylist() == [one.signatures.to_pylist()[0] for one in alone]
    assert sliced.short.to_pylist() == [one.short.to_pylist()[0] for one in alone]
    assert sliced.signatures.type == pa.list_(pa.uint32(), 9)
    assert len(signed(pa.array([], storage), shingle=3, permutations=9, seed=2).signatures) == 0


@pytest.mark.parametrize("words", [1_023, 1_024, 1_025, 2_053, 5_000])
def test_long_documents_across_block_borders(words: int) -> None:
    """The signature of a union of shingle sets is the least of the parts' signatures."""
    numbered = [f"n{number}" for number in range(words)]
    cut = words // 3
    parts = [" ".join(numbered[: cut + 4]), " ".join(numbered[cut:])]
    whole, first, second = sign([" ".join(numbered), *parts])
    assert whole == np.minimum(first, second).tolist()  # type: ignore[arg-type]


def test_the_constants_are_splitmix64s() -> None:
    """The first outputs for seed 1234567 in every published test of it."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    factors, terms = permutation_constants(3, 1234567)
    assert factors.tolist() == [value & 0xFFFFFFFF | 1 for value in published]
    assert terms.tolist() == [value >> 32 for value in published]


def test_signatures_are_frozen() -> None:
    """A change here means: signatures of earlier runs no longer meet those of this version."""
    factors, terms = permutation_constants(2, 1)
    assert (factors.tolist(), terms.tolist()) == ([2298633409, 1703865447], [2433363436, 3203108257])
    text = pa.array(["The quick brown fox jumps over the lazy dog.", "敏捷的棕色狐狸跳过了懒狗。"])
    signatures = signed(text, shingle=5, permutations=4, seed=1).signatures
    assert signatures.to_pylist() == [
        [304299704, 758666299, 823204267, 47818836],
        [1067550558, 44578705, 35789320, 564669430],
    ]
    assert band_keys(signatures, bands=2, rows=2).tolist() == [
        [2250777431302974306, 9757634960708962842],
        [7534786918374535889, 16653942985417987759],
    ]


def test_band_keys_meet_exactly_where_bands_are_equal() -> None:
    rng = np.random.default_rng(3)
    minima = rng.integers(0, 4, (60, 12), dtype=np.uint32)
    signatures = pa.FixedSizeListArray.from_arrays(pa.array(minima.reshape(-1)), 12)
    keys = band_keys(signatures, bands=5, rows=2)  # the last two values of each signature are not used
    assert keys.shape == (60, 5)
    assert keys.dtype == np.uint64
    equal = (minima[:, None, :10].reshape(60, 1, 5, 2) == minima[None, :, :10].reshape(1, 60, 5, 2)).all(
        axis=3
    )
    np.testing.assert_array_equal(keys[:, None] == keys[None], equal)
    assert not set(keys[:, 0].tolist()) & set(keys[:, 1].tolist())  # equal values in other bands do not meet
    np.testing.assert_array_equal(band_keys(signatures.slice(7, 9), bands=5, rows=2), keys[7:16])


def test_impossible_configurations_are_refused() -> None:
    signatures = signed(pa.array(["a", None]), shingle=1, permutations=8, seed=1).signatures
    with pytest.raises(ValueError, match="1 signatures are null"):
        band_keys(signatures, bands=2, rows=2)
    with pytest.raises(ValueError, match="3 bands of 3 rows"):
        band_keys(signatures.slice(0, 1), bands=3, rows=3)
    with pytest.raises(ValueError, match="at least 1"):
        signed(pa.array(["a"]), shingle=0, permutations=8, seed=1)


def test_different_words_have_different_hashes() -> None:
    """The words of real text collide in 32 bits no more often than chance has it."""
    path = REAL_TEXT / "de.jsonl.gz"
    if not path.exists():
        pytest.skip(f"real text is not here: {path}")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        words = sorted({w.lower() for line in lines for w in json.loads(line)["text"].split() if w.isalpha()})
    one = signed(pa.array(words), shingle=1, permutations=1, seed=1).signatures
    distinct = len(set(one.flatten().to_pylist()))
    chance = len(words) ** 2 / 2**33
    assert len(words) > 20_000
    assert len(words) - distinct <= chance + 5 * chance**0.5 + 1


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="aZ09 '’\u00ad\u0301é中龍䷀。ไ\n-", max_size=60))
def test_words_read_eight_bytes_at_a_time_are_those_of_the_scanner(text: str) -> None:
    """At the end of a buffer words are read one by one: each alone must give what the whole text gives."""
    one = Shingling("words", 1, 1_000)
    padded = pa.array([text + " " + "." * 16])
    words = [text[s:e] for s, e in word_spans(text)]
    alone = {h for word in words for h in shingle_sets(pa.array([word]), one).hashes.tolist()}
    assert set(shingle_sets(padded, one).hashes.tolist()) == alone


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where the scanner of words.py finds words, in code points."""
    units = np.frombuffer(text.encode(), np.uint8)
    spans, at = [], 0
    while True:
        start, end, *_ = next_word(read_only(units), np.int64(at), np.int64(len(units)), load_tables())
        if start == end:
            return spans
        spans.append((len(bytes(units[:start]).decode()), len(bytes(units[:end]).decode())))
        at = end
