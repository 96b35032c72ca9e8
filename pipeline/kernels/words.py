"""What a word is, in any language, without a dictionary: the scanner of every kernel that reads words.

A *word* is
- one letter of a script written without spaces (Han, kana, Thai, Lao, Khmer, Myanmar, Tibetan) with the marks
  on it, or
- a longest run of other letters, numbers and marks; an apostrophe (' or ’) between two of them belongs to it.
  Hangul syllables, written with spaces between words, run like Latin letters. Invisible joiners (soft hyphen,
  zero-width (non-)joiner, direction marks, variation selectors) neither end a word nor count as characters of
  it.

So "Don’t re-use 3.5 kg 米酒!" has the words don't, re, use, 3, 5, kg, 米, 酒. Peers need a dictionary here
(FineWeb2: jieba and friends, about 1 MB/s); counts for Chinese differ by their mean word length of about 1.6
characters, so the thresholds of a recipe must be meant for single characters.

A word's *hash* is of its lower-case code points: two words that differ in case, in the kind of apostrophe or
in joiners only have one hash. It is frozen, since stored signatures are made of it.

Text is UTF-8. Kernels stay inside the document whatever its bytes are: a byte that starts no complete
character counts as one U+FFFD.
"""

import numpy as np

from pipeline.kernels.jit import kernel
from pipeline.kernels.unicode_classes import (
    BLOCK_BITS,
    JOINER,
    LAST_CODE_POINT,
    WORD_ALONE,
    WORD_INSIDE,
    WORD_START,
)

REPLACEMENT = 0xFFFD
APOSTROPHE = 0x27
CURLY_APOSTROPHE = 0x2019
# First and last lead byte of U+4000..U+9FFF: ideographs and hexagrams, no marks and no joiners.
_HAN_FIRST_LEAD = 0xE4
_HAN_LAST_LEAD = 0xE9
_BLOCK_MASK = (1 << BLOCK_BITS) - 1

# FNV-1a's offset basis (64 bits), over code points instead of bytes and with a denser multiplier: the golden
# ratio's.
HASH_BASIS = np.uint64(0xCBF29CE484222325)
HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)
# The finaliser of MurmurHash3 (fmix64, Appleby, public domain).
_MIX_1 = np.uint64(0xFF51AFD7ED558CCD)
_MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
_MIX_SHIFT = np.uint64(33)


@kernel
def mix_bits(value):
    """A bijection of uint64 in which every input bit moves every output bit (MurmurHash3's fmix64)."""
    value = (value ^ (value >> _MIX_SHIFT)) * _MIX_1
    value = (value ^ (value >> _MIX_SHIFT)) * _MIX_2
    return value ^ (value >> _MIX_SHIFT)


@kernel
def decode(text, at, stop):
    """(code point, position after it) of the character at byte `at` < `stop` of uint8 `text`."""
    lead = np.int64(text[at])
    if lead < 0x80:
        return lead, at + 1
    code_point = np.int64(REPLACEMENT)
    after = at + 1
    if 0xE0 <= lead < 0xF0:
        if at + 3 <= stop:
            after = at + 3
            code_point = (
                (lead & 0x0F) << 12 | np.int64(text[at + 1] & 0x3F) << 6 | np.int64(text[at + 2] & 0x3F)
            )
    elif 0xC0 <= lead < 0xE0:
        if at + 2 <= stop:
            after = at + 2
            code_point = (lead & 0x1F) << 6 | np.int64(text[at + 1] & 0x3F)
    elif 0xF0 <= lead < 0xF8 and at + 4 <= stop:
        after = at + 4
        code_point = (
            (lead & 0x07) << 18
            | np.int64(text[at + 1] & 0x3F) << 12
            | np.int64(text[at + 2] & 0x3F) << 6
            | np.int64(text[at + 3] & 0x3F)
        )
        if code_point > LAST_CODE_POINT:
            code_point = np.int64(REPLACEMENT)
    return code_point, after


@kernel
def read_character(text, at, stop, tables):
    """(code point, its entry in the tables, position after it) of the character at byte `at` < `stop`."""
    lead = np.int64(text[at])
    if lead < 0x80:
        return lead, lead, at + 1  # ASCII is the first block
    code_point, after = decode(text, at, stop)
    return code_point, entry_of(code_point, tables), after


@kernel
def entry_of(code_point, tables):
    """Where the table has the classes and the lower case of a code point."""
    return (np.int64(tables.blocks[code_point >> BLOCK_BITS]) << BLOCK_BITS) + (code_point & _BLOCK_MASK)


@kernel
def next_word(text, at, stop, tables):
    """The first word at or after byte `at`: (start, end, characters, class bits of all its characters, hash).

    `start` == `end` == `stop` when there is none. A loop over a document passes each `end` as the next `at`.
    """
    classes = np.int64(0)
    folded = np.int64(0)
    end = at
    while end < stop:
        at = end
        code_point, entry, end = read_character(text, at, stop, tables)
        classes = np.int64(tables.classes[entry])
        if classes & WORD_START:
            folded = code_point + tables.lower[entry]
            break
    if not classes & WORD_START:
        return stop, stop, np.int64(0), np.int64(0), np.uint64(0)

    alone = classes & WORD_ALONE
    hashed = (HASH_BASIS ^ np.uint64(folded)) * HASH_FACTOR
    characters = np.int64(1)
    seen = classes
    while end < stop:
        lead = np.int64(text[end])
        if (
            lead < 0x80 and not alone and tables.classes[lead] & WORD_START
        ):  # most of most texts, without the rest
            hashed = (hashed ^ np.uint64(lead + tables.lower[lead])) * HASH_FACTOR
            characters += 1
            seen |= np.int64(tables.classes[lead])
            end += 1
            continue
        if alone and (lead < 0x80 or _HAN_FIRST_LEAD <= lead <= _HAN_LAST_LEAD):
            break  # no marks there, so the common case needs no second look at the next character
        code_point, entry, after = read_character(text, end, stop, tables)
        classes = np.int64(tables.classes[entry])
        if not classes & WORD_INSIDE:
            if alone or classes & WORD_ALONE:
                break
            if not classes & WORD_START:
                if not _is_inner_apostrophe(text, code_point, after, stop, tables):
                    break
                code_point = entry = np.int64(APOSTROPHE)
        end = after
        if not classes & JOINER:
            hashed = (hashed ^ np.uint64(code_point + tables.lower[entry])) * HASH_FACTOR
            characters += 1
            seen |= classes
    return at, end, characters, seen, mix_bits(hashed)


@kernel
def _is_inner_apostrophe(text, code_point, after, stop, tables):
    """Whether `code_point` is an apostrophe and what begins at `after` continues the word before it."""
    if (code_point != APOSTROPHE and code_point != CURLY_APOSTROPHE) or after == stop:
        return False
    _, following, _ = read_character(text, after, stop, tables)
    classes = np.int64(tables.classes[following])
    return classes & WORD_START != 0 and classes & WORD_ALONE == 0
