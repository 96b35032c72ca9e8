"""Which kind of personal number a list of groups is: a part of personal_data.py.

Telephone numbers, IPv4 addresses, numbers of residents of China, bank cards. Numbers other than addresses are
left alone inside of URLs: they name pages.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.buffers import read_only
from pipeline.kernels.jit import kernel
from pipeline.kernels.personal_addresses import ALPHANUMERIC, HEXADECIMAL
from pipeline.kernels.personal_numbers import (
    BRACKET,
    HYPHEN,
    PLUS,
    SLASH,
    SPACE,
    STOP,
    digits_of,
    have_sizes,
    is_end,
    may_begin,
    may_end,
    value_of,
)
from pipeline.kernels.personal_phones import phone_groups, with_prefix

EMAIL, PHONE, IP, ID, CARD = range(5)
_SMALL_OCTET = 32  # of 500 addresses one has none that is larger; of versions and sections nearly all
_TIMES = 0x2A
_URL_BYTES = 256  # how far back the beginning of a URL is looked for
# GB/T 2260: provinces, the first two digits of a resident's number; 83: residents from Taiwan.
_PROVINCES = (11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46)
_PROVINCES += (50, 51, 52, 53, 54, 61, 62, 63, 64, 65, 71, 81, 82, 83)
_ID_DIGITS = 18
_MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_BEFORE_VERSIONS = (b"ersion ", b"ection ", b"elease ")  # Version 1.2.3.4, Section 3.1.2.4


class NumberTables(NamedTuple):
    """`provinces` bool [100], `month_days` int64 [12], `versions` uint8 [3, 7]."""

    provinces: NDArray[np.bool_]
    month_days: NDArray[np.int64]
    versions: NDArray[np.uint8]


def number_tables() -> NumberTables:
    """What kinds of numbers are checked against."""
    provinces = np.zeros(100, np.bool_)
    provinces[list(_PROVINCES)] = True
    versions = np.array([list(word) for word in _BEFORE_VERSIONS], np.uint8)
    tables = (provinces, np.array(_MONTH_DAYS, np.int64), versions)
    return NumberTables(*(read_only(table) for table in tables))


@kernel
def judge_number(text, first, stop, classes, tables, number, group, groups):
    """What begins with a group: (kind, groups that it takes, start, end); no groups if it is nothing."""
    nothing = (np.int64(EMAIL), np.int64(0), first, first)
    if group > 0 and number.separators[group] == STOP:
        return nothing
    start = number.starts[group]
    if group == 0 and not may_begin(text, first, start, classes):
        return nothing
    used = _ipv4(text, first, stop, classes, tables, number, group, groups)
    if used > 0:
        return np.int64(IP), used, start, number.ends[group + used - 1]
    if (group > 0 and number.separators[group] == HYPHEN) or _is_term(
        text, first, stop, number, group, classes
    ):
        return nothing
    kind = np.int64(ID)
    used, end = _resident(text, stop, classes, tables, number, group, groups)
    if used == 0:
        kind, used = np.int64(CARD), _card(text, first, stop, classes, number, group, groups)
        if used == 0:
            kind, used = np.int64(PHONE), phone_groups(text, first, stop, classes, number, group, groups)
            if used > 0:
                start = with_prefix(text, first, number, group, used)
        if used == 0:
            return nothing
        end = number.ends[group + used - 1]
    if _in_url(text, first, start):
        return nothing
    return kind, used, start, end


@kernel
def _ipv4(text, first, stop, classes, tables, number, group, groups):
    """4, or 0 if it is no address, or none that is somebody's."""
    if group + 4 > groups:
        return np.int64(0)
    largest = np.int64(0)
    for place in range(group, group + 4):
        digits = digits_of(number, place)
        value = value_of(number, place) if digits <= 3 else np.int64(999)
        if value > 255 or (digits > 1 and number.digits[number.firsts[place]] == 0):
            return np.int64(0)
        if place > group and number.separators[place] != STOP:
            return np.int64(0)
        largest = max(largest, value)
    if not _is_public(value_of(number, group), value_of(number, group + 1), value_of(number, group + 2)):
        return np.int64(0)
    if group + 4 < groups:
        if number.separators[group + 4] == STOP:
            return np.int64(0)
    elif not is_end(text, number.ends[group + 3], stop, classes):
        return np.int64(0)
    start, end = number.starts[group], number.ends[group + 3]
    if largest < 50 and (start == first or text[start - 1] == 0x0A or text[start - 1] == 0x23):
        return np.int64(0)  # 3.1.2.4 at the beginning of a line numbers a section
    if largest < _SMALL_OCTET:  # a version or a section, unless it is used as an address
        used = end + 1 < stop and text[end] in (0x3A, 0x2F) and 0x30 <= text[end + 1] <= 0x39  # :80 or /24
        if not used and (start == first or text[start - 1] != 0x2F):
            return np.int64(0)
    for row in range(tables.versions.shape[0]):
        width = tables.versions.shape[1]
        same = start - width >= first
        place = np.int64(0)
        while same and place < width:
            same = text[start - width + place] == tables.versions[row, place]
            place += 1
        if same:
            return np.int64(0)
    return np.int64(4)


@kernel
def _is_public(one, two, three):
    """Whether the first octets are of a network that is reachable from outside (IANA's special-purpose
    registry, RFC 6890); as datatrove's PII formatter chooses.
    """
    if one == 0 or one == 10 or one == 127 or one > 223:
        return False
    if (one == 100 and 64 <= two < 128) or (one == 169 and two == 254) or (one == 172 and 16 <= two < 32):
        return False
    if one == 192 and (two == 168 or (two == 0 and (three == 0 or three == 2))):
        return False
    if (one == 198 and (two == 18 or two == 19)) or (one == 198 and two == 51 and three == 100):
        return False
    return not (one == 203 and two == 0 and three == 113)


@kernel
def _resident(text, stop, classes, tables, number, group, groups):
    """(groups, end) of a resident's number with a right check digit (GB 11643), or (0, 0)."""
    used, digits = np.int64(1), digits_of(number, group)
    last = group
    if (
        digits == 6
        and group + 2 < groups
        and (have_sizes(number, group, groups, 684) or have_sizes(number, group, groups, 683))
    ):
        used, last = np.int64(3), group + 2
        digits = 14 + digits_of(number, last)
    end, check = number.ends[last], np.int64(10)
    if digits == _ID_DIGITS - 1:
        if end < stop and text[end] | 0x20 == 0x78:
            end += 1
        elif (
            end + 2 < stop
            and text[end] == 0xEF
            and (
                (text[end + 1] == 0xBC and text[end + 2] == 0xB8)
                or (text[end + 1] == 0xBD and text[end + 2] == 0x98)
            )
        ):
            end += 3
        else:
            return np.int64(0), np.int64(0)
        if not is_end(text, end, stop, classes):
            return np.int64(0), np.int64(0)
    elif digits == _ID_DIGITS and may_end(text, stop, classes, number, last, groups):
        check = number.digits[number.firsts[group] + _ID_DIGITS - 1]
    else:
        return np.int64(0), np.int64(0)
    at, total, weight = number.firsts[group], check, np.int64(2)
    for place in range(at + _ID_DIGITS - 2, at - 1, -1):  # ISO 7064, MOD 11-2: weights 2, 4, 8, ... modulo 11
        total += number.digits[place] * weight
        weight = weight * 2 % 11
    year = month = day = np.int64(0)
    for place in range(4):
        year = year * 10 + number.digits[at + 6 + place]
    month = number.digits[at + 10] * 10 + number.digits[at + 11]
    day = number.digits[at + 12] * 10 + number.digits[at + 13]
    good = total % 11 == 1 and tables.provinces[number.digits[at] * 10 + number.digits[at + 1]]
    good &= 1800 <= year < 2100 and 1 <= month <= 12
    if (
        not good
        or day < 1
        or day > tables.month_days[month - 1]
        or (month == 2 and day == 29 and (year % 4 != 0 or (year % 100 == 0 and year % 400 != 0)))
    ):
        return np.int64(0), np.int64(0)
    return used, end


@kernel
def _is_term(text, first, stop, number, group, classes):
    """Whether a number stands in a sum or product: behind `x + `, before `*x`."""
    start, end = number.starts[group], number.ends[group]
    if end + 1 < stop and text[end] == _TIMES and classes[text[end + 1]] & ALPHANUMERIC:
        return True
    if start - 4 < first or text[start - 1] != SPACE or text[start - 3] != SPACE:
        return False
    operator, before = text[start - 2], text[start - 4]
    known = operator in (PLUS, HYPHEN, _TIMES, SLASH)
    return known and (classes[before] & ALPHANUMERIC or before == BRACKET)


@kernel
def _in_dump(text, first, stop, start, end, classes):
    """Whether four hexadecimal digits stand before or behind: groups of four are a memory dump's, too."""
    at = start
    while at > first and start - at < 3 and text[at - 1] == SPACE:
        at -= 1
    if at < start and at - 4 >= first and _are_hexadecimal(text, at - 4, at, classes):
        return True
    at = end
    while at < stop and at - end < 3 and text[at] == SPACE:
        at += 1
    return at > end and at + 4 <= stop and _are_hexadecimal(text, at, at + 4, classes)


@kernel
def _are_hexadecimal(text, start, end, classes):
    same = True
    for at in range(start, end):
        same &= classes[text[at]] & HEXADECIMAL != 0
    return same


@kernel
def _card(text, first, stop, classes, number, group, groups):
    """Groups of a bank card of a known issuer whose last digit is right (ISO/IEC 7812-1, Luhn), or 0."""
    first_digits = digits_of(number, group)
    used, count = np.int64(1), first_digits
    if first_digits == 4 and have_sizes(number, group, groups, 4444):
        used, count = np.int64(4), np.int64(16)
        if group + 4 < groups and number.separators[group + 4] == number.separators[group + 1]:
            extra = digits_of(number, group + 4)
            if extra == 3:
                used, count = np.int64(5), np.int64(19)
    elif first_digits == 4 and have_sizes(number, group, groups, 465):
        used, count = np.int64(3), np.int64(15)
    if count < 14 or count > 19 or not may_end(text, stop, classes, number, group + used - 1, groups):
        return np.int64(0)
    if used > 1 and _in_dump(text, first, stop, number.starts[group], number.ends[group + used - 1], classes):
        return np.int64(0)
    at = number.firsts[group]
    six = np.int64(0)
    for place in range(at, at + 6):
        six = six * 10 + number.digits[place]
    if not _is_issued(six, count):
        return np.int64(0)
    total, same = np.int64(0), True
    for place in range(count):
        digit = number.digits[at + count - 1 - place]
        same &= digit == number.digits[at]
        if place % 2 == 1:
            digit = digit * 2 if digit < 5 else digit * 2 - 9
        total += digit
    return used if total % 10 == 0 and not same else np.int64(0)


@kernel
def _is_issued(six, count):
    """Whether an issuer has cards of `count` digits that begin with those six."""
    two, three, four = six // 10_000, six // 1_000, six // 100
    if two == 62 and (count == 16 or count == 19):  # UnionPay
        return True
    if count == 16:
        if six // 100_000 == 4 or 3528 <= four <= 3589:  # Visa, JCB
            return True
        if four == 6011 or two == 65 or 644 <= three <= 649:  # Discover
            return True
        return 51 <= two <= 55 or 2221 <= four <= 2720 or 2200 <= four <= 2204  # Mastercard, Mir
    if count == 15:  # American Express
        return two == 34 or two == 37
    if count == 14:  # Diners Club
        return 300 <= three <= 305 or two == 36 or two == 38
    return False


@kernel
def _in_url(text, first, start):
    """Whether what is before byte `start` up to the last space or letter outside of ASCII holds ://."""
    at = start - 1
    while at >= first and start - at < _URL_BYTES and 0x21 <= text[at] <= 0x7E:
        if text[at] == SLASH and at - 2 >= first and text[at - 1] == SLASH and text[at - 2] == 0x3A:
            return True
        at -= 1
    return False
