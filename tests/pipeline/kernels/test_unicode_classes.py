"""The frozen character table against Python's Unicode database and against what kernels take for granted."""

import unicodedata

import numpy as np
import pytest

from pipeline.kernels import unicode_classes as unicode

TABLES = unicode.load_tables()
# By code point.
CLASSES = TABLES.classes.reshape(-1, 128)[TABLES.blocks].reshape(-1)
LOWER = np.arange(unicode.LAST_CODE_POINT + 1) + TABLES.lower.reshape(-1, 128)[TABLES.blocks].reshape(-1)


def having(bit: int) -> list[str]:
    return list(map(chr, np.flatnonzero(CLASSES & bit)))


@pytest.mark.skipif(
    unicodedata.unidata_version != "14.0.0", reason="the table is of Unicode 14.0 (Python 3.11)"
)
def test_the_table_is_what_the_generator_makes() -> None:
    for name, frozen, built in zip(TABLES._fields, TABLES, unicode.build_tables(), strict=True):
        assert frozen.dtype == built.dtype, name
        np.testing.assert_array_equal(frozen, built, err_msg=name)


def test_ascii_is_the_first_block() -> None:
    assert TABLES.blocks[0] == 0
    assert len(TABLES.blocks) == 0x110000 >> unicode.BLOCK_BITS


@pytest.mark.parametrize(
    ("characters", "expected"),
    [
        ("aé", unicode.LETTER),
        ("AÉЖ", unicode.LETTER | unicode.UPPER),
        ("7٣", unicode.NUMBER | unicode.DIGIT),
        ("½Ⅷ²", unicode.NUMBER),
        ("\u0301\u0e31", unicode.MARK),
        ("\u200c\u200d\u00ad\ufe0f\u200e", unicode.JOINER),
        (" \t\n\u00a0\u3000", unicode.SPACE),
        (",(、", unicode.PUNCTUATION),
        ("。！", unicode.PUNCTUATION | unicode.TERMINAL | unicode.SENTENCE_END),
        ("•‣", unicode.PUNCTUATION | unicode.BULLET),
        ("$€😀", unicode.SYMBOL),
        ("中龥々〆\U00020000\U00031350", unicode.LETTER | unicode.HAN),
        ("〇〡", unicode.NUMBER | unicode.HAN),
        ("あアーｱ", unicode.LETTER | unicode.KANA),
        ("한ㄱᄀ", unicode.LETTER | unicode.HANGUL),
        ("กລកကཀ", unicode.LETTER | unicode.UNSEGMENTED),
        ("\u200b\x00\ufeff\ufffe", 0),
    ],
)
def test_classes_of_known_characters(characters: str, expected: int) -> None:
    assert {character: CLASSES[ord(character)] for character in characters} == dict.fromkeys(
        characters, expected
    )


def test_terminals_and_bullets_are_exactly_the_documented_ones() -> None:
    assert having(unicode.TERMINAL) == sorted(set(unicode.TERMINALS))
    assert having(unicode.BULLET) == sorted(set(unicode.BULLETS))


def test_lower_case_is_the_simple_mapping() -> None:
    for upper, lower in ("Aa", "Éé", "Жж", "İi", "Ⱥⱥ", "ẞß", "中中", "Σσ", "𐐀𐐨"):
        assert LOWER[ord(upper)] == ord(lower)


def test_lower_case_grows_by_half_at_most() -> None:
    """What `fold_text` sizes its output by."""
    for code_point in np.flatnonzero(np.arange(len(LOWER)) != LOWER):
        assert len(chr(LOWER[code_point]).encode()) * 2 <= len(chr(code_point).encode()) * 3, hex(code_point)


def test_no_marks_among_the_common_ideographs() -> None:
    """What `next_word` leaves out looking for: nothing in U+4000..U+9FFF continues a word."""
    assert not np.any(CLASSES[0x4000:0xA000] & unicode.WORD_INSIDE)


def test_word_classes_do_not_overlap() -> None:
    assert not np.any(
        (TABLES.classes & unicode.WORD_START != 0) & (TABLES.classes & unicode.WORD_INSIDE != 0)
    )
    alone = TABLES.classes[TABLES.classes & unicode.WORD_ALONE != 0]
    assert np.all(alone & unicode.WORD_START)
