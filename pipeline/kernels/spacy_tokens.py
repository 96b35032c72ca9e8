"""Tokens as datatrove's Gopher filter counts them: those of spaCy's English tokenizer, marks among them.

Gopher speaks of words, of which 80 % must hold a letter. datatrove lets marks count as words there ("(see"
are two), so that what it calls gopher_quality drops many pages with code, lists and tables that the paper's
rule keeps. The counts here follow spaCy's rules for English (spacy/lang/punctuation.py,
en/tokenizer_exceptions.py, tokenizer.pyx), in one pass and without its dictionary of exceptions:

1. Text is cut at white space.
2. From either end of a piece, quotes, brackets, stops and the like come off one by one; from its front also
   % § = + and currencies, from its end a full stop after a small letter, a digit, a mark or two capitals, and
   %, + and currencies after a digit; two or more full stops together come off as one.
3. What is left is one token if it is a URL, a domain or an address. 4. Else n't and 'll 've 're 'm 'd 's are
tokens of their own, and it is cut, with the mark as a token, at hyphens,
   : < > = / between letters or digits and a letter, commas between letters, a stop between a small letter and
   a capital, + - * ^ between digits, and ellipses.

On 712 English pages of the web, shares of tokens differ from spaCy's by .002 in the mean, and one verdict of
200 is another. Columns: counts.SPACY_COUNTS.
"""

from functools import cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.counts import SPACY_COUNTS
from pipeline.kernels import unicode_classes as unicode
from pipeline.kernels.buffers import count_batch, read_only, text_buffers
from pipeline.kernels.jit import kernel
from pipeline.kernels.word_list import STOP_WORDS
from pipeline.kernels.words import decode

_FRONT, _BACK, _LETTER, _DIGIT, _UPPER, _MARK, _SPACE, _BEFORE_STOP = (1 << bit for bit in range(8))
LETTER_FLAG, MARK_FLAG = _LETTER, _MARK
_PLAIN, _FIRST_EMOJI, _LAST_EMOJI = 0x10000, 0x1F000, 0x1FAFF
_TOKENS, _ALPHABETIC, _WORDS, _CHARACTERS, _STOP_WORDS = range(5)
_STOP, _HYPHEN, _APOSTROPHE, _CURLY, _ELLIPSIS = 0x2E, 0x2D, 0x27, 0x2019, 0x2026
_N, _T, _AT = 0x6E, 0x74, 0x40
# spacy/lang/char_classes.py: LIST_PUNCT, LIST_QUOTES, LIST_CURRENCY
_PUNCT = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
_QUOTES = "'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉"
_CURRENCY = "$£€¥฿₽﷼₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₸₹₺₻₼₾₿"
# datatrove, utils/text.py: what is no word (its ends of sentences of other scripts are left out)
_MARKS = "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»"
_MATHEMATICAL = ((0x2190, 0x2194), (0x2200, 0x22FF), (0x27C0, 0x27EF), (0x2980, 0x2AFF))  # signs, not icons
_FIRST_ICON = 0xA6


def measure_spacy(text: pa.Array) -> pa.RecordBatch:
    """SPACY_COUNTS (uint32) of string or large_string; null counts as empty text."""
    buffers, tables = text_buffers(text), (unicode.load_tables(), token_flags(), _stop_values())
    counts = np.zeros((len(text), len(SPACY_COUNTS)), np.uint32)
    longest = int(np.diff(buffers.offsets).max(initial=0))
    points, flags = np.empty(longest, np.int32), np.empty(longest, np.uint8)
    _measure_documents(buffers.offsets, buffers.bytes, *tables, points, flags, counts)
    return count_batch(counts, SPACY_COUNTS)


@cache
def token_flags() -> NDArray[np.uint8]:
    """What a character below U+10000 is to a tokenizer: uint8 [65536]."""
    tables = unicode.load_tables()
    points = np.arange(_PLAIN)
    entries = (
        tables.blocks[points >> unicode.BLOCK_BITS].astype(np.int64) << unicode.BLOCK_BITS
    ) + points % 128
    classes = tables.classes[entries]
    flags = np.zeros(_PLAIN, np.uint8)
    kinds = {unicode.LETTER: _LETTER, unicode.DIGIT: _DIGIT, unicode.UPPER: _UPPER, unicode.SPACE: _SPACE}
    for of_unicode, flag in kinds.items():
        flags[classes & of_unicode != 0] |= flag
    icons = (classes & unicode.SYMBOL != 0) & (points >= _FIRST_ICON)
    for first, last in _MATHEMATICAL:
        icons[first : last + 1] = False
    icons[[0xAC, 0xB1, 0xD7, 0xF7, *(ord(c) for c in _CURRENCY)]] = False
    flags[icons] |= _FRONT | _BACK
    for characters, flag in (
        (_PUNCT + _QUOTES, _FRONT | _BACK | _BEFORE_STOP),
        ("—–", _FRONT | _BACK),
        (_CURRENCY + "§%=", _FRONT),
        ("%²-+", _BEFORE_STOP),
        (_MARKS, _MARK),
    ):
        flags[[ord(character) for character in characters]] |= flag
    return read_only(flags)


@cache
def _stop_values() -> NDArray[np.int64]:
    return read_only(np.array([int.from_bytes(word.encode(), "big") for word in STOP_WORDS]))


@kernel
def _measure_documents(offsets, text, tables, flags_of, stops, points, flags, counts):
    for document in range(offsets.size - 1):
        at, stop, size, seen = offsets[document], offsets[document + 1], 0, np.int64(0)
        while at < stop:
            point, at = decode(text, at, stop)
            points[size] = point
            if point < _PLAIN:
                flags[size] = flags_of[point]
            elif _FIRST_EMOJI <= point <= _LAST_EMOJI:
                flags[size] = _FRONT | _BACK
            else:
                block = np.int64(tables.blocks[point >> unicode.BLOCK_BITS]) << unicode.BLOCK_BITS
                is_letter = tables.classes[block + (point & 127)] & unicode.LETTER
                flags[size] = _LETTER if is_letter else 0
            size += 1
        start = 0
        for place in range(size + 1):
            if place == size or flags[place] & _SPACE:
                if place > start:
                    seen |= _count_piece(points, flags, start, place, stops, counts[document])
                start = place + 1
        while seen:
            counts[document, _STOP_WORDS] += 1
            seen &= seen - 1


@kernel
def _count_piece(points, flags, start, end, stops, found):
    """Count the tokens of what stands between spaces; bits of its stop words."""
    while end - start > 1:
        if _is_abbreviation(points, flags, start, end):
            return _count_token(points, flags, start, end, stops, found)
        first, last, before = flags[start], flags[end - 1], flags[end - 2]
        if points[start] == _STOP and points[start + 1] == _STOP:
            while start < end and points[start] == _STOP:
                start += 1
            found[_TOKENS] += 1
        elif first & _FRONT or (points[start] == 0x2B and not flags[start + 1] & _DIGIT):
            _count_mark(flags, start, found)
            start += 1
        elif points[end - 1] == _STOP and points[end - 2] == _STOP:
            while points[end - 1] == _STOP:
                end -= 1
            found[_TOKENS] += 1
        elif points[end - 1] == _STOP:
            small = before & _LETTER and not before & _UPPER
            capitals = before & _UPPER and end - start > 2 and flags[end - 3] & _UPPER
            if not (before & (_DIGIT | _BEFORE_STOP) or small or capitals):
                break
            found[_TOKENS] += 1
            end -= 1
        elif last & _BACK or (before & _DIGIT and (points[end - 1] == 0x2B or last & _FRONT)):
            _count_mark(flags, end - 1, found)
            end -= 1
        else:
            break
    if start == end:
        return np.int64(0)
    if _is_url(points, flags, start, end):
        return _count_token(points, flags, start, end, stops, found)
    return _count_inside(points, flags, start, end, stops, found)


@kernel
def _count_inside(points, flags, start, end, stops, found):
    """What no end comes off: cut at its contraction and at marks inside."""
    cut = _contraction(points, flags, start, end)
    if cut > start:
        found[_TOKENS] += 1
        found[_ALPHABETIC] += 1
        found[_WORDS] += 1
        found[_CHARACTERS] += end - cut
        end = cut
    seen, at = np.int64(0), start
    token = start
    while at < end:
        after = at
        point = points[at]
        if point in (_STOP, _ELLIPSIS, _HYPHEN):
            while after < end and points[after] == point:
                after += 1
        else:
            after = at + 1
        if _parts(points, flags, token, at, after, end):
            if at > token:
                seen |= _count_token(points, flags, token, at, stops, found)
            _count_mark(flags, at, found)
            token = after
        at = after
    if end > token:
        seen |= _count_token(points, flags, token, end, stops, found)
    return seen


@kernel
def _parts(points, flags, token, at, after, end):
    """Whether the mark at [at, after) is an infix."""
    point = points[at]
    if point == _ELLIPSIS or (point == _STOP and after - at > 1):
        return True
    if at == token or after == end or flags[at] & (_LETTER | _DIGIT):
        return False
    before, next_flags = flags[at - 1], flags[after]
    if point == _STOP:
        small = before & _LETTER and not before & _UPPER
        return small != 0 and next_flags & _UPPER != 0
    is_math = point == 0x2B or point == _HYPHEN or point == 0x2A or point == 0x5E
    if is_math and before & _DIGIT and (next_flags & _DIGIT or points[after] == _HYPHEN):
        return True
    if not next_flags & _LETTER:
        return False
    if point == 0x2C:
        return before & _LETTER != 0
    is_dash = point == _HYPHEN or point == 0x2013 or point == 0x2014 or point == 0x7E
    is_sign = point == 0x3A or point == 0x3C or point == 0x3E or point == 0x3D or point == 0x2F
    return (is_dash or is_sign) and before & (_LETTER | _DIGIT) != 0


@kernel
def _contraction(points, flags, start, end):
    """Where n't, 'll, 've, 're, 'm, 'd or 's at the end begins, or `start`."""
    for size in range(2, 4):
        at = end - size
        if at <= start or not flags[at - 1] & _LETTER:
            continue
        if points[at] == _APOSTROPHE or points[at] == _CURLY:
            one, two = points[at + 1] | 0x20, points[end - 1] | 0x20
            if size == 2 and (one == 0x6D or one == 0x64 or one == 0x73):
                return at
            if size == 3 and (
                (one == 0x6C and two == 0x6C) or ((one == 0x76 or one == 0x72) and two == 0x65)
            ):
                return at
        quote = points[at + 1]
        negates = points[at] | 0x20 == _N and points[end - 1] | 0x20 == _T
        if size == 3 and negates and quote in (_APOSTROPHE, _CURLY):
            return at
    return start


@kernel
def _is_abbreviation(points, flags, start, end):
    """Single letters with a full stop behind each, at least two: e.g., a.m., U.S."""
    size = end - start
    if size < 4 or size > 8 or size % 2 or points[end - 1] != _STOP:
        return False
    spelled = True
    for at in range(start, end, 2):
        spelled &= points[at + 1] == _STOP and flags[at] & _LETTER != 0
    return spelled


@kernel
def _is_url(points, flags, start, end):
    """Whether it has a scheme, or is a domain or address with what may follow one."""
    label, labels, letters = 0, 0, 0  # letters: small ones
    for at in range(start, end):
        point = points[at]
        if point == 0x3A and at + 2 < end and points[at + 1] == 0x2F and points[at + 2] == 0x2F:
            return at > start and labels == 0
        if flags[at] & (_LETTER | _DIGIT) or point == _HYPHEN:
            label += 1
            letters += 1 if flags[at] & _LETTER and not flags[at] & _UPPER else 0
        elif point in (_STOP, _AT):
            if label == 0:
                return False
            label, letters, labels = 0, 0, labels + 1
        else:
            ends = point == 0x2F or point == 0x3F or point == 0x23 or point == 0x3A
            return ends and labels > 0 and letters == label and label > 1
    return labels > 0 and letters == label and label > 1


@kernel
def _count_token(points, flags, start, end, stops, found):
    """Count one token; the bit of the stop word that it is."""
    together, words = np.int64(0), np.int64(0)
    for at in range(start, end):
        together |= flags[at]
        words |= 0 if flags[at] & _MARK else 1
    found[_TOKENS] += 1
    if together & _LETTER:
        found[_ALPHABETIC] += 1
    if words:
        found[_WORDS] += 1
        found[_CHARACTERS] += end - start
    if end - start > 4:
        return np.int64(0)
    value = np.int64(0)
    for at in range(start, end):
        value = value << 8 | points[at]
    for number in range(stops.size):
        if stops[number] == value:
            return np.int64(1) << number
    return np.int64(0)


@kernel
def _count_mark(flags, at, found):
    """Count a mark that came off."""
    found[_TOKENS] += 1
    if not flags[at] & _MARK:
        found[_WORDS] += 1
        found[_CHARACTERS] += 1
