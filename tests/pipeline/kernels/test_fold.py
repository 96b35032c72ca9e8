"""fold-v1 against a plain Python version, and frozen."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kernels import unicode_classes as unicode
from pipeline.kernels.buffers import text_array
from pipeline.kernels.fold import KEPT, fold_text

TABLES = unicode.load_tables()
CLASSES = TABLES.classes.reshape(-1, 128)[TABLES.blocks].reshape(-1).tolist()
LOWER = TABLES.lower.reshape(-1, 128)[TABLES.blocks].reshape(-1).tolist()


def slow_fold(text: str) -> str:
    return "".join(chr(ord(c) + LOWER[ord(c)]) for c in text if CLASSES[ord(c)] & KEPT)


def folded(text: pa.Array) -> list[str]:
    return text_array(fold_text(text)).to_pylist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!  3.5 kg", "helloworld35kg"),
        ("ÉCOLE\u00a0№ 5½ — Straße", "école5½straße"),
        ("米酒（ＡＢ）和茶。\n", "米酒ａｂ和茶"),  # no NFKC: full-width letters stay full-width
        ("ÀÈ İI ẞ Σς", "àèiißσς"),
        ("किताब กำลัง مَرْحَبًا", "किताबกำลังمَرْحَبًا"),  # marks are spelling
        ("co\u00adop می\u200cخواهم 👍🏽 ❤\ufe0f 1\ufe0f\u20e3", "coopمیخواهم1\u20e3"),
        ("ȺȾ" * 5, "ⱥⱦ" * 5),
        ("𐐀𠀀!", "𐐨𠀀"),
        ("... —— ！？ 😀", ""),
        ("", ""),
    ],
)
def test_known_folds(text: str, expected: str) -> None:
    assert folded(pa.array([text])) == [expected]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=80), st.text("AbȺ é中. \u0301😀", max_size=80)), max_size=5))
def test_random_unicode(texts: list[str]) -> None:
    assert folded(pa.array(texts, pa.string())) == [slow_fold(text) for text in texts]


def test_every_character_and_folding_twice() -> None:
    text = "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)
    (once,) = folded(pa.array([text]))
    assert once == slow_fold(text)
    assert folded(pa.array([once])) == [once]


@pytest.mark.parametrize("storage", [pa.string(), pa.large_string()])
def test_slices_and_nulls(storage: pa.DataType) -> None:
    text = pa.array(["Gone", "A b", None, "", "C-d", "Gone"], storage).slice(1, 4)
    buffers = fold_text(text)
    assert text_array(buffers).to_pylist() == ["ab", "", "", "cd"]
    assert buffers.offsets[0] == 0
    assert folded(pa.array([], storage)) == []


def test_broken_utf8_folds_to_what_is_whole_in_it() -> None:
    storage = pa.array([b"A\xe4", b"\xb8B", b"\xc3"], pa.binary())
    assert folded(pa.Array.from_buffers(pa.string(), 3, storage.buffers())) == ["a", "b", ""]
