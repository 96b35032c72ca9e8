"""Numbers as groups of digits, and what may stand around one: a part of personal_data.py."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.jit import kernel
from pipeline.kernels.personal_addresses import ALPHANUMERIC

MAX_GROUPS, MAX_DIGITS = 24, 96
SPACE, HYPHEN, STOP, BRACKET = 0x20, 0x2D, 0x2E, 0x29
PLUS, OPEN, SLASH, UNDERSCORE = 0x2B, 0x28, 0x2F, 0x5F


class Number(NamedTuple):
    """Scratch: `digits` int64 [96]; by group `firsts` int64 [25], which digit it begins with, `starts` and
    `ends` int64 [24], its bytes, and `separators` int64 [24], what stands before it (0: nothing).
    """

    digits: NDArray[np.int64]
    firsts: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    separators: NDArray[np.int64]


def empty_number() -> Number:
    """Scratch for one number at a time."""
    sizes = (MAX_DIGITS, MAX_GROUPS + 1, MAX_GROUPS, MAX_GROUPS, MAX_GROUPS)
    return Number(*(np.zeros(size, np.int64) for size in sizes))


@kernel
def read_digit(text, at, stop):
    """(value of the digit at byte `at`, or -1; the position after it); joiners before it are passed over."""
    while at + 2 < stop and text[at] == 0xE2 and text[at + 1] == 0x80 and 0x8C <= text[at + 2] <= 0x8F:
        at += 3
    if at < stop:
        byte = np.int64(text[at])
        if 0x30 <= byte <= 0x39:
            return byte - 0x30, at + 1
        if byte == 0xEF and at + 2 < stop and text[at + 1] == 0xBC and 0x90 <= text[at + 2] <= 0x99:
            return np.int64(text[at + 2]) - 0x90, at + 3
    return np.int64(-1), at


@kernel
def read_number(text, at, stop, number):
    """Reads groups of digits into `number`: (groups, position after them)."""
    groups, digits = np.int64(0), np.int64(0)
    separator = np.int64(0)
    while groups < MAX_GROUPS:
        value, after = read_digit(text, at, stop)
        if value < 0:
            break
        number.starts[groups], number.firsts[groups] = at, digits
        number.separators[groups] = separator
        while value >= 0:
            if digits < MAX_DIGITS:
                number.digits[digits] = value
                digits += 1
            at = after
            value, after = read_digit(text, at, stop)
        number.ends[groups] = at
        groups += 1
        number.firsts[groups] = digits
        if digits == MAX_DIGITS:
            break
        separator, after = read_separator(text, at, stop)
        value, _ = read_digit(text, after, stop)
        if separator == 0 or value < 0:
            break
        at = after
    return groups, number.ends[groups - 1]


@kernel
def read_separator(text, at, stop):
    """(the separator at byte `at`, 0 if there is none; the position after it)."""
    if at >= stop:
        return np.int64(0), at
    byte = np.int64(text[at])
    if byte == BRACKET:
        follows = at + 1 < stop and (text[at + 1] == SPACE or text[at + 1] == HYPHEN)
        return np.int64(BRACKET), at + 1 + follows
    if byte in (SPACE, HYPHEN, STOP):
        return byte, at + 1
    if byte == 0xEF and at + 2 < stop and text[at + 1] == 0xBC:  # full-width ) and -
        if text[at + 2] == 0x89:
            return np.int64(BRACKET), at + 3
        if text[at + 2] == 0x8D:
            return np.int64(HYPHEN), at + 3
    return np.int64(0), at


@kernel
def may_begin(text, first, start, classes):
    """Whether a number may begin at byte `start`, by what stands before it."""
    if start == first:
        return True
    before = text[start - 1]
    if classes[before] & ALPHANUMERIC or before == UNDERSCORE:
        return False
    if before in (HYPHEN, STOP, SLASH):  # behind a word: Tel.138..., not 1/138...
        return start - 2 >= first and (
            text[start - 2] >= 0x80
            or text[start - 2] == SLASH
            or (before != SLASH and text[start - 2] >= 0x41)
            or (before == SLASH and text[start - 2] <= 0x39)
        )
    return True


@kernel
def may_end(text, stop, classes, number, last, groups):
    """Whether a number may end with the group `last`, by what follows."""
    if last < groups - 1:
        return number.separators[last + 1] != HYPHEN and number.separators[last + 1] != STOP
    return is_end(text, number.ends[last], stop, classes)


@kernel
def is_end(text, at, stop, classes):
    if at >= stop:
        return True
    byte = text[at]
    if classes[byte] & ALPHANUMERIC or byte == UNDERSCORE:
        return False
    if byte == STOP:  # the end of a sentence, not of 17643225600.,
        return at + 1 >= stop or text[at + 1] >= 0x80 or text[at + 1] <= SPACE
    return byte != HYPHEN or at + 1 >= stop or not classes[text[at + 1]] & ALPHANUMERIC


@kernel
def digits_of(number, group):
    return number.firsts[group + 1] - number.firsts[group]


@kernel
def value_of(number, group):
    """The digits of a group of at most 18 as a number."""
    value = np.int64(0)
    for place in range(number.firsts[group], number.firsts[group + 1]):
        value = value * 10 + number.digits[place]
    return value


@kernel
def have_sizes(number, group, groups, sizes):
    """Whether groups of those sizes (decimal digits of `sizes`, first group first) begin here, all with the
    same space or hyphen between them.
    """
    count, rest = np.int64(0), sizes
    while rest > 0:
        count += 1
        rest //= 10
    if group + count > groups:
        return False
    for place in range(count):
        if digits_of(number, group + count - 1 - place) != sizes % 10:
            return False
        sizes //= 10
    separator = number.separators[group + 1]
    if separator != SPACE and separator != HYPHEN:
        return False
    same = True
    for place in range(2, count):
        same &= number.separators[group + place] == separator
    return same
