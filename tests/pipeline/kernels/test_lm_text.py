"""Words for language models against CCNet's normalisation in plain Python, by character and on text."""

import re
import unicodedata
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kernels.buffers import TextBuffers
from pipeline.kernels.lm_text import (
    _GROWTH,
    PUNCTUATION,
    FormTables,
    build_forms,
    form_of,
    load_forms,
    tokenize_text,
)
from pipeline.kernels.unicode_classes import _WHITE_SPACE, MARK, WORD_ALONE, WORD_START, classify

unicode_14 = pytest.mark.skipif(
    unicodedata.unidata_version != "14.0.0", reason="the table is of Unicode 14.0 (Python 3.11)"
)
ODD = "Don’t RE-use 3.5 kg… 米酒！٣Ünïcode\tx\n\n　한국 —が ﬁ½ ｗ１ Σς\u200bx İ «»𝟘 ก็ 𝅗𝅥é"


def words_of(text: str) -> list[list[str]]:
    """The definition, slowly: lines, then cc_net's normalize on what white space separates, then words."""
    lines = []
    for line in text.split("\n"):
        found = []
        for chunk in re.split(f"[{re.escape(_WHITE_SPACE)}]+", line):
            visible = "".join(c for c in chunk if unicodedata.category(c) != "Cf")
            lower = "".join(c.lower() for c in visible)  # sigma has one lower case here
            plain = "".join(c for c in unicodedata.normalize("NFD", lower) if unicodedata.category(c) != "Mn")
            plain = "".join(PUNCTUATION.get(c, c) for c in re.sub(r"\d", "0", plain))
            plain = re.sub(r"[\x00-\x1f\x7f-\x9f]", "", plain)
            found += _cut(plain)
        if found:
            lines.append(found)
    return lines


def _runs(character: str) -> bool:
    classes = classify(character)
    return bool(classes & (WORD_START | MARK)) and not classes & WORD_ALONE


def _cut(plain: str) -> list[str]:
    words: list[str] = []
    running = False
    for character in plain:
        if _runs(character):
            words = [*words[:-1], words[-1] + character] if running else [*words, character]
        elif character != " ":
            words.append(character)
        running = _runs(character)
    return words


def tokens_of(buffers: TextBuffers) -> list[list[list[str]]]:
    raw, offsets = buffers.bytes.tobytes(), buffers.offsets
    found = []
    for start, end in pairwise(offsets.tolist()):
        text = raw[start:end].decode("utf-8", "surrogatepass")
        assert not text or text.endswith("\n")
        found.append([line.split(" ") for line in text.split("\n")[:-1]])
    return found


@unicode_14
def test_every_character_between_two_letters() -> None:
    # All of the first planes' alphabets, and some of everything else; notes fall into heads and stems, and a
    # letter behind a stem begins a word of its own.
    codes = [*range(0x3400), *range(0xA000, 0xAC00), *range(0xF900, 0x10000), *range(0, 0x110000, 97)]
    notes = {*range(0x1D15E, 0x1D165), *range(0x1D1BB, 0x1D1C1)}
    texts = [f"a{chr(code)}b" for code in codes if not 0xD800 <= code < 0xE000 and code not in notes]
    found = tokens_of(tokenize_text(pa.array(texts)))
    wrong = [(text, words) for text, words in zip(texts, found, strict=True) if words != words_of(text)]
    assert not wrong, wrong[:5]


@pytest.mark.slow
@unicode_14
def test_the_table_is_what_this_python_makes() -> None:
    built = build_forms()
    assert all(np.array_equal(getattr(built, n), getattr(load_forms(), n)) for n in FormTables._fields)


def test_no_character_grows_beyond_its_room() -> None:
    for code in (*range(0x3000), *range(0xAC00, 0xD7A4), *range(0xF900, 0x10000), *range(0x1D000, 0x1D800)):
        if not 0xD800 <= code < 0xE000:
            _, form = form_of(chr(code))
            size = len(chr(code).encode())
            assert max(len(form), size) + 2 <= _GROWTH * size


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(ODD)), max_size=5))
@settings(max_examples=150, deadline=None)
@unicode_14
def test_any_text(texts: list[str]) -> None:
    assert tokens_of(tokenize_text(pa.array(texts, pa.string()))) == [words_of(text) for text in texts]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_slices_nulls_and_empty_texts(kind: pa.DataType) -> None:
    texts = [ODD, None, "", " \n ", "a"]
    array = pa.array([*texts, "never read"], kind)
    found = tokens_of(tokenize_text(array.slice(1, 4)))
    assert found == [[], [], [], [["a"]]]
    assert tokens_of(tokenize_text(array))[0] == tokens_of(tokenize_text(pa.array([ODD])))[0]
    assert tokens_of(tokenize_text(array.slice(0, 0))) == []


def test_what_is_caught_of_disguises() -> None:
    """Full-width digits, accents and invisible characters: as plain. Other letters: other words."""
    texts = ["pay 100", "p\u200ba\u00ady 1\u20600\u200d0", "páy 100", "pay １００", "ｐａｙ 100", "pаy 100"]
    plain, zero_width, accents, full_width_digits, full_width, cyrillic = tokens_of(
        tokenize_text(pa.array(texts))
    )
    assert plain == [["pay", "000"]] == zero_width == accents == full_width_digits
    assert full_width != plain and cyrillic != plain
