"""Many phrases as one automaton (Aho and Corasick 1975), which phrase_search.py runs over texts.

Text and phrases are read as the same symbols:
- a letter or digit in lower case, without its accents' variety: full-width letters as ordinary ones, and
  traditional Chinese characters as simplified ones; joiners and single accents (combining marks on Latin,
  Greek or Cyrillic letters) are not there;
- any run of other characters as one *break*; a break also stands where a letter of a script that is written
  with spaces meets one of a script that is not (Han, kana, Thai, ...), and at both ends of a text.

A phrase that begins or ends with a letter of a script with spaces begins or ends with a break: it is found as
whole words, across line ends and hyphens ("son-of-a bitch"), and never inside of a word. One of Chinese and
the like is found anywhere. A phrase without any letter or digit (an emoji) is found as it stands.

Of phrases that overlap, the one that starts first counts, of two that start together the longer one.
"""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.buffers import read_only
from pipeline.kernels.fold import simplified_characters
from pipeline.kernels.unicode_classes import (
    BLOCK_BITS,
    JOINER,
    LAST_CODE_POINT,
    MARK,
    WORD_ALONE,
    WORD_START,
    load_tables,
)

SKIPPED, BREAK, LETTER, CHARACTER = 0, 1, 2, 3  # symbols of what no phrase has; those of phrases follow
_FIRST_SYMBOL = 4
_COMBINING = range(0x300, 0x370)  # the marks of Latin, Greek and Cyrillic
_FULL_WIDTH, _FULL_WIDTH_OFFSET = range(0xFF01, 0xFF5F), 0xFEE0
_HAN_FIRST = 0x3400
_SYLLABLES = 0x530  # from here on, behind Cyrillic, a letter can be a word
_CROWDED = 8  # children from which on a state has a row of its own


class PhraseTable(NamedTuple):
    """The automaton. `symbols` uint16 [0x110000] by code point; `alone` bool [symbols]: of a script without
    spaces. By state: `edges` int32 [states + 1] into `edge_symbols` uint16 and `edge_targets` int32; `dense`
    int32, a row of `rows` int32 [any, symbols], or -1; `fails` int32; `ends` int32, the longest phrase that
    ends there, or -1. By phrase: `sizes` int32 in symbols without the break that it begins with, `trails`
    int32, 1 if it ends with a break, `shorter` int32, the longest other phrase that it ends with, or -1,
    `characters` int32 without breaks, `kinds` uint8, one bit each.
    """

    symbols: NDArray[np.uint16]
    alone: NDArray[np.bool_]
    edges: NDArray[np.int32]
    edge_symbols: NDArray[np.uint16]
    edge_targets: NDArray[np.int32]
    dense: NDArray[np.int32]
    rows: NDArray[np.int32]
    fails: NDArray[np.int32]
    ends: NDArray[np.int32]
    sizes: NDArray[np.int32]
    trails: NDArray[np.int32]
    shorter: NDArray[np.int32]
    characters: NDArray[np.int32]
    kinds: NDArray[np.uint8]


@cache
def _folded() -> NDArray[np.int32]:
    """int32 [0x110000]: the character that each is read as, 0 for what is skipped, -1 for a break."""
    tables = load_tables()
    points = np.arange(LAST_CODE_POINT + 1, dtype=np.int32)
    points[_FULL_WIDTH.start : _FULL_WIDTH.stop] -= _FULL_WIDTH_OFFSET
    entries = (tables.blocks[points >> BLOCK_BITS].astype(np.int64) << BLOCK_BITS) + (points & 0x7F)
    classes = tables.classes[entries]
    folded = points + tables.lower[entries]
    han = (folded >= _HAN_FIRST) & (folded - _HAN_FIRST < simplified_characters().size)
    folded[han] = simplified_characters()[folded[han] - _HAN_FIRST]
    folded[(classes & (WORD_START | MARK)) == 0] = -1
    folded[(classes & JOINER) != 0] = 0
    folded[_COMBINING.start : _COMBINING.stop] = 0
    return folded


@cache
def _alone() -> NDArray[np.bool_]:
    tables = load_tables()
    points = np.arange(LAST_CODE_POINT + 1)
    entries = (tables.blocks[points >> BLOCK_BITS].astype(np.int64) << BLOCK_BITS) + (points & 0x7F)
    return (tables.classes[entries] & WORD_ALONE) != 0


def read_phrase(phrase: str) -> tuple[int, ...]:
    """A phrase as folded code points with -1 for breaks; empty if nothing of it can be told from other text:
    a phrase of digits alone, of one letter of Latin, Greek or Cyrillic, or of nothing but white space.
    """
    folded, alone = _folded(), _alone()
    points = [ord(character) for character in normalize("NFC", phrase).strip()]
    if not any(folded[point] > 0 for point in points):
        return tuple(point for point in points if not chr(point).isspace())
    found: list[int] = [-1]
    for point in points:
        value = int(folded[point])
        if value == 0 or (value == -1 and found[-1] == -1):
            continue
        if value > 0 and found[-1] > 0 and alone[value] != alone[found[-1]]:
            found.append(-1)
        found.append(value)
    if found[-1] != -1:
        found.append(-1)
    letters = [value for value in found if value > 0]
    if all(chr(value).isdigit() for value in letters) or (len(letters) == 1 and letters[0] < _SYLLABLES):
        return ()
    if alone[letters[0]]:
        found = found[1:]
    return tuple(found[:-1] if alone[letters[-1]] else found)


def build_phrases(phrases: Mapping[tuple[int, ...], int]) -> PhraseTable:
    """The automaton of phrases as read_phrase gives them, and the bits that each means."""
    folded, alone = _folded(), _alone()
    texts = sorted(phrases)
    points = sorted({point for text in texts for point in text if point > 0})
    number = {point: place for place, point in enumerate(points, start=_FIRST_SYMBOL)}
    symbols = np.where(folded > 0, np.where(alone, CHARACTER, LETTER), np.where(folded == 0, SKIPPED, BREAK))
    lookup = np.zeros(LAST_CODE_POINT + 2, np.uint16)
    lookup[list(number)] = list(number.values())
    own = lookup[np.maximum(folded, 0)]
    own[points] = lookup[points]  # an emoji is itself, not a break
    symbols = np.where(own > 0, own, symbols).astype(np.uint16)
    kinds_of_symbols = np.zeros(len(points) + _FIRST_SYMBOL, bool)
    kinds_of_symbols[CHARACTER] = True
    kinds_of_symbols[_FIRST_SYMBOL:] = [bool(alone[point]) or folded[point] < 0 for point in points]

    children: list[dict[int, int]] = [{}]
    ends = [-1]
    for place, text in enumerate(texts):
        state = 0
        for point in text:
            symbol = BREAK if point == -1 else number[point]
            if symbol not in children[state]:
                children[state][symbol] = len(children)
                children.append({})
                ends.append(-1)
            state = children[state][symbol]
        ends[state] = place
    fails, shorter = _find_fails(children, ends)
    return _lay_out(children, fails, ends, symbols, kinds_of_symbols, texts, shorter, phrases)


def _find_fails(children: list[dict[int, int]], ends: list[int]) -> tuple[list[int], dict[int, int]]:
    """(the longest proper suffix of every state that is a state, `shorter` by phrase); adds to `ends` the
    phrases that end at their suffixes.
    """
    fails, queue, shorter = [0] * len(children), list(children[0].values()), {}
    for state in queue:
        for symbol, child in children[state].items():
            at = fails[state]
            while at and symbol not in children[at]:
                at = fails[at]
            fails[child] = children[at].get(symbol, 0)
            queue.append(child)
        if ends[state] < 0:
            ends[state] = ends[fails[state]]
        else:
            shorter[ends[state]] = ends[fails[state]]
    return fails, shorter


def _lay_out(
    children: list[dict[int, int]],
    fails: list[int],
    ends: list[int],
    symbols: NDArray[np.uint16],
    alone: NDArray[np.bool_],
    texts: list[tuple[int, ...]],
    shorter: Mapping[int, int],
    phrases: Mapping[tuple[int, ...], int],
) -> PhraseTable:
    crowded = [state for state, own in enumerate(children) if len(own) >= _CROWDED or state == 0]
    dense = np.full(len(children), -1, np.int32)
    dense[crowded] = np.arange(len(crowded))
    rows = np.full((len(crowded), len(alone)), -1, np.int32)
    for row, state in enumerate(crowded):
        rows[row, list(children[state])] = list(children[state].values())
    rows[0, rows[0] < 0] = 0  # where the root has no child, it stays
    pairs = [sorted(own.items()) for own in children]
    arrays = (
        symbols,
        alone,
        np.cumsum([0, *map(len, pairs)]).astype(np.int32),
        np.array([symbol for own in pairs for symbol, _ in own], np.uint16),
        np.array([child for own in pairs for _, child in own], np.int32),
        dense,
        rows,
        np.array(fails, np.int32),
        np.array(ends, np.int32),
        np.array([len(text) - (text[0] == -1) for text in texts], np.int32),
        np.array([text[-1] == -1 for text in texts], np.int32),
        np.array([shorter[place] for place in range(len(texts))], np.int32),
        np.array([sum(point > 0 for point in text) for text in texts], np.int32),
        np.array([phrases[text] for text in texts], np.uint8),
    )
    return PhraseTable(*(read_only(array) for array in arrays))
