import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.annotate.normalize import normalize_text

TRICKY = st.text(
    alphabet=st.sampled_from(
        "a é e\u0301\u3000\u00a0\u2028\r\n\t\x00\u200b\u200d\ufeff\u2000\xad가\u1100\u1161 "
    )
)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("a\r\nb\rc\x85d\u2028e\x0cf", "a\nb\nc\nd\ne\nf"),
        ("e\u0301", "\u00e9"),
        ("e\u200b\u0301", "\u00e9"),  # composed only after the invisible character is gone
        ("a\u00a0b\u2003c", "a b c"),
        ("a   b", "a b"),
        ("def f():\n    return  1\n\tx", "def f():\n    return 1\n\tx"),
        ("    first line", "    first line"),
        ("a\tb", "a\tb"),
        ("a  \t\u3000\nb ", "a\nb"),
        ("\u3000\u3000\u7b2c\u4e00\u6bb5", "\u3000\u3000\u7b2c\u4e00\u6bb5"),
        ("\u6807\u9898\u3000\u4f5c\u8005", "\u6807\u9898\u3000\u4f5c\u8005"),
        ("a\n\n\n \n\nb", "a\n\nb"),
        ("\n\na\n\n", "a"),
        ("\x00a\x07b\x7fc\x9f", "abc"),
        ("so\u00adft \ufeffmark", "soft mark"),
        ("\ud800x\udfff", "\ufffdx\ufffd"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        ),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
        (" \n\t\n", ""),
        ("", ""),
    ],
)
def test_cases(text: str, normal: str) -> None:
    assert normalize_text(text) == normal


@given(st.one_of(TRICKY, st.text()))
@example("\u0344\u2000")
def test_normalising_twice_changes_nothing(text: str) -> None:
    normal = normalize_text(text)
    assert normalize_text(normal) == normal
    assert unicodedata.is_normalized("NFC", normal)
    assert "\n\n\n" not in normal and " \n" not in normal and "\r" not in normal
    normal.encode()


def test_every_character_is_stable_and_encodable() -> None:
    for code in [
        *range(0x3200),
        *range(0xAC00, 0x11200, 7),
        *range(0xF800, 0x10000),
        *range(0x1D000, 0x1F000, 3),
    ]:
        normal = normalize_text(f"a{chr(code)}b")
        assert (normal[0] == "a" and normal.endswith("b")) or unicodedata.combining(chr(code))
        if normal != f"a{chr(code)}b":
            assert normalize_text(normal) == normal
            normal.encode()
