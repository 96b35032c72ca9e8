"""The small pieces of HTML's grammar: names, attributes, character references, ends of raw text.

Follows the HTML standard's tokenizer (13.2.5) where real pages need it. Unclosed constructs are looked for
once: a kind of end that is not found is remembered in `Page.state`, so that a page of a million unclosed
quotes or <svg> costs what its bytes cost.
"""

import numpy as np

from pipeline.kernels.html_page import MISSING_QUOTES
from pipeline.kernels.html_tables import (
    HIDDEN_CUE,
    MULTIPLIER,
    TAG_SLOTS,
    TAGS_AT,
    key_of,
    tag_number,
)
from pipeline.kernels.jit import count_zeros, inner, load_eight

LESS, GREATER, SLASH, BANG, QUESTION, DASH, EQUALS = map(np.int64, b"<>/!?-=")
NEWLINE, TAB, RETURN, FORM_FEED, SPACE_BYTE, AMPERSAND, SEMICOLON, NUMBER_SIGN = map(
    np.int64, b"\n\t\r\f &;#"
)
QUOTE, APOSTROPHE = map(np.int64, b"\"'")
_SHIFT, _FACTOR = np.uint64(40), np.uint64(MULTIPLIER)
FNV_START, FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # FNV-1a, 64 bits
_NAMES = {name: np.uint64(key_of(name)) for name in ("class", "id", "role", "itemprop", "style", "hidden")}
_CLASS, _ID, _ROLE, _ITEMPROP, _STYLE, _HIDDEN = _NAMES.values()
_TYPE, _ENCODING, _ALTTEXT, _LANG = (
    np.uint64(key_of(name)) for name in ("type", "encoding", "alttext", "lang")
)
_SCRIPT, _ANNOTATION, _MATH, _HTML, _BODY = map(tag_number, ("script", "annotation", "math", "html", "body"))
_HIDES = np.uint64(1 << HIDDEN_CUE)
_ONES, _HIGHS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_MAX_CUE_BYTES = 400  # a longer class attribute is generated, and says nothing
_COLON = 58


def three_letters(letters: bytes) -> np.int64:
    """What `contains` looks for: three bytes in lower case."""
    return np.int64(int.from_bytes(letters, "big"))


@inner
def is_space(byte):
    return byte == SPACE_BYTE or byte == NEWLINE or byte == TAB or byte == RETURN or byte == FORM_FEED


@inner
def is_letter(byte):
    return (97 <= byte <= 122) or (65 <= byte <= 90)


@inner
def starts_markup(html, at):
    """Does the "<" at `at` begin a tag, comment or declaration? Else it is text."""
    if at + 1 >= html.size:
        return False
    byte = html[at + 1]
    if byte == SLASH:
        return at + 2 < html.size
    return is_letter(byte) or byte == BANG or byte == QUESTION


@inner
def look_up(tables, first, slots, key):
    """The value of a key, 0 if it is not among the `slots` places from `first` on."""
    slot = np.int64((key * _FACTOR) >> _SHIFT) & (slots - 1)
    while tables.keys[first + slot] != 0:
        if tables.keys[first + slot] == key:
            return np.int64(tables.values[first + slot])
        slot = (slot + 1) & (slots - 1)
    return np.int64(0)


@inner
def tag_of(name, tables):
    """The number of a tag's name, 0 if it is unknown."""
    return look_up(tables, TAGS_AT, TAG_SLOTS, name)


@inner
def read_name(html, at):
    """(key, where the name ends): up to white space, "/", ">" or "="; letters in lower case."""
    key, shift = np.uint64(0), np.uint64(0)
    first = at
    while at < html.size:
        byte = html[at]
        if byte == GREATER or is_space(byte) or byte == SLASH or (byte == EQUALS and at > first):
            break
        if shift < 64:
            lower = byte + 32 if 65 <= byte <= 90 else byte
            key |= np.uint64(lower) << shift
            shift += np.uint64(8)
        at += 1
    return key, at


@inner
def find_byte(html, at, byte):
    """Where `byte` stands at or after `at`; the page's size if nowhere. Looks at eight bytes at a time."""
    pattern = np.uint64(byte) * _ONES
    while at + 8 <= html.size:
        word = load_eight(html, at) ^ pattern  # pyright: ignore[reportCallIssue]
        zeros = (word - _ONES) & ~word & _HIGHS  # the lowest bit set is right (Mycroft, 1987)
        if zeros != 0:
            return at + (count_zeros(zeros) >> 3)  # pyright: ignore[reportCallIssue]
        at += 8
    while at < html.size and html[at] != byte:
        at += 1
    return at


@inner
def read_value(html, at, state):
    """(start, stop, next) of the value after a "="; a quote without an end counts as none."""
    while at < html.size and is_space(html[at]):
        at += 1
    if at < html.size and (html[at] == QUOTE or html[at] == APOSTROPHE):
        kind = MISSING_QUOTES if html[at] == QUOTE else MISSING_QUOTES + 1
        if not state[kind]:
            stop = find_byte(html, at + 1, np.int64(html[at]))
            if stop < html.size:
                return at + 1, stop, stop + 1
            state[kind] = 1
    start = at
    while at < html.size and html[at] != GREATER and not is_space(html[at]):
        at += 1
    return start, at, at


@inner
def read_attributes(html, at, tables, state, tag):
    """Read to the ">" of a tag.

    Returns where the page goes on, whether the tag closes itself, whether it is hidden, its cues (bits), the
    hash of its class (0 without one), and the value of the one attribute that its kind of tag has for us:
    type of <script>, encoding of <annotation>, alttext of <math>, lang of <html>.
    """
    cues, class_hash = np.uint64(0), np.uint64(0)
    special_start = special_stop = np.int64(0)
    closes_itself = is_hidden = False
    while at < html.size and html[at] != GREATER:
        if is_space(html[at]):
            at += 1
            continue
        if html[at] == SLASH:
            closes_itself = at + 1 < html.size and html[at + 1] == GREATER
            at += 1
            continue
        name, at = read_name(html, at)
        while at < html.size and is_space(html[at]):
            at += 1
        start = stop = at
        if at < html.size and html[at] == EQUALS:
            start, stop, at = read_value(html, at + 1, state)
        if name == _CLASS or name == _ID or name == _ROLE or name == _ITEMPROP:
            if tag != _BODY and tag != _HTML and stop - start < _MAX_CUE_BYTES:
                cues |= read_cues(html, start, stop, tables)
                if name == _CLASS and stop > start:
                    class_hash = hash_bytes(html, start, stop) + np.uint64(tag)
        elif name == _HIDDEN or (name == _STYLE and hides(html, start, stop)):
            cues |= _HIDES
            is_hidden = tag != _BODY and tag != _HTML
        elif (
            (tag == _SCRIPT and name == _TYPE)
            or (tag == _ANNOTATION and name == _ENCODING)
            or (tag == _MATH and name == _ALTTEXT)
            or (tag == _HTML and name == _LANG)
        ):
            special_start, special_stop = start, stop
    return at + 1, closes_itself, is_hidden, cues, class_hash, special_start, special_stop


@inner
def read_cues(html, start, stop, tables):
    state = tables.next_state[0, 26]
    cues = tables.state_cues[state]
    for at in range(start, stop):
        state = tables.next_state[state, tables.letter[html[at]]]
        cues |= tables.state_cues[state]
    state = tables.next_state[state, 26]
    return cues | tables.state_cues[state]


@inner
def hash_bytes(text, start, stop):
    """FNV-1a of text[start:stop]."""
    value = FNV_START
    for at in range(start, stop):
        value = (value ^ np.uint64(text[at])) * FNV_PRIME
    return value


@inner
def hides(html, start, stop):
    """Does a style attribute say display: none or visibility: hidden? (The first such word counts.)"""
    for at in range(start, stop - 12):
        first = html[at] | 32
        if first == 100 and (html[at + 3] | 32) == 112 and html[at + 7] == _COLON:  # display:
            word = at + 9 if html[at + 8] == SPACE_BYTE else at + 8
            return (html[word] | 32) == 110 and (html[word + 1] | 32) == 111
        if first == 118 and (html[at + 4] | 32) == 98 and html[at + 10] == _COLON:  # visibility:
            word = at + 12 if html[at + 11] == SPACE_BYTE else at + 11
            return (html[word] | 32) == 104
    at = stop - 12  # "display:none" has 12 bytes
    if at >= start and (html[at] | 32) == 100 and html[at + 7] == _COLON:
        return (html[at + 8] | 32) == 110
    return False


@inner
def contains(html, start, stop, letters):
    """Do the three bytes of `letters` (see `three_letters`), in either case, stand in html[start:stop]?"""
    last = np.int64(0)
    for at in range(start, stop):
        last = ((last << 8) | html[at] | 32) & 0xFFFFFF
        if last == letters:
            return True
    return False


@inner
def find_raw_end(html, at, name, length):
    """Where "</name" begins at or after `at`, else the page's size. `name` is a key of `length` bytes."""
    while True:
        at = find_byte(html, at, LESS)
        if at + 1 + length >= html.size:
            return np.int64(html.size)
        if html[at + 1] == SLASH:
            key, end = read_name(html, at + 2)
            if key == name and end - at - 2 == length:
                return at
        at += 1


@inner
def skip_comment(html, at):
    """The end of the comment, declaration or processing instruction whose "<" is at `at`."""
    if at + 3 < html.size and html[at + 1] == BANG and html[at + 2] == DASH and html[at + 3] == DASH:
        at += 4
        while at < html.size:
            at = find_byte(html, at, GREATER)
            if html[at - 1] == DASH and html[at - 2] == DASH:  # also <!--> and <!--->
                break
            if html[at - 1] == BANG and html[at - 2] == DASH and html[at - 3] == DASH:
                break
            at += 1
        return at + 1
    return find_byte(html, at, GREATER) + 1
