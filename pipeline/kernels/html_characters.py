"""Characters: references (&amp;, &#8212;) to code points, and code points from and to UTF-8."""

import numpy as np

from pipeline.kernels.html_lexer import NUMBER_SIGN, SEMICOLON, is_letter, look_up
from pipeline.kernels.html_tables import BARE, ENTITY_SLOTS, TAG_SLOTS
from pipeline.kernels.jit import inner

REPLACEMENT = 0xFFFD


@inner
def read_reference(html, at, tables):
    """(code point, next) of the character reference whose "&" is at `at`; code point -1 if it is none."""
    at += 1
    if at < html.size and html[at] == NUMBER_SIGN:
        return _read_number(html, at + 1, tables)
    key, shift = np.uint64(0), np.uint64(0)
    while at < html.size and shift < 64 and (is_letter(html[at]) or 48 <= html[at] <= 57):
        key |= np.uint64(html[at]) << shift
        shift += np.uint64(8)
        at += 1
    point = look_up(tables, TAG_SLOTS, ENTITY_SLOTS, key)
    if at < html.size and html[at] == SEMICOLON:
        at += 1
    elif point < BARE:
        return np.int64(-1), at
    return (point & (BARE - 1) if point > 0 else np.int64(-1)), at


@inner
def _read_number(html, at, tables):
    is_hex = at < html.size and (html[at] | 32) == 120
    at += is_hex
    first, value = at, np.int64(0)
    while at < html.size:
        byte = html[at] | 32 if is_letter(html[at]) else html[at]
        if 48 <= byte <= 57:
            digit = np.int64(byte) - 48
        elif is_hex and 97 <= byte <= 102:
            digit = np.int64(byte) - 87
        else:
            break
        value = min(value * (16 if is_hex else 10) + digit, 0x110000)
        at += 1
    if at == first:
        return np.int64(-1), at
    if at < html.size and html[at] == SEMICOLON:
        at += 1
    if 128 <= value < 160:
        return np.int64(tables.values[TAG_SLOTS + ENTITY_SLOTS + value - 128]), at
    if value == 0 or value > 0x10FFFF or 0xD800 <= value < 0xE000:
        return np.int64(REPLACEMENT), at
    return value, at


@inner
def write_code_point(text, at, point):
    """Write a code point in UTF-8; returns where the next one goes."""
    if point < 0x80:
        text[at] = point
        return at + 1
    if point < 0x800:
        text[at] = 0xC0 | (point >> 6)
        text[at + 1] = 0x80 | (point & 63)
        return at + 2
    if point < 0x10000:
        text[at] = 0xE0 | (point >> 12)
        text[at + 1] = 0x80 | ((point >> 6) & 63)
        text[at + 2] = 0x80 | (point & 63)
        return at + 3
    text[at] = 0xF0 | (point >> 18)
    text[at + 1] = 0x80 | ((point >> 12) & 63)
    text[at + 2] = 0x80 | ((point >> 6) & 63)
    text[at + 3] = 0x80 | (point & 63)
    return at + 4


@inner
def read_code_point(html, at):
    """(code point, next) of the UTF-8 character at `at`; code point -1 for a byte that begins none."""
    lead = np.int64(html[at])
    length = 2 if 0xC2 <= lead < 0xE0 else 3 if 0xE0 <= lead < 0xF0 else 4 if 0xF0 <= lead < 0xF5 else 0
    if length == 0 or at + length > html.size:
        return np.int64(-1), at + 1
    point = lead & (0x7F >> length)
    for more in range(1, length):
        byte = np.int64(html[at + more])
        if byte & 0xC0 != 0x80:
            return np.int64(-1), at + 1
        point = (point << 6) | (byte & 63)
    if length == 3 and (point < 0x800 or 0xD800 <= point < 0xE000):
        return np.int64(-1), at + 1
    if length == 4 and not 0x10000 <= point < 0x110000:
        return np.int64(-1), at + 1
    return point, at + length
