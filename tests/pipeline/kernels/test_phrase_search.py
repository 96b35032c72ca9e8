"""Phrases are found as whole words or anywhere, by the script that they are written in."""

import random

import numpy as np
import pyarrow as pa
import pytest

from pipeline.kernels.phrase_search import count_phrases
from pipeline.kernels.phrase_table import build_phrases, read_phrase

PHRASES = ("ass", "asshole", "ass hole", "son of a bitch", "色情", "做愛", "g-spot", "🖕", "a片", "he", "she")


def table(*phrases: str):
    return build_phrases({read_phrase(phrase): 1 for phrase in phrases})


def found(text: str, *phrases: str) -> int:
    return int(count_phrases(pa.array([text]), table(*phrases), kinds=1)[0, 0])


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("ass", 1),
        ("class assets ass.", 1),  # whole words
        ("ASS Ass ass's", 3),
        ("ass hole", 1),  # the longer of two that start together
        ("ass ass hole", 2),
        ("assholes", 0),
        ("son-of-a\nbitch", 1),  # across hyphens and line ends
        ("fuck_ass", 1),
        ("G-Spot, g spot", 2),
        ("红色情侣", 1),  # anywhere, for better or worse
        ("做爱 做愛", 2),
        ("看a片吗，看A片", 2),
        ("看ba片", 0),
        ("🖕🖕", 2),
        ("ushers: she, he", 2),
        ("白色，情感", 0),
        ("", 0),
    ],
)
def test_what_is_found(text: str, times: int) -> None:
    assert found(text, *PHRASES) == times


@pytest.mark.parametrize(
    ("text", "caught"),
    [
        ("ａｓｓ", True),  # full width
        ("a\u200dss a", True),  # zero-width joiner
        ("a\u0301s\u0301s\u0301 b", True),  # accents as marks of their own
        ("做 愛", False),  # a space between
        ("\u0430ss", False),  # Cyrillic a
        ("a$$", False),
        ("@ss", False),
        ("a s s", False),
        ("as5", False),
    ],
)
def test_what_disguises_do(text: str, caught: bool) -> None:
    assert (found(text, "ass", "做愛") > 0) == caught


@pytest.mark.parametrize("phrase", ["13.", "7", "x", " ", "", "."])
def test_what_cannot_be_told_from_other_text_is_left_out(phrase: str) -> None:
    read = read_phrase(phrase)
    assert read == () or phrase == "."


def test_counts_by_kind() -> None:
    phrases = {read_phrase("bad word"): 0b01, read_phrase("坏词"): 0b11, read_phrase("worse"): 0b10}
    counts = count_phrases(pa.array(["Bad word, worse; 坏词坏词", "none"]), build_phrases(phrases), kinds=2)
    # found, their letters, different ones, of the first kind, of the second
    assert counts.tolist() == [[4, 7 + 5 + 2 + 2, 3, 3, 3], [0, 0, 0, 0, 0]]


def test_as_a_slow_search_does() -> None:
    """Against every phrase at every place, leftmost and longest, over drawn words of two letters."""
    draw = random.Random(11)
    phrases = {" ".join(draw.choices(("a", "b", "ab", "ba"), k=draw.randint(1, 3))) for _ in range(12)}
    phrases = sorted(phrase for phrase in phrases if len(phrase) > 1)
    texts, numbers = [], []
    for _ in range(400):
        words = draw.choices(("a", "b", "ab", "ba", "c"), k=draw.randint(0, 12))
        expected, at = 0, 0
        while at < len(words):
            ends = [len(p.split()) for p in phrases if words[at : at + len(p.split())] == p.split()]
            expected += bool(ends)
            at += max(ends, default=1)
        texts.append(draw.choice((" ", "\n", ", ")).join(words))
        numbers.append(expected)
    assert count_phrases(pa.array(texts), table(*phrases), kinds=1)[:, 0].tolist() == numbers


def test_slices_nulls_and_large_strings() -> None:
    texts = ["ass", None, "色情 she", "", "he"]
    whole = count_phrases(pa.array(texts), table(*PHRASES), kinds=1)
    assert whole[:, 0].tolist() == [1, 0, 2, 0, 1]
    sliced = pa.array(["she", *texts], pa.large_string())[1:]
    assert np.array_equal(count_phrases(sliced, table(*PHRASES), kinds=1), whole)
    assert count_phrases(pa.array([], pa.string()), table("ass"), kinds=1).shape == (0, 4)


def test_chinese_phrases_do_not_share_characters() -> None:
    assert found("色情色情色", "色情", "情色") == 2


def test_a_phrase_that_starts_first_replaces_all_inside_of_it() -> None:
    assert found("xa xb xc xd", "xb", "xc", "xa xb xc xd") == 1
    assert found("xa xb xc xe", "xb", "xc", "xa xb xc xd") == 2
