"""Counts of C4, dolma, DCLM, Chinese corpora and code, against plain Python written after the peers'
definitions.

The Python here follows the formulas of the files that the kernels name, over the same words.
"""

import math
import re
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.annotate.segment import measure_jieba
from pipeline.counts import C4_COUNTS, CHINESE_COUNTS, CODE_COUNTS, DCLM_COUNTS, DOLMA_COUNTS, SPACY_COUNTS
from pipeline.kernels.c4 import measure_c4
from pipeline.kernels.chinese import measure_chinese
from pipeline.kernels.code_files import measure_code
from pipeline.kernels.repetition_variants import measure_dclm, measure_dolma
from pipeline.kernels.spacy_tokens import measure_spacy

MEASURES = {
    measure_c4: C4_COUNTS,
    measure_chinese: CHINESE_COUNTS,
    measure_code: CODE_COUNTS,
    measure_dclm: DCLM_COUNTS,
    measure_dolma: DOLMA_COUNTS,
    measure_spacy: SPACY_COUNTS,
}
PIECES = [
    "a",
    "be",
    "see",
    " ",
    " ",
    "\n",
    "one two three ",
    "one two three four five six ",
    ". ",
    "Cat",
    "中",
    "国",
]
texts_of_pieces = st.lists(st.lists(st.sampled_from(PIECES), max_size=60).map("".join), max_size=4)


def runs(words: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]


def slow_dolma(text: str) -> dict[str, int]:
    found, words = dict.fromkeys(DOLMA_COUNTS, 0), text.split()
    for n in range(2, 11):
        counts = Counter(runs(words, n))
        if not counts:
            continue
        if n < 5:
            gram, times = counts.most_common(1)[0]
            found[f"dolma_top_{n}_gram_characters"] = times * len("".join(gram))
        else:
            sizes = {gram: times * len("".join(gram)) for gram, times in counts.items()}
            found[f"dolma_{n}_gram_characters"] = sum(sizes.values())
            repeated = sum(size for gram, size in sizes.items() if counts[gram] > 1)
            found[f"dolma_duplicate_{n}_gram_characters"] = repeated
    return found


def slow_dclm(text: str) -> dict[str, int]:
    found, words = dict.fromkeys(DCLM_COUNTS, 0), re.findall(r"[A-Za-z0-9]+|[中国]", text)
    for n in range(2, 11):
        counts = Counter(runs(words, n))
        most = max(counts.values(), default=0)
        if most < 2:
            continue
        if n < 5:
            longest = max(len("".join(gram)) for gram, times in counts.items() if times == most)
            found[f"dclm_top_{n}_gram_characters"] = most * longest
        else:
            covered = {at + k for at, gram in enumerate(runs(words, n)) if counts[gram] > 1 for k in range(n)}
            found[f"dclm_duplicate_{n}_gram_characters"] = sum(len(words[at]) for at in covered)
    return found


@settings(max_examples=200, deadline=None)
@given(texts_of_pieces)
def test_repetition_as_dolma_and_dclm_count_it(texts: list[str]) -> None:
    array = pa.array(texts, pa.string())
    assert measure_dolma(array).to_pylist() == [slow_dolma(text) for text in texts]
    assert measure_dclm(array).to_pylist() == [slow_dclm(text) for text in texts]


# --- C4 -----------------------------------------------------------------------------------------------------

POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")


def slow_c4(text: str) -> dict[str, int]:
    found = dict.fromkeys(C4_COUNTS, 0)
    found["long_lines"] = sum(len(line) >= 200 for line in text.split("\n"))
    forms = {"tfds": ('.?!"', 5), "datatrove": (".?!\"'", 3), "fineweb": ("", 3)}
    for form, (marks, least) in forms.items():
        for raw in text.split("\n"):
            line = raw.strip()
            if not line or any(len(word) > 1000 for word in line.split()):
                continue
            before, line = len(line.split()), CITATION.sub("", line).rstrip()
            if marks and (not line.endswith(tuple(marks)) or line.endswith("...")):
                continue
            if (len(line.split()) if form == "tfds" else before) < least:
                continue
            lower = line.lower()
            if "lorem ipsum" in lower:
                found[f"c4_{form}_ended"] += 1
            elif "javascript" in lower:
                continue
            elif "{" in line:
                found[f"c4_{form}_ended"] += 1
            elif not any(phrase in lower for phrase in POLICY):
                found[f"c4_{form}_lines"] += 1
                ends = re.findall(r"[.?!][.?!\"')\]”’]*(?=\s|$)", line)
                found[f"c4_{form}_sentences"] += max(len(ends), 1)
    return found


C4_PIECES = [
    "One word. ", "and two more ", "Really?! ", 'he said "no." ', "it's", "[1]", "[edit]", "(Yes.) ",
    " [citation needed]", "[12] ", "[a]", "...", ".", "!", "'", "\n", "\n", "lorem ipsum ", "JavaScript ",
    "{", "our Privacy Policy ", "use cookies", "x" * 1000, "y", " ", "中文。", "terms of us", "a b c d e ",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.sampled_from(C4_PIECES), max_size=30).map("".join), max_size=3))
def test_what_c4_keeps(texts: list[str]) -> None:
    assert measure_c4(pa.array(texts, pa.string())).to_pylist() == [slow_c4(text) for text in texts]


@pytest.mark.parametrize(
    ("line", "tfds", "datatrove", "fineweb"),
    [
        ("These are five good words.", 1, 1, 1),
        ("Only four words here.", 0, 1, 1),
        ("Two words.", 0, 0, 0),
        ("These are five words without", 0, 0, 1),
        ("These are five words trailing...", 0, 0, 1),
        ("they said 'these five words'", 0, 1, 1),
        ("These are five good words.[12]", 1, 1, 1),
        ("[1] [2] four words here.", 0, 1, 1),
        ("Please enable JavaScript in your browser.", 0, 0, 0),
        ("Read the privacy policy of ours.", 0, 0, 0),
    ],
)
def test_lines_that_the_forms_disagree_about(line: str, tfds: int, datatrove: int, fineweb: int) -> None:
    (row,) = measure_c4(pa.array([line])).to_pylist()
    assert [row[f"c4_{form}_lines"] for form in ("tfds", "datatrove", "fineweb")] == [
        tfds,
        datatrove,
        fineweb,
    ]


def test_a_brace_ends_a_page_only_in_a_line_that_is_kept() -> None:
    texts = ["function {", "A line with a { and five words.", "Here stands lorem ipsum, as it does."]
    assert [row["c4_tfds_ended"] for row in measure_c4(pa.array(texts)).to_pylist()] == [0, 1, 1]


# --- Chinese ------------------------------------------------------------------------------------------------


def slow_chinese(text: str) -> dict[str, int]:
    shown = [c for c in text if not c.isspace()]
    counts, thirteen = Counter(shown), runs(shown, 13)
    again = Counter(thirteen)
    total = len(shown)
    entropy = -sum(n / total * math.log(n / total) for n in counts.values())
    lines = ["".join(line.split()) for line in text.split("\n")]
    return {
        "sentences": len(re.findall("[。！？!?…．]+", "".join(shown))),
        "bracket_characters": sum(map(len, re.findall("【([^】]*)】", "".join(shown)))),
        "more_lines": sum(
            line.endswith(("展开", "更多", "。。。")) or line.lower().endswith("readmore") for line in lines
        ),
        "distinct_characters": len(counts),
        "character_entropy": round(entropy * 1_000),
        "repeated_13_grams": sum(again[run] > 1 for run in thirteen),
        "thirteen_grams": len(thirteen),
    }


CHINESE_PIECES = [
    *"一二三四五六七八九十", "。", "！？", "【注】", "更多\n", "展开", "Read more\n", "。。。", " \n", "ab",
    "天地玄黄宇宙洪荒日月盈昃辰宿列张",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.sampled_from(CHINESE_PIECES), max_size=60).map("".join), max_size=3))
def test_chinese_counts(texts: list[str]) -> None:
    for row, text in zip(measure_chinese(pa.array(texts, pa.string())).to_pylist(), texts, strict=True):
        expected = slow_chinese(text)
        assert abs(row.pop("character_entropy") - expected.pop("character_entropy")) <= 1
        assert row == expected


def test_entropy_of_equally_frequent_characters() -> None:
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 2_000)))
    (row,) = measure_chinese(pa.array([text * 3])).to_pylist()
    assert row["character_entropy"] == round(math.log(2_000) * 1_000)
    assert row["repeated_13_grams"] == row["thirteen_grams"] == 6_000 - 12


# --- code ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "marks", "data", "xml"),
    [
        ("# This file is Auto-Generated, do not edit\nx = 1\n", 1, 0, 0),
        ("a\nb\nc\nd\ne\n# autogenerated\n", 0, 0, 0),  # the sixth line
        ('<?xml version="1.0"?>\n<a/>', 0, 0, 1),
        (" " * 100 + '<?xml version="1.0"?>', 0, 0, 0),
        ("key = '" + "QUJD" * 16 + "'", 0, 64, 0),
        ("key = '" + "QUJD" * 15 + "'", 0, 0, 0),
        ("x = [" + "0x1f, " * 8 + "]", 0, 48, 0),
        ("x = [" + "0x1f, " * 7 + "]", 0, 0, 0),
        ("s = '" + "\\u4e2d" * 8 + "'", 0, 48, 0),
        ("s = '" + "\\x4e" * 9 + "'", 0, 36, 0),
        ("an ordinary sentence about cafes and decades of bad beef", 0, 0, 0),
    ],
)
def test_code(text: str, marks: int, data: int, xml: int) -> None:
    (row,) = measure_code(pa.array([text])).to_pylist()
    assert row == {"generated_marks": marks, "data_characters": data, "xml_headers": xml}


# --- all ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", MEASURES)
def test_slices_nulls_and_neighbours(measure) -> None:
    texts = ["gone", "one two one two one two.\n更多", None, "", "x\n" * 500 + "【x】", "gone"]
    for storage in (pa.string(), pa.large_string()):
        rows = measure(pa.array(texts, storage).slice(1, 4)).to_pylist()
        assert rows == [measure(pa.array([text or ""])).to_pylist()[0] for text in texts[1:5]]
        assert set(rows[1].values()) == {0} and list(rows[0]) == list(MEASURES[measure])


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("broken", [b"\xe4", b"a\xf0\x9f", b"\xff\xfe", b"[cita", b"\\u00", b"0x"])
def test_broken_ends_are_not_read_over(measure, broken: bytes) -> None:
    storage = pa.array([broken, b"ion needed] and this."], pa.binary())
    first, second = measure(pa.Array.from_buffers(pa.string(), 2, storage.buffers())).to_pylist()
    assert second == measure(pa.array(["ion needed] and this."])).to_pylist()[0]
    assert (
        first == measure(pa.Array.from_buffers(pa.string(), 1, storage.slice(0, 1).buffers())).to_pylist()[0]
    )


# --- spaCy's tokens -----------------------------------------------------------------------------------------

# Tokens, those with letters, those that are more than marks, their characters, stop words: by datatrove
# 0.10.1's split_into_words (spaCy 3) and what GopherQualityFilter makes of them.
SPACY_TEXTS = {
    "Don’t re-use it (yet); that's 3.5 kg, isn't it?": [19, 12, 13, 33, 1],
    "See https://example.org/a?b=c and mail me@example.org, or go to example.com/x.": [11, 9, 9, 68, 2],
    "It rose by 50%, to $1,200.50... and then-well-stopped. “Quite so!” she said.": [25, 12, 14, 52, 2],
    "* one\n* two -- three — four\n== Title ==": [13, 5, 5, 20, 0],
    "The the THE, to and of. With: have? be!": [14, 9, 9, 26, 6],
    "price=3 a<b 10-20 2^8 snake_case camelCase.Next word,word 1,000": [18, 8, 13, 51, 0],
    "naïve café — “déjà vu” 5° €20 ©2020 🙂🙂": [15, 4, 12, 27, 0],
}


def test_tokens_are_those_of_spacy() -> None:
    rows = measure_spacy(pa.array(list(SPACY_TEXTS))).to_pylist()
    assert {text: list(row.values()) for text, row in zip(SPACY_TEXTS, rows, strict=True)} == SPACY_TEXTS


def test_a_long_piece_costs_what_it_is_long() -> None:
    pieces = ["(" * 200_000, "a." * 100_000, "a-" * 100_000, "." * 200_000, "x" * 199_999 + "'s"]
    tokens = [row["spacy_tokens"] for row in measure_spacy(pa.array(pieces)).to_pylist()]
    assert tokens == [200_000, 2, 199_999, 1, 2]


# --- words of a dictionary ----------------------------------------------------------------------------------


def test_words_of_jieba() -> None:
    pytest.importorskip("rjieba")
    text = "我来到北京清华大学。\n我来到北京清华大学，2024年 Hello!"
    (row,) = measure_jieba(pa.array([text])).to_pylist()
    # 我 来到 北京 清华大学 。 / 我 来到 北京 清华大学 ， 2024 年 Hello !
    assert [row[f"jieba_{name}"] for name in ("tokens", "alphabetic_tokens", "words")] == [14, 10, 11]
    assert row["jieba_word_characters"] == 2 * (1 + 2 + 2 + 4) + 4 + 1 + 5
    assert row["jieba_top_2_gram_characters"] == 2 * len("我 来到")  # the first of those that come twice
    assert row["jieba_top_4_gram_characters"] == 2 * len("我 来到 北京 清华大学")
    assert row["jieba_duplicate_5_gram_characters"] == 0
    (row,) = measure_jieba(pa.array(["我来到北京清华大学。\n" * 2])).to_pylist()
    assert row["jieba_duplicate_5_gram_characters"] == len("我来到北京清华大学。")
    empty = measure_jieba(pa.array([None, "", "\n \n"], pa.string())).to_pylist()
    assert all(set(found.values()) == {0} for found in empty)
