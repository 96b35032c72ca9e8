"""What kind of character a code point is, and its lower case: one frozen table, the same on every host.

`unicode_classes.npz` (Unicode 14.0, the version of Python 3.11) is written by `python -m
pipeline.kernels.unicode_classes` and committed, so that no library update changes what a word is; a new
Unicode version is a new table and a new corpus. Python's `unicodedata` knows general categories but no
scripts, so scripts are taken from character names.

The table has two levels: `blocks[code point >> 7]` names a block of 128 entries. It takes about 0.2 MB in
memory, and the blocks of one language fit the first-level cache.
"""

import unicodedata
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.buffers import read_only

TABLE_FILE = Path(__file__).with_name("unicode_classes.npz")
BLOCK_BITS = 7
LAST_CODE_POINT = 0x10FFFF

# One bit each. The categories are those of Unicode.
LETTER = 1 << 0  # L*
NUMBER = 1 << 1  # N*
DIGIT = 1 << 2  # Nd, a part of NUMBER
MARK = 1 << 3  # M* without variation selectors
JOINER = 1 << 4  # invisible inside a word: soft hyphen, (non-)joiners, direction marks, variation selectors
SPACE = 1 << 5  # the White_Space property
PUNCTUATION = 1 << 6  # P*
SYMBOL = 1 << 7  # S*
HAN = 1 << 8  # ideographs, 々 〇 〆 among them
KANA = 1 << 9  # hiragana, katakana, ー
HANGUL = 1 << 10
UNSEGMENTED = 1 << 11  # letters of other scripts written without spaces: Thai, Lao, Khmer, Myanmar, Tibetan
UPPER = 1 << 12  # Lu
TERMINAL = 1 << 13  # may end a sentence, see TERMINALS
BULLET = 1 << 14  # may begin an item of a list, see BULLETS
SENTENCE_END = 1 << 15  # ends a sentence by itself, see SENTENCE_ENDS; a part of TERMINAL

WORD_START = LETTER | NUMBER
WORD_ALONE = HAN | KANA | UNSEGMENTED
WORD_INSIDE = MARK | JOINER

# FineWeb's line end set `. ' " ! ?` (fineweb_quality_filter.py), with the same marks of other scripts (from
# Unicode's Sentence_Terminal), the ellipsis, colons and semicolons, and closing quotation marks of any
# tradition.
TERMINALS = ".?!;:\"'…。！？；：．｡‼‽⁇⁈⁉" + "։؟؛۔।॥။።៕᠃" + "”’“」』»«›"
# Those of them that have Unicode's property Sentence_Terminal, as datatrove takes them since 0.3: no quotes,
# no colons, no ellipsis.
SENTENCE_ENDS = ".?!。！？．｡‼⁇⁈⁉" + "։؟۔।॥។៕᠃"
# Gopher's and datatrove's `•` and `-`, dolma's `*`, and the bullets that browsers and word processors write.
# No dashes longer than a hyphen: in Spanish, French or Russian these begin the lines of a dialogue.
BULLETS = "•-*‣⁃◦∙·●○■□▪▫▶►➢➤・"

_WHITE_SPACE = "\t\n\v\f\r \u0085\u00a0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_JOINERS = "\u00ad\u034f\u061c\u200c\u200d\u200e\u200f\u2060" + "".join(map(chr, range(0x202A, 0x202F)))
_UNSEGMENTED_SCRIPTS = ("THAI ", "LAO ", "KHMER ", "MYANMAR ", "TIBETAN ")
_HAN_NAMES = (
    "CJK UNIFIED IDEOGRAPH-",
    "CJK COMPATIBILITY IDEOGRAPH-",
    "HANGZHOU NUMERAL ",
    "IDEOGRAPHIC ITERATION MARK",
)
_KANA_NAMES = ("HIRAGANA ", "KATAKANA ", "HALFWIDTH KATAKANA ", "KATAKANA-HIRAGANA PROLONGED SOUND MARK")
# Planes 2 and 3 are reserved for ideographs as a whole, so later additions to them are Han in this table
# already.
_IDEOGRAPHIC_PLANES = (range(0x20000, 0x2FFFE), range(0x30000, 0x3FFFE))


class UnicodeTables(NamedTuple):
    """Two levels: character c has the entry `blocks[c >> 7] * 128 + c % 128` of `classes` and `lower`.

    `blocks`: uint16 [8704]. `classes`: uint16 [entries], the bits above. `lower`: int32 [entries], to be
    added to the code point for its lower case.
    """

    blocks: NDArray[np.uint16]
    classes: NDArray[np.uint16]
    lower: NDArray[np.int32]


def classify(character: str) -> int:
    """The class bits of one character, by this Python's `unicodedata`."""
    if any(ord(character) in plane for plane in _IDEOGRAPHIC_PLANES):
        return LETTER | HAN
    category = unicodedata.category(character)
    name = unicodedata.name(character, "")
    variation_selector = "VARIATION SELECTOR" in name
    classes = {"L": LETTER, "N": NUMBER, "M": MARK, "P": PUNCTUATION, "S": SYMBOL}.get(category[0], 0)
    if character in _JOINERS or variation_selector:
        classes = JOINER
    if category == "Nd":
        classes |= DIGIT
    if category == "Lu":
        classes |= UPPER
    if character in _WHITE_SPACE:
        classes |= SPACE
    if classes & WORD_START:
        if name.startswith(_HAN_NAMES) or character in "〆〇":
            classes |= HAN
        elif name.startswith(_KANA_NAMES):
            classes |= KANA
        elif name.startswith(("HANGUL ", "HALFWIDTH HANGUL ")):
            classes |= HANGUL
    if classes & LETTER and name.startswith(_UNSEGMENTED_SCRIPTS):
        classes |= UNSEGMENTED
    if character in TERMINALS:
        classes |= TERMINAL
    if character in BULLETS:
        classes |= BULLET
    if character in SENTENCE_ENDS:
        classes |= SENTENCE_END
    return classes


def build_tables() -> UnicodeTables:
    """The table as this Python's Unicode version makes it (about 1 s)."""
    size = 1 << BLOCK_BITS
    numbers: dict[tuple[tuple[int, int], ...], int] = {}
    blocks = []
    for start in range(0, LAST_CODE_POINT + 1, size):
        # Simple case mapping: İ, the only character whose full lower case is two code points, becomes i.
        block = tuple(
            (classify(character), ord(character.lower()[0]) - ord(character))
            for character in map(chr, range(start, start + size))
        )
        blocks.append(numbers.setdefault(block, len(numbers)))
    entries = np.array(list(numbers), np.int32).reshape(-1, 2)
    return UnicodeTables(np.array(blocks, np.uint16), entries[:, 0].astype(np.uint16), entries[:, 1].copy())


@cache
def load_tables() -> UnicodeTables:
    """The committed table, read once per process."""
    with np.load(TABLE_FILE, allow_pickle=False) as arrays:
        return UnicodeTables(*(read_only(arrays[name]) for name in UnicodeTables._fields))


if __name__ == "__main__":
    np.savez_compressed(TABLE_FILE, **build_tables()._asdict())
