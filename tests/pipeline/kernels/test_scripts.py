"""Counts of scripts and Chinese varieties against slow, plain Python on Unicode's names."""

import random
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.counts import SCRIPT_COUNTS
from pipeline.kernels import scripts
from pipeline.kernels.fold import HANS_TABLE
from pipeline.kernels.scripts import CANTONESE, build_classes, count_scripts, load_classes

NAMES = {
    "kana_characters": ("HIRAGANA ", "KATAKANA ", "HALFWIDTH KATAKANA ", "KATAKANA-HIRAGANA PROLONGED "),
    "hangul_characters": ("HANGUL ", "HALFWIDTH HANGUL "),
    "latin_characters": ("LATIN ", "FULLWIDTH LATIN ", "FEMININE ORDINAL ", "MASCULINE ORDINAL "),
    "cyrillic_characters": ("CYRILLIC ",),
    "arabic_characters": ("ARABIC ",),
}
PAIRS = {line[0]: line[1] for line in HANS_TABLE.read_text(encoding="utf-8").splitlines() if line[0] != "#"}
HAN = "".join([*PAIRS, *PAIRS.values(), CANTONESE])
# Letters, and what stands beside them in the code charts, of every script counted and of some that are not.
SCRIPTS = "azAZ@[`{09 éªºßĀɐｚＺ①あアーｱ・゛㋐한ㄱᄀㅏяЁҀ҂҆\u2de0عـ٣؟\u064bﷲ\U0001ee00\U0001b001αאไกदހ中々"
PIECES = [
    *SCRIPTS,
    *"后里干台裡後乾臺著着嘅咗嗰谂係",
    "plain words, of ASCII only ",
    "中文字",
    "русский",
    "\n",
]
unicode_14 = pytest.mark.skipif(
    unicodedata.unidata_version != "14.0.0", reason="the table is of Unicode 14.0 (Python 3.11)"
)


def in_charset(character: str, charset: str) -> bytes:
    try:
        return character.encode(charset)
    except UnicodeEncodeError:
        return b""


ONLY_TRADITIONAL = {c for c in PAIRS if not in_charset(c, "gb2312")}
ONLY_SIMPLIFIED = {
    c
    for c in PAIRS.values()
    if c not in PAIRS and not 0xA440 <= int.from_bytes(in_charset(c, "big5")) <= 0xC67E
}


def slow_counts(text: str) -> dict[str, int]:
    letters = [c for c in text if unicodedata.category(c)[0] == "L"]
    counts = {
        script: sum(unicodedata.name(c, "").startswith(names) for c in letters)
        for script, names in NAMES.items()
    }
    counts["simplified_characters"] = sum(c in ONLY_SIMPLIFIED for c in text)
    counts["traditional_characters"] = sum(c in ONLY_TRADITIONAL for c in text)
    counts["cantonese_characters"] = sum(c in CANTONESE for c in text)
    counts["variety_characters"] = counts["simplified_characters"] + counts["traditional_characters"]
    return counts


def counted(text: pa.Array) -> list[dict[str, int]]:
    return count_scripts(text).to_pylist()


@unicode_14
def test_the_table_is_what_the_generator_makes() -> None:
    np.testing.assert_array_equal(load_classes(), build_classes())


@unicode_14
def test_one_document_with_every_character() -> None:
    characters = [chr(code_point) for code_point in range(0x110000) if not 0xD800 <= code_point < 0xE000]
    random.Random(5).shuffle(characters)
    texts = ["".join(characters[start : start + 50_000]) for start in range(0, len(characters), 50_000)]
    assert counted(pa.array(texts)) == [slow_counts(text) for text in texts]
    assert max(map(ord, HAN)) < scripts.CODE_POINTS


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.sampled_from([*PIECES, *HAN[::97]]), max_size=40).map("".join), max_size=5))
def test_random_texts_of_all_scripts(texts: list[str]) -> None:
    assert counted(pa.array(texts, pa.string())) == [slow_counts(text) for text in texts]


@unicode_14
@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=4))
def test_random_unicode(texts: list[str]) -> None:
    assert counted(pa.array(texts, pa.string())) == [slow_counts(text) for text in texts]


@pytest.mark.parametrize("start", range(9))
def test_words_of_eight_bytes_begin_anywhere(start: int) -> None:
    """ASCII is read eight bytes at a time: the other character stands at each place of the eight in turn."""
    texts = ["Zz@[`{ aA"[:start] + "é" + "QqWw09 -Ee"[: 9 - start] for _ in range(2)]
    assert counted(pa.array(texts)) == [slow_counts(text) for text in texts]


@pytest.mark.parametrize("storage", [pa.string(), pa.large_string()])
def test_slices_and_nulls(storage: pa.DataType) -> None:
    texts = ["gone", "ab\ncdefghij", None, "", "年年有餘，余", "gone"]
    rows = counted(pa.array(texts, storage).slice(1, 4))
    assert rows == [slow_counts(text or "") for text in texts[1:5]]
    assert set(rows[1].values()) == {0}
    empty = count_scripts(pa.array([], storage))
    assert empty.schema == pa.schema([(name, pa.uint32()) for name in SCRIPT_COUNTS])


@pytest.mark.parametrize("broken", [b"\xe4", b"a\xf0\x9f", b"\xff\xfe", b"\x80\x80", b"\xf7\xbf\xbf\xbf"])
def test_broken_utf8_is_counted_without_reading_on(broken: bytes) -> None:
    storage = pa.array([broken, "國fine".encode()], pa.binary())
    first, second = counted(pa.Array.from_buffers(pa.string(), 2, storage.buffers()))
    assert second == slow_counts("國fine")
    assert first["latin_characters"] == broken.count(b"a") and first["variety_characters"] == 0


def test_the_order_of_columns_is_that_of_the_bits() -> None:
    assert [name.removesuffix("_characters") for name in SCRIPT_COUNTS] == [*scripts._COUNTED, "variety"]


# Sentence -> (simplified only, traditional only, Cantonese) characters, counted by hand.
GOLDEN = {
    "这个网站为什么打不开？": (5, 0, 0),  # 这 个 网 为 开; 么 and 什 are written by both
    "這個網站為什麼打不開？": (0, 6, 0),  # 這 個 網 為 麼 開
    "皇后住在那里，台北下雨，干了一杯，余先生只看面子": (0, 0, 0),  # both: 后 里 台 干 余 只 面
    "皇后在後面，這裡那里": (0, 2, 0),  # 這 裡; 後 is in GB 2312, and simplified books write it
    "你喺邊度？我哋嚟咗冇幾耐。": (0, 2, 5),  # 邊 幾; 喺 哋 嚟 咗 冇
    "佢谂紧嘢": (2, 0, 3),  # 谂 紧; 谂 is Cantonese, too, and counts in both
    "關係著作": (0, 2, 0),  # 關 係, which Cantonese writes often and Mandarin too
    "乾坤与瞭望": (1, 0, 0),  # 乾 and 瞭 are in GB 2312; 与 is not among the frequent ones of Big5
}


@pytest.mark.parametrize("sentence", GOLDEN)
def test_varieties_of_known_sentences(sentence: str) -> None:
    (found,) = counted(pa.array([sentence]))
    kinds = ("simplified_characters", "traditional_characters", "cantonese_characters")
    assert tuple(found[kind] for kind in kinds) == GOLDEN[sentence]
