"""Telephone numbers among groups of digits: a part of personal_data.py.

Mainland China (mobile numbers, and landlines with their area codes), North America, and any country behind a
plus sign. Service numbers without an area code (400, 95xxx) are nobody's.
"""

import numpy as np

from pipeline.kernels.jit import kernel
from pipeline.kernels.personal_addresses import ALPHANUMERIC
from pipeline.kernels.personal_numbers import (
    BRACKET,
    HYPHEN,
    OPEN,
    PLUS,
    SPACE,
    STOP,
    digits_of,
    have_sizes,
    may_end,
    value_of,
)


@kernel
def phone_groups(text, first, stop, classes, number, group, groups):
    """Groups of a telephone number, or 0."""
    plus = _is_plus(text, first, number, group, classes)
    used = _mobile(number, group, groups)
    if used == 0:
        used = _landline(text, first, number, group, groups)
    if used == 0:
        used = _american(text, first, number, group, groups, plus)
    if used > 0 and may_end(text, stop, classes, number, group + used - 1, groups):
        return used
    if not plus:
        return np.int64(0)
    return _international(text, first, stop, classes, number, group, groups)


@kernel
def _is_plus(text, first, number, group, classes):
    """Whether a + that belongs to no word or sum stands before a group."""
    start = number.starts[group]
    if group > 0 or start == first or text[start - 1] != PLUS:
        return False
    return start - 2 < first or not (classes[text[start - 2]] & ALPHANUMERIC or text[start - 2] == BRACKET)


@kernel
def _mobile(number, group, groups):
    """Mainland China: 11 digits from 13 to 19 (MIIT's plan) alone or as 3-4-4, with or without 86."""
    at, count = number.firsts[group], digits_of(number, group)
    if count == 13 and number.digits[at] == 8 and number.digits[at + 1] == 6:
        return np.int64(1) if _is_mobile(number, at + 2) else np.int64(0)
    with_code = (count == 2 or count == 4) and value_of(number, group) == 86
    own = group + 1 if with_code else group
    if own >= groups or (with_code and number.separators[own] == STOP):
        return np.int64(0)
    used = np.int64(0)
    if digits_of(number, own) == 11:
        used = own + 1 - group
    elif digits_of(number, own) == 3 and have_sizes(number, own, groups, 344):
        used = own + 3 - group
    return used if used > 0 and _is_mobile(number, number.firsts[own]) else np.int64(0)


@kernel
def _is_mobile(number, at):
    """Numbers that end with five zeros are amounts."""
    different, rounded = False, True
    for place in range(at + 4, at + 11):
        different |= number.digits[place] != number.digits[at + 3]
        rounded &= place < at + 6 or number.digits[place] == 0
    different &= not rounded
    return number.digits[at] == 1 and number.digits[at + 1] >= 3 and different


@kernel
def _landline(text, first, number, group, groups):
    """Mainland China with its area code: 010-12345678, 0755 1234567, (021)12345678."""
    if group + 1 >= groups:
        return np.int64(0)
    at, area, local = number.firsts[group], digits_of(number, group), digits_of(number, group + 1)
    if number.digits[at] != 0 or number.digits[at + area] == 0:
        return np.int64(0)
    second = number.digits[at + 1]
    good = area == 3 and local == 8 and (second == 2 or (second == 1 and number.digits[at + 2] == 0))
    good |= area == 4 and second >= 3 and (local == 7 or local == 8)
    separator = number.separators[group + 1]
    good &= separator in (HYPHEN, SPACE) or (separator == BRACKET and _is_open(text, first, number, group))
    return np.int64(2) if good else np.int64(0)


@kernel
def _american(text, first, number, group, groups, plus):
    """North America: 415-555-2671, 415.555.2671, (415) 555-2671, each also behind 1 or +1."""
    own = group
    if digits_of(number, group) == 1 and number.digits[number.firsts[group]] == 1:
        own = group + 1
    if own + 2 >= groups or digits_of(number, own) != 3:
        return np.int64(0)
    if digits_of(number, own + 1) != 3 or digits_of(number, own + 2) != 4:
        return np.int64(0)
    left, right = number.separators[own + 1], number.separators[own + 2]
    bracketed = left == BRACKET and _is_open(text, first, number, own) and right != BRACKET
    same = left == right and (left in (HYPHEN, STOP) or (left == SPACE and plus))
    if not bracketed and not same:
        return np.int64(0)
    at = number.firsts[own]
    for code in (at, at + 3):
        one, two, three = number.digits[code], number.digits[code + 1], number.digits[code + 2]
        if one < 2 or (two == 1 and three == 1) or (code == at and (two == 9 or (two == 0 and three == 0))):
            return np.int64(0)
    return own + 3 - group


@kernel
def _international(text, first, stop, classes, number, group, groups):
    """E.164 behind a +: 8 to 15 digits in groups; one group alone has 11 or more."""
    at = number.firsts[group]
    one, two = number.digits[at], number.digits[at + 1]
    if (
        one == 0 or (two == 8 and one == 2) or (one == 8 and (two == 3 or two == 9))
    ):  # +28, +83, +89: no country
        return np.int64(0)
    used, best, total = np.int64(0), np.int64(0), np.int64(0)
    while group + used < groups:
        digits = digits_of(number, group + used)
        if total + digits > 15 or (used > 0 and (digits < 2 or number.separators[group + used] == STOP)):
            break
        total += digits
        used += 1
        if total >= 8 and may_end(text, stop, classes, number, group + used - 1, groups):
            best = used
    if best == 1 and digits_of(number, group) < 11:
        return np.int64(0)
    if one == 1 and (two < 2 or number.digits[at + 4] < 2):  # no area or no exchange of North America
        return np.int64(0)
    if best >= 3 and have_sizes(number, group, groups, 422):  # +1980-02-29 is a day
        return np.int64(0)
    return best


@kernel
def _is_open(text, first, number, group):
    """Whether a group stands behind an opening bracket."""
    start = number.starts[group]
    if start > first and text[start - 1] == PLUS:
        start -= 1
    if start > first and text[start - 1] == OPEN:
        return True
    return (
        start - 2 > first and text[start - 3] == 0xEF and text[start - 2] == 0xBC and text[start - 1] == 0x88
    )


@kernel
def with_prefix(text, first, number, group, used):
    """Where a telephone number begins: with its + and with a bracket that ends inside of it."""
    start, opened = number.starts[group], False
    for place in range(group + 1, group + used):
        opened |= number.separators[place] == BRACKET
    opened &= _is_open(text, first, number, group)
    if start > first and text[start - 1] == PLUS:
        start -= 1
    if opened:
        start -= 1 if text[start - 1] == OPEN else 3
    return start
