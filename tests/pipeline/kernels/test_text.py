"""The counts of `measure_text` against a slow, plain Python version of the same definitions."""

import gzip
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.counts import TEXT_COUNTS
from pipeline.kernels import count_columns
from pipeline.kernels import unicode_classes as unicode
from pipeline.kernels.text import STOP_WORDS_ZH, measure_text
from pipeline.kernels.word_list import STOP_WORDS

REAL_TEXT = Path(__file__).resolve().parents[3] / "../shared/data/text"
LANGUAGES = [
    "ar",
    "de",
    "en",
    "es",
    "fr",
    "he",
    "id",
    "it",
    "ja",
    "ko",
    "pl",
    "pt",
    "ru",
    "th",
    "tr",
    "vi",
    "zh",
]
TABLES = unicode.load_tables()
CLASSES = TABLES.classes.reshape(-1, 128)[TABLES.blocks].reshape(-1).tolist()  # by code point
WHITE_SPACE = "".join(chr(code_point) for code_point, bits in enumerate(CLASSES) if bits & unicode.SPACE)

# Characters on both sides of every definition, so that short random texts meet the rare cases.
PIECES = [
    *"aZé9½#.…\n\n\n  \t\u00a0'’-•*!?。；”中的年日·ーあ한กำ้ا\u0301\u00ad\u200d\ufe0f\u200b😀𠀀Ⱥİ_@\r\u2028",
    "the", "To", "aND", "have", "...", "......", "Don’t", "o'", "a line that is not short, not at all ",
    "\n\n", "a\n", "x" * 40, "a b a b ", "to be or not to be ", "one two three four five six seven ",
]  # fmt: skip


def having(bit: int, text: str) -> int:
    return sum(CLASSES[ord(character)] & bit != 0 for character in text)


# One letter per kind of character, so that the definition of a word can be written as a regular expression.
def kind(character: str) -> str:
    bits = CLASSES[ord(character)]
    if bits & unicode.WORD_ALONE:
        return "S"
    if bits & unicode.WORD_START:
        return "W"
    if bits & unicode.MARK:
        return "M"
    if bits & unicode.JOINER:
        return "J"
    return "'" if character in "'’" else " "


WORD = re.compile(r"S[MJ]*|W(?:[WMJ]|'(?=W))*")


def raw_words(text: str) -> list[str]:
    return [text[m.start() : m.end()] for m in WORD.finditer("".join(map(kind, text)))]


def slow_words(text: str) -> list[str]:
    return ["".join(c for c in word if kind(c) != "J").replace("’", "'") for word in raw_words(text)]


def slow_paragraphs(text: str) -> list[str]:
    """Runs of lines that are not blank."""
    runs = groupby(text.split("\n"), key=lambda line: line.strip(WHITE_SPACE) != "")
    return ["\n".join(run) for filled, run in runs if filled]


def slow_top(text: str, n: int) -> int:
    """datatrove's find_top_duplicate over get_n_grams, of words that are compared as they stand."""
    words, lengths = raw_words(text), [len(word) for word in slow_words(text)]
    places = range(len(words) - n + 1)
    if not places:
        return 0
    counts = Counter(tuple(words[at : at + n]) for at in places)
    top, times = counts.most_common(1)[0]
    first = next(at for at in places if tuple(words[at : at + n]) == top)
    return times * (sum(lengths[first : first + n]) + n - 1)


def slow_duplicates(text: str, n: int) -> int:
    """datatrove's find_all_duplicate."""
    words, lengths = raw_words(text), [len(word) for word in slow_words(text)]
    seen, at, characters = set(), 0, 0
    while at < len(words) - n + 1:
        gram = tuple(words[at : at + n])
        if gram in seen:
            characters += sum(lengths[at : at + n])
            at += n
        else:
            seen.add(gram)
            at += 1
    return characters


def later_copies(pieces: list[str]) -> list[str]:
    seen: set[str] = set()
    return [piece for piece in pieces if piece in seen or seen.add(piece)]


def slow_measures(text: str) -> dict[str, int]:
    words = slow_words(text)
    raw_lines = [line for line in text.split("\n") if line.strip(WHITE_SPACE)]
    lines = [line.strip(WHITE_SPACE) for line in raw_lines]
    paragraphs = slow_paragraphs(text)
    lowered = {word.lower() for word in words}
    return {
        "characters": len(text),
        "bytes": len(text.encode()),
        "words": len(words),
        "word_characters": sum(map(len, words)),
        "alphabetic_words": sum(having(unicode.LETTER, word) > 0 for word in words),
        "stop_words": len(lowered & set(STOP_WORDS)),
        "stop_words_zh": len(set(text) & set(STOP_WORDS_ZH)),
        "hash_symbols": text.count("#"),
        "ellipses": text.count("...") + text.count("…"),
        "lines": len(lines),
        "bullet_lines": sum(line[0] in unicode.BULLETS for line in lines),
        "ellipsis_lines": sum(line.endswith(("...", "…")) for line in lines),
        "punctuated_lines": sum(line[-1] in unicode.TERMINALS for line in lines),
        "ended_lines": sum(line[-1] in unicode.SENTENCE_ENDS for line in lines),
        "short_lines": sum(len(line) <= 30 for line in raw_lines),
        "duplicate_lines": len(later_copies(raw_lines)),
        "duplicate_line_characters": sum(map(len, later_copies(raw_lines))),
        "paragraphs": len(paragraphs),
        "duplicate_paragraphs": len(later_copies(paragraphs)),
        "duplicate_paragraph_characters": sum(map(len, later_copies(paragraphs))),
        "digit_characters": having(unicode.DIGIT, text),
        "alphabetic_characters": having(unicode.LETTER, text),
        "whitespace_characters": having(unicode.SPACE, text),
        "han_characters": having(unicode.HAN, text),
        "uppercase_characters": having(unicode.UPPER, text),
        "newlines": text.count("\n"),
        "longest_line_characters": max(map(len, raw_lines), default=0),
        "max_word_characters": max(map(len, words), default=0),
        "stop_word_occurrences": sum(word.lower() in STOP_WORDS for word in words),
        "copied_lines": len(set(later_copies(raw_lines))),
        "copied_line_characters": sum(map(len, set(later_copies(raw_lines)))),
        "copied_paragraphs": len(set(later_copies(paragraphs))),
        "copied_paragraph_characters": sum(map(len, set(later_copies(paragraphs)))),
        "paragraph_characters": sum(map(len, paragraphs)),
        **{f"top_{n}_gram_characters": slow_top(text, n) for n in (2, 3, 4)},
        **{f"duplicate_{n}_gram_characters": slow_duplicates(text, n) for n in range(5, 11)},
    }


def measured(text: pa.Array) -> list[dict[str, int]]:
    return measure_text(text).to_pylist()


def read_real_text(language: str) -> Iterator[str]:
    path = REAL_TEXT / f"{language}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"real text is not here: {path}")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["text"]


def test_every_count_of_a_small_text() -> None:
    boat = "The OLD man’s boat…\n"
    text = f"{boat}\n• go to the sea...\n• go to the sea...\n \n是的，1999 年。\n\n\n{boat}"
    assert measured(pa.array([text])) == [
        {
            "characters": 94, "bytes": 116, "words": 20, "word_characters": 57, "alphabetic_words": 19,
            "stop_words": 2, "stop_words_zh": 3, "hash_symbols": 0, "ellipses": 4, "lines": 5,
            "bullet_lines": 2, "ellipsis_lines": 4, "punctuated_lines": 5, "short_lines": 5,
            "duplicate_lines": 2, "duplicate_line_characters": 37, "paragraphs": 4,
            "duplicate_paragraphs": 1, "duplicate_paragraph_characters": 19, "digit_characters": 4,
            "alphabetic_characters": 51, "whitespace_characters": 25, "han_characters": 3,
            "uppercase_characters": 8, "newlines": 9, "longest_line_characters": 19,
            "max_word_characters": 5, "stop_word_occurrences": 6, "top_2_gram_characters": 14,
            "top_3_gram_characters": 26, "top_4_gram_characters": 36, "duplicate_5_gram_characters": 0,
            "duplicate_6_gram_characters": 0, "duplicate_7_gram_characters": 0,
            "duplicate_8_gram_characters": 0, "duplicate_9_gram_characters": 0,
            "duplicate_10_gram_characters": 0, "copied_lines": 2, "copied_line_characters": 37,
            "copied_paragraphs": 1, "copied_paragraph_characters": 19, "paragraph_characters": 85,
            "ended_lines": 3,
        }
    ]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=40).map("".join), max_size=5))
def test_random_texts_of_telling_pieces(texts: list[str]) -> None:
    assert measured(pa.array(texts, pa.string())) == [slow_measures(text) for text in texts]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=4))
def test_random_unicode(texts: list[str]) -> None:
    assert measured(pa.array(texts, pa.string())) == [slow_measures(text) for text in texts]


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_one_document_with_every_character(step: int) -> None:
    characters = [
        chr(code_point) for code_point in range(0, 0x110000, step) if not 0xD800 <= code_point < 0xE000
    ]
    random.Random(3).shuffle(characters)
    texts = ["".join(characters[start : start + 20_000]) for start in range(0, len(characters), 20_000)]
    assert measured(pa.array(texts)) == [slow_measures(text) for text in texts]


@pytest.mark.parametrize("language", LANGUAGES)
def test_real_text(language: str) -> None:
    texts = []
    for text in read_real_text(language):
        texts.append(text[:4_000])
        if len(texts) == 10:
            break
    texts.append("\n".join(texts[:3]) + "\n\n" + "\n".join(texts[:2]))  # paragraphs and lines come twice
    for row, text in zip(measured(pa.array(texts)), texts, strict=True):
        assert row == slow_measures(text)


@pytest.mark.parametrize("storage", [pa.string(), pa.large_string()])
def test_slices_and_nulls(storage: pa.DataType) -> None:
    texts = ["gone", "a b\na b", None, "", "年年有余。", "gone"]
    rows = measured(pa.array(texts, storage).slice(1, 4))
    assert rows == [slow_measures(text or "") for text in texts[1:5]]
    assert set(rows[1].values()) == {0}


def test_columns_are_in_the_order_of_the_schema() -> None:
    numbers = {name.lower(): number for name, number in vars(count_columns).items() if name.isupper()}
    assert numbers.pop("columns") == len(TEXT_COUNTS)
    assert all(list(TEXT_COUNTS)[number] == name for name, number in numbers.items())
    runs = [f"top_{n}_gram_characters" for n in (3, 4)]
    runs += [f"duplicate_{n}_gram_characters" for n in range(6, 11)]  # they follow the first of their kind
    assert sorted([*numbers, *runs]) == sorted(TEXT_COUNTS)


def test_no_documents_still_have_all_columns() -> None:
    batch = measure_text(pa.array([], pa.string()))
    assert batch.num_rows == 0
    assert batch.schema == pa.schema([(name, pa.uint32()) for name in TEXT_COUNTS])


def test_a_document_does_not_depend_on_its_neighbours() -> None:
    texts = [
        "same line\nsame line",
        "same line",
        "x\n" * 1_000,
        "same line\n\nsame line",
        "…",
        ".",
        "..",
        ".",
    ]
    together = measured(pa.array(texts))
    assert together == [measured(pa.array([text]))[0] for text in texts]


def test_many_lines_and_long_lines() -> None:
    rng = random.Random(5)
    lines = [rng.choice("abcdefgh") * rng.randrange(1, 90) for _ in range(3_000)] + [
        str(n) for n in range(3_000)
    ]
    rng.shuffle(lines)
    text = "\n".join(line + "\n" * (rng.random() < 0.3) for line in lines)
    assert measured(pa.array([text])) == [slow_measures(text)]


def test_lines_that_differ_in_one_byte_are_not_duplicates() -> None:
    base = "0123456789abcdefghijklmnopqrstuvwxyz"
    changed = [base[:place] + "#" + base[place + 1 :] for place in range(len(base))]
    (row,) = measured(pa.array(["\n".join([base, *changed])]))
    assert row["duplicate_lines"] == 0
    assert row["lines"] == len(base) + 1


@pytest.mark.parametrize(
    "broken", [b"\xe4", b"a\xf0\x9f", b"\xff\xfe", b"\x80\x80", b"\xf7\xbf\xbf\xbf", b"\xc3\n\xc3"]
)
def test_broken_utf8_is_counted_without_reading_on(broken: bytes) -> None:
    """The next document begins where the broken one ends, and must be counted as if alone."""
    storage = pa.array([broken, b"fine \xe4\xb8\xad"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 2, storage.buffers())
    first, second = measure_text(text).to_pylist()
    assert second == slow_measures("fine 中")
    assert first["bytes"] == len(broken)
    assert 1 <= first["characters"] <= len(broken)
