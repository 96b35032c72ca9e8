"""n-grams of an index in documents: golden examples by hand, and every hit and span against brute force."""

import re
import unicodedata

import numpy as np
import pyarrow as pa
import pytest

from pipeline.kernels.ngrams import NgramIndex, build_index, count_ngrams, find_ngrams, list_ngrams
from pipeline.kernels.shingles import BLOCK

QUESTION = "How many of the five kettles that Mrs. O'Hara bought didn’t whistle at all?"


def index_of(*texts: str, width: int = 5, whole_from: int = 0) -> NgramIndex:
    _, words, keys = list_ngrams(pa.array(texts, pa.string()), width=width, whole_from=whole_from)
    keys, first = np.unique(keys, return_index=True)
    return build_index(keys, words[first])


def matches(text: str, index: NgramIndex) -> list[str]:
    found = find_ngrams(pa.array([text]), index)
    content = text.encode()
    return [content[start:end].decode() for start, end in zip(found.start, found.end, strict=True)]


def test_by_hand() -> None:
    index = index_of(QUESTION, width=13)
    assert len(index.keys) == 14 - 13 + 1
    found = matches(f"One asks: {QUESTION} Two did.", index)
    assert found == [
        "How many of the five kettles that Mrs. O'Hara bought didn’t whistle at",
        "many of the five kettles that Mrs. O'Hara bought didn’t whistle at all",
    ]
    assert matches(QUESTION.removesuffix("at all?") + "of them", index) == []  # twelve words


@pytest.mark.parametrize(
    "text",
    [
        QUESTION.upper(),
        QUESTION.replace("'", "’"),
        QUESTION.replace("’", "'"),
        QUESTION.replace(" ", "\n\n — "),
        QUESTION.replace("?", ""),
        QUESTION.replace("kettles", "ket\u00adtles"),  # soft hyphen
        "".join(chr(ord(c) + 0xFEE0) if c.isascii() and c.isalpha() else c for c in QUESTION),
    ],
)
def test_writing_does_not_matter(text: str) -> None:
    assert len(matches(text, index_of(QUESTION, width=13))) == 2


def test_chinese_is_matched_by_characters() -> None:
    index = index_of("某日有１７个人带着九担米要过河，问最少要摆渡几趟？", width=13)
    assert matches("题：某日，有17个人带着九担米要过河", index) == [
        "某日，有17个人带着九担米要过",
        "日，有17个人带着九担米要过河",
    ]
    assert matches("某日有18个人带着九担米要过河", index) == []


def test_short_texts_are_matched_whole_or_not_at_all() -> None:
    texts = ["alpha beta gamma delta epsilon zeta", "one two three four"]
    assert len(index_of(*texts, width=7).keys) == 0
    index = index_of(*texts, width=7, whole_from=5)
    assert index.widths.tolist() == [6] and len(index.keys) == 1
    assert matches("So: Alpha, beta, gamma, delta, epsilon, zeta. One two three four.", index) == [
        "Alpha, beta, gamma, delta, epsilon, zeta"
    ]
    mixed = index_of(*texts, "a b c d e f g h", width=7, whole_from=4)
    assert mixed.widths.tolist() == [4, 6, 7]
    assert matches("x one two three four a b c d e f g", mixed) == ["one two three four", "a b c d e f g"]


def words_of(text: str) -> list[tuple[str, int, int]]:
    """(folded word, first byte, byte behind it), for letters and digits of ASCII and Han, and apostrophes."""
    found = []
    for match in re.finditer(r"[\u4e00-\u9fff]|[a-z0-9]+(?:['’][a-z0-9]+)*", text, re.IGNORECASE):
        start = len(text[: match.start()].encode())
        folded = unicodedata.normalize("NFKC", match[0]).lower().replace("’", "'")
        found.append((folded, start, start + len(match[0].encode())))
    return found


def brute(text: str, tests: set[tuple[str, ...]], widths: list[int]) -> list[tuple[int, int]]:
    words = words_of(text)
    return sorted(
        (words[at][1], words[at + width - 1][2])
        for width in widths
        for at in range(len(words) - width + 1)
        if tuple(word for word, _, _ in words[at : at + width]) in tests
    )


ALPHABETS = {
    "english": (["a", "Be", "sea", "it’s", "don't", "Quite", "12"], [" ", ", ", "\n", " - "]),
    "chinese": (list("的一是不了人"), ["", "", "，", "。\n"]),
    "mixed": (["的", "AI", "一", "is", "是", "3"], ["", " ", "；"]),
}


@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("whole_from", [0, 3])
def test_hits_and_spans_are_those_of_brute_force(alphabet: str, whole_from: int) -> None:
    words, gaps = ALPHABETS[alphabet]
    rng = np.random.default_rng(len(alphabet) + whole_from)

    def text(length: int) -> str:
        return "".join(str(rng.choice(words)) + str(rng.choice(gaps)) for _ in range(length))

    questions = [text(int(length)) for length in rng.integers(0, 30, 60)]
    tests: set[tuple[str, ...]] = set()
    for question in questions:
        folded = tuple(word for word, _, _ in words_of(question))
        if whole_from and whole_from <= len(folded) < 5:
            tests.add(folded)
        tests |= {folded[at : at + 5] for at in range(len(folded) - 4)}
    index = index_of(*questions, width=5, whole_from=whole_from)
    widths = sorted({len(ngram) for ngram in tests})
    assert len(index.keys) == len(tests) and index.widths.tolist() == widths
    lengths = [0, 1, 4, 5, 6, 300, BLOCK, BLOCK + 4, BLOCK + 5, 3 * BLOCK + 7]
    documents = [text(length) for length in lengths]
    found = find_ngrams(pa.array(documents), index)
    expected = [brute(document, tests, widths) for document in documents]
    assert count_ngrams(pa.array(documents), index).tolist() == [len(spans) for spans in expected]
    assert sum(map(len, expected)) > 100
    for document, spans in enumerate(expected):
        ours = found.document == document
        assert sorted(zip(found.start[ours].tolist(), found.end[ours].tolist(), strict=True)) == spans


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_slices_nulls_and_empty_texts(kind: pa.DataType) -> None:
    index = index_of("alpha beta gamma delta epsilon")
    text = "and alpha beta gamma delta epsilon"
    column = pa.array(["alpha beta gamma delta epsilon", None, "", text, None, text, "x"], kind).slice(1, 5)
    assert count_ngrams(column, index).tolist() == [0, 0, 1, 0, 1]
    found = find_ngrams(column, index)
    assert found.document.tolist() == [2, 4] and found.start.tolist() == [4, 4]
    assert found.end.tolist() == [len(text)] * 2
    assert not len(find_ngrams(pa.array([], kind), index).key)
    assert not len(find_ngrams(column.slice(0, 2), index).key)


def test_an_index_of_nothing_finds_nothing() -> None:
    empty = index_of("too short", width=13)
    assert len(empty.keys) == 0 and not len(find_ngrams(pa.array([QUESTION]), empty).key)


def test_every_key_of_a_large_index_is_found() -> None:
    """Through filters and ranges of many keys: nothing that is in it is missed."""
    numbers = np.random.default_rng(3).integers(0, 1 << 40, (2_000, 40))
    texts = pa.array([" ".join(map(str, row)) for row in numbers.tolist()])
    _, words, keys = list_ngrams(texts, width=13, whole_from=0)
    keys, first = np.unique(keys, return_index=True)
    index = build_index(keys, words[first])
    assert count_ngrams(texts, index).tolist() == [28] * len(texts)
    assert np.array_equal(np.unique(find_ngrams(texts, index).key), keys)
    others = pa.array([" ".join(map(str, row)) for row in (numbers + 1).tolist()])
    assert not count_ngrams(others, index).any()
