"""Which scripts the letters of a text belong to, and which Chinese it is written in, as integer counts.

`counts.SCRIPT_COUNTS` says what each count is; nothing is judged here. One byte per code point, a bit for
each count, in one frozen table (`scripts-v1.npz`, Unicode 14.0, written by `python -m
pipeline.kernels.scripts`).

- Scripts: letters (category L) whose Unicode name begins with that of the script; kana and hangul as
  unicode_classes.py has them.
- *Traditional only*: what OpenCC's table (hans-v1.txt) simplifies and the simplified standard GB 2312 lacks.
  *Simplified only*: the forms it simplifies to that are not among the 5,401 frequent characters of the
  traditional standard Big5. So characters that both write count for neither: 后 里 干 台 面 只 (simplified
  forms of 後 裡 乾 臺 麵 隻, and ordinary traditional characters), 乾 瞭 於 後 (in GB 2312 too, and in
  simplified books). This leaves 4,090 and 3,775 characters. Measured: about 30 % of the Han characters of a
  text are of one of the two kinds; of 5,283 books and articles, all but 3 have less than 5 % or more than
  95 % of one among both, and those in simplified characters 0.15 % that are traditional only.
  Japanese writes some of both (国 会, 橋 車), so these counts speak of Chinese text only.
- *Cantonese*: 45 characters of written Cantonese that Mandarin hardly writes. Measured on 1,000 sentences of
  Tatoeba each: 18 % of the Han characters of Cantonese, in 828 sentences (most of the others have nothing
  that is only Cantonese); in 1 sentence labelled Mandarin, which is Cantonese, and in none of Wu. Left out
  because Mandarin needs them too: 係 俾 畀 啦 喇 呢 咪 仲 埋 邊.

Cost: see tests/benchmarks/language.py; about 2.2 GB/s of ASCII, 0.5 of Chinese, 0.25 of Russian.
"""

import unicodedata
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.counts import SCRIPT_COUNTS
from pipeline.kernels.buffers import count_batch, read_only, text_buffers
from pipeline.kernels.fold import HANS_TABLE
from pipeline.kernels.jit import count_zeros, kernel, load_eight
from pipeline.kernels.unicode_classes import HANGUL, KANA, LETTER, classify
from pipeline.kernels.words import decode

TABLE_FILE = Path(__file__).with_name("scripts-v1.npz")
CODE_POINTS = 0x32000  # up to the end of Han extension H: no letter counted here comes after it
# One bit each, in the order of the first eight of SCRIPT_COUNTS.
_COUNTED = ("kana", "hangul", "latin", "cyrillic", "arabic", "simplified", "traditional", "cantonese")
_KANA, _HANGUL, _LATIN, _CYRILLIC, _ARABIC, _SIMPLIFIED, _TRADITIONAL, _CANTONESE = (
    1 << number for number in range(len(_COUNTED))
)
LATIN, SIMPLIFIED, TRADITIONAL, VARIETY = 2, 5, 6, 8  # columns
_COLUMNS = 9

CANTONESE = "嘅嗰啲咗佢喺咁噉冇啩哋嚟諗谂惗嘢瞓睇㗎餸𨋢喎嚿噃嘥啱搵揾噏攞攰冚冧嬲揸黐唞踎唔咩乜啫撳㩒嗌"

_LATIN_NAMES = ("LATIN ", "FULLWIDTH LATIN ", "FEMININE ORDINAL", "MASCULINE ORDINAL")
_BIG5_FREQUENT = (b"\xa4\x40", b"\xc6\x7e")  # level 1

# Eight bytes at once, as in word_hashes.py: the upper bit of a byte says what is known of it.
_HIGH = np.uint64(0x8080808080808080)
_LOW = np.uint64(0x0101010101010101)
_SPACES = np.uint64(0x2020202020202020)
_A, _BEYOND_Z = np.uint64(0x6161616161616161), np.uint64(0x7B7B7B7B7B7B7B7B)


def count_scripts(text: pa.Array) -> pa.RecordBatch:
    """Count `SCRIPT_COUNTS` (uint32) per row of a string or large_string array; null counts as empty text.

    ValueError for a document of 4 GiB or more.
    """
    buffers = text_buffers(text)
    lengths = np.diff(buffers.offsets)
    if len(lengths) and lengths.max() > np.iinfo(np.uint32).max:
        raise ValueError(f"document {lengths.argmax()} of the batch is too long: counts are 32 bits wide")
    counts = np.zeros((len(text), _COLUMNS), np.uint32)
    _count_documents(buffers.offsets, buffers.bytes, load_classes(), np.zeros(256, np.int64), counts)
    return count_batch(counts, SCRIPT_COUNTS)


@cache
def load_classes() -> NDArray[np.uint8]:
    """The committed table, uint8 [CODE_POINTS]: which counts a code point is part of."""
    with np.load(TABLE_FILE, allow_pickle=False) as arrays:
        return read_only(arrays["classes"])


def build_classes() -> NDArray[np.uint8]:
    """The table as this Python's Unicode version makes it (about 0.3 s)."""
    classes = np.zeros(CODE_POINTS, np.uint8)
    for code_point in range(CODE_POINTS):
        character = chr(code_point)
        if unicodedata.category(character)[0] == "L":
            classes[code_point] = _script(character)
    lines = HANS_TABLE.read_text(encoding="utf-8").splitlines()
    simplified = {line[0]: line[1] for line in lines if not line.startswith("#")}
    for traditional, form in simplified.items():
        if not _encoded(traditional, "gb2312"):
            classes[ord(traditional)] |= _TRADITIONAL
        if form not in simplified and not _BIG5_FREQUENT[0] <= _encoded(form, "big5") <= _BIG5_FREQUENT[1]:
            classes[ord(form)] |= _SIMPLIFIED
    for character in CANTONESE:
        classes[ord(character)] |= _CANTONESE
    return classes


def _script(letter: str) -> int:
    name, bits = unicodedata.name(letter, ""), classify(letter)
    if bits & LETTER and bits & (KANA | HANGUL):
        return _KANA if bits & KANA else _HANGUL
    if name.startswith(_LATIN_NAMES):
        return _LATIN
    return _CYRILLIC if name.startswith("CYRILLIC ") else _ARABIC if name.startswith("ARABIC ") else 0


def _encoded(character: str, charset: str) -> bytes:
    return character.encode(charset, "ignore")


@kernel
def _count_documents(offsets, text, classes, seen, counts):
    for document in range(offsets.size - 1):
        found = counts[document]
        seen[:] = 0
        latin = _count_letters(text, offsets[document], offsets[document + 1], classes, seen)
        for value in range(1, seen.size):
            if seen[value]:
                for number in range(VARIETY):
                    found[number] += seen[value] * (value >> number & 1)
        found[LATIN] += latin
        found[VARIETY] = found[SIMPLIFIED] + found[TRADITIONAL]


@kernel
def _count_letters(text, at, stop, classes, seen):
    """Returns the letters of ASCII; of all others `seen` counts how many there are of each class."""
    latin = np.int64(0)
    last = stop - 8  # up to here, eight bytes belong to the document
    while at < stop:
        if at <= last:
            eight = load_eight(text, at)  # pyright: ignore[reportCallIssue]
            high = eight & _HIGH
            lower = eight | _SPACES | _HIGH
            letters = (lower - _A) & ~(lower - _BEYOND_Z) & ~eight & _HIGH
            if not high:
                latin += np.int64(((letters >> np.uint64(7)) * _LOW) >> np.uint64(56))
                at += 8
                continue
            letters &= (high & (~high + np.uint64(1))) - np.uint64(1)  # those before the first other byte
            latin += np.int64(((letters >> np.uint64(7)) * _LOW) >> np.uint64(56))
            at += count_zeros(high) >> 3  # pyright: ignore[reportCallIssue]
        elif text[at] < 0x80:
            lower_one = text[at] | 0x20
            latin += 0x61 <= lower_one <= 0x7A
            at += 1
            continue
        while at < stop and text[at] >= 0x80:
            code_point, at = decode(text, at, stop)
            if code_point < classes.size:
                seen[classes[code_point]] += 1
    return latin


if __name__ == "__main__":
    np.savez_compressed(TABLE_FILE, classes=build_classes())
