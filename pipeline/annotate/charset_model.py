"""Which charset are these bytes most likely in? A small model of letters that follow each other, by language.

Every (charset, language) is a model of bytes: with what probability does this byte follow that one. The most
likely of all wins, and how much more likely it is than a charset that somebody declared can be asked, too, so
that a declaration is overruled by its text only and never by a guess. Single-byte charsets are judged by
pairs of characters with at least one outside of ASCII, those with two-byte characters by the frequencies of
the characters. Costs are integers (COST_STEPS to a nat), so the answer is the same on every machine.

`charset_model.npz` was trained by annotate/charset_training.py, its card charset_model.json names the texts.
Costs 0.4 to 2.5 ms for 25 kB of text; the tables take 4 MB and 0.1 s once per process.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.annotate.charset_labels import get_codec

CHARSET_MODEL = Path(__file__).with_name("charset_model.npz")
CARD = CHARSET_MODEL.with_suffix(".json")
COST_STEPS = 8  # of a nat
ASCII_CLASSES = 28  # what comes between words, 26 letters, digits
# Of a page, from its first byte above 127 on; less where most are such.
JUDGED_BYTES, JUDGED_DENSE_BYTES = 128 << 10, 8 << 10
KINDS, ASCII_LETTER = 3, 1  # what stands between words, letters of ASCII, characters outside of it
BETWEEN = (0, 27)  # classes between which a character stands alone: spaces and the like, digits

# By language (ISO 639-3): charsets that its pages came in, those that were common first.
LANGUAGES = {
    **dict.fromkeys(
        ["deu", "fra", "spa", "ita", "por", "nld", "swe", "dan", "nob", "fin", "isl", "cat", "eng"],
        "windows-1252 iso-8859-15 macintosh",
    ),
    **dict.fromkeys(["pol", "ces", "slk", "hun", "ron", "hrv", "slv"], "windows-1250 iso-8859-2"),
    **dict.fromkeys(["rus", "bul"], "windows-1251 koi8-r iso-8859-5 ibm866 x-mac-cyrillic"),
    "ukr": "windows-1251 koi8-u iso-8859-5 x-mac-cyrillic",
    **dict.fromkeys(["bel", "mkd", "srp"], "windows-1251 iso-8859-5"),
    "ell": "windows-1253 iso-8859-7",
    "tur": "windows-1254 iso-8859-3",
    "heb": "windows-1255 iso-8859-8",
    "ara": "windows-1256 iso-8859-6",
    **dict.fromkeys(["lit", "lvs"], "windows-1257 iso-8859-13 iso-8859-4"),
    "est": "windows-1257 iso-8859-13 iso-8859-15",
    "epo": "iso-8859-3",
    "tha": "windows-874",
    "vie": "windows-1258",
}
# Charsets of two-byte characters: whose frequencies judge them.
WIDE = {"gb18030": "hans", "big5": "hant", "euc-jp": "japanese", "shift_jis": "japanese", "euc-kr": "korean"}

# Nats against charsets that are rarer on the web than others: they win by their text, not by a tie.
_RARE = {
    "windows-1252": 0,
    "iso-8859-15": 4,
    "iso-8859-2": 5,
    "iso-8859-13": 6,
    "iso-8859-4": 8,
    "iso-8859-3": 8,
    "iso-8859-5": 6,
    "iso-8859-6": 6,
    "iso-8859-7": 5,
    "iso-8859-8": 6,
    "macintosh": 12,
    "x-mac-cyrillic": 12,
    "ibm866": 8,
    "koi8-u": 5,
    "windows-1258": 4,
}
_OTHERS = 3
_UNDEFINED_COST = 12 * COST_STEPS  # a byte without a character, or a control character
_UNKNOWN_COST = 9 * COST_STEPS  # a character that texts of the language never have
_UNKNOWN_WIDE_COST = 14 * COST_STEPS  # the same among thousands
_AFTER_WIDE_COST = 3 * COST_STEPS  # ASCII after a two-byte character
_HIGHEST = 255
_HIGH = re.compile(rb"[\x80-\xff]")


class Single(NamedTuple):
    """Costs [byte pair, model] of every (charset, language), and their charsets."""

    encodings: tuple[str, ...]
    costs: NDArray[np.uint8]
    lone: NDArray[np.int64]  # [byte, model]: of a byte that stands alone
    start: NDArray[np.int64]  # what a charset's rarity costs


class Evidence(NamedTuple):
    """What a page's bytes cost by charset (steps), and how many bytes outside of ASCII were judged."""

    costs: dict[str, int]
    high_bytes: int

    @property
    def best(self) -> str:
        """The most likely charset, "" if there is nothing to judge; ties go by name."""
        return min(self.costs, key=lambda name: (self.costs[name], name), default="")


def ascii_classes() -> NDArray[np.int64]:
    """int64[128]: the class of every ASCII character."""
    classes = np.zeros(128, np.int64)
    for letter in range(26):
        classes[ord("a") + letter] = classes[ord("A") + letter] = 1 + letter
    classes[ord("0") : ord("9") + 1] = 27
    return classes


_IS_BETWEEN = np.concatenate([np.isin(ascii_classes(), BETWEEN), np.zeros(128, bool)])


def kinds_of(points: NDArray[np.integer]) -> NDArray[np.int64]:
    """int64[class]: the kind of every class of a language with these characters outside of ASCII."""
    kinds = np.full(ASCII_CLASSES + len(points), 2)
    kinds[:ASCII_CLASSES] = ASCII_LETTER
    kinds[list(BETWEEN)] = 0
    return kinds


def weigh_charsets(body: bytes, also: Iterable[str] = ()) -> Evidence:
    """What a page costs in every charset that could be meant, those in `also` among them."""
    model = load_charset_model()
    first = _HIGH.search(body)
    if not first:
        return Evidence({}, 0)
    start = first.start()
    judged = body[start : start + JUDGED_BYTES]
    sample = np.frombuffer(judged, np.uint8)
    is_high = sample >= 0x80
    dense = 2 * int(np.count_nonzero(is_high[1:] & is_high[:-1])) > int(np.count_nonzero(is_high)) // 2
    if dense:
        judged, is_high = judged[:JUDGED_DENSE_BYTES], is_high[:JUDGED_DENSE_BYTES]
    high_bytes = int(np.count_nonzero(is_high))
    padded = np.frombuffer((body[start - 1 : start] or b" ") + judged + b" ", np.uint8)
    at = np.flatnonzero(is_high) + 1
    before, here, after = (padded[at + step].astype(np.int64) for step in (-1, 0, 1))
    is_lone = _IS_BETWEEN[before] & _IS_BETWEEN[after]
    lone = np.bincount(here[is_lone], minlength=256)
    codes = np.concatenate([(before << 8 | here)[~is_lone], (here << 8 | after)[~is_lone & (after < 0x80)]])
    counts = np.bincount(codes, minlength=1 << 16)
    pairs = np.flatnonzero(counts)
    totals = counts[pairs] @ model.single.costs[pairs].astype(np.int64)
    totals += lone @ model.single.lone + model.single.start
    costs: dict[str, int] = {}
    for encoding, total in zip(model.single.encodings, totals.tolist(), strict=True):
        costs[encoding] = min(costs.get(encoding, total), total)
    asked = set(also)
    for encoding, language in WIDE.items():
        if dense or encoding in asked:
            costs[encoding] = _cost_wide(judged, encoding, model.wide[language])
    return Evidence(costs, high_bytes)


def _cost_wide(sample: bytes, encoding: str, costs: NDArray[np.uint8]) -> int:
    text = sample.decode(get_codec(encoding), "replace")
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    is_high = points >= 0x80
    broken = int(np.count_nonzero(points == 0xFFFD))
    after = int(np.count_nonzero(is_high[:-1] & ~is_high[1:]))
    known = costs[np.where(points < len(costs), points, 0xE000)[is_high]].astype(np.int64)
    return int(known.sum()) + _AFTER_WIDE_COST * after + 2 * _UNDEFINED_COST * broken


class CharsetModel(NamedTuple):
    """Tables for all charsets."""

    single: Single
    wide: dict[str, NDArray[np.uint8]]  # cost of every code point below 2^16


@cache
def load_charset_model() -> CharsetModel:
    """The packaged model; ValueError if the file is not the one that its card describes."""
    card = json.loads(CARD.read_text())
    if hashlib.sha256(CHARSET_MODEL.read_bytes()).hexdigest() != card["sha256"]:
        raise ValueError(f"{CHARSET_MODEL} is not the file that {CARD.name} describes: install it again")
    with np.load(CHARSET_MODEL, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    wide = {}
    for language in sorted(set(WIDE.values())):
        costs = np.full(1 << 16, _UNKNOWN_WIDE_COST, np.uint8)
        costs[arrays[f"wide_{language}_points"]] = arrays[f"wide_{language}_costs"]
        wide[language] = costs
    encodings: list[str] = []
    tables: list[NDArray[np.uint8]] = []
    lone: list[NDArray[np.int64]] = []
    start: list[int] = []
    for language, names in LANGUAGES.items():
        costs = _pair_costs(arrays, language)
        classes = {
            chr(point): ASCII_CLASSES + at for at, point in enumerate(arrays[f"{language}_points"].tolist())
        }
        for encoding in names.split():
            encodings.append(encoding)
            of_byte = _byte_classes(classes, encoding)
            tables.append(_byte_costs(costs, of_byte))
            ends = [np.zeros(ASCII_CLASSES), arrays[f"{language}_lone"], [_UNKNOWN_COST, _UNDEFINED_COST]]
            lone.append(np.concatenate(ends).astype(np.int64)[of_byte])
            start.append(_RARE.get(encoding, _OTHERS) * COST_STEPS)
    single = Single(
        tuple(encodings),
        np.ascontiguousarray(np.stack(tables, 1)),
        np.ascontiguousarray(np.stack(lone, 1)),
        np.array(start, np.int64),
    )
    return CharsetModel(single, wide)


def _pair_costs(arrays: dict[str, NDArray[np.integer]], language: str) -> NDArray[np.int64]:
    """int64[class, class]: what a character costs after another one; pairs that never occurred by the kind of
    the first.
    """
    unseen = arrays[f"{language}_unseen"].astype(np.int64)
    after = arrays[f"{language}_after"].astype(np.int64)
    costs = unseen[:, None] + after[kinds_of(arrays[f"{language}_points"])]
    costs[arrays[f"{language}_firsts"], arrays[f"{language}_seconds"]] = arrays[f"{language}_costs"]
    return costs


def _byte_classes(classes: dict[str, int], encoding: str) -> NDArray[np.int64]:
    """int64[byte]: the class of every byte; behind those of the language "unknown" and "undefined"."""
    unknown = ASCII_CLASSES + len(classes)
    of_byte = np.concatenate([ascii_classes(), np.full(128, unknown + 1)])
    for byte in range(0x80, 0x100):
        character = bytes([byte]).decode(get_codec(encoding), "replace")
        if character != "\ufffd" and not "\x80" <= character <= "\x9f":
            of_byte[byte] = classes.get(character, unknown)
    return of_byte


def _byte_costs(costs: NDArray[np.int64], of_byte: NDArray[np.int64]) -> NDArray[np.uint8]:
    """uint8[byte pair]: what the second byte costs after the first; 0 between two ASCII characters."""
    known = len(costs)
    full = np.full((known + 2, known + 2), _UNKNOWN_COST, np.int64)
    full[:known, :known] = costs
    full[known:, :known] = full[0, :known]
    full[:, known + 1] = _UNDEFINED_COST
    table = full[of_byte[:, None], of_byte[None, :]]
    table[:128, :128] = 0
    return np.minimum(table, _HIGHEST).astype(np.uint8).reshape(-1)
