"""E-mail and IPv6 addresses around a byte: a part of personal_data.py."""

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.buffers import read_only
from pipeline.kernels.jit import kernel

HEXADECIMAL, ALPHANUMERIC, MAILBOX, TRIGGER = 1, 2, 4, 8
HYPHEN, FULL_STOP = 0x2D, 0x2E
# What no domain ends in: files with @ in their names, such as logo@2x.png, and systemd's units,
# getty@1.service.
_FILES = ("png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "json", "html", "htm", "xml")
_FILES += ("service", "slice", "socket", "timer", "mount")


def byte_classes() -> NDArray[np.uint8]:
    """uint8 [256]: the bits above; TRIGGER is where the scan stops."""
    classes = np.zeros(256, np.uint8)
    for letters, bits in (
        ("0123456789abcdefABCDEF", HEXADECIMAL),
        ("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", ALPHANUMERIC | MAILBOX),
        ("._%+-", MAILBOX),
        ("0123456789@:", TRIGGER),
    ):
        for letter in letters:
            classes[ord(letter)] |= bits
    classes[0xEF] |= TRIGGER  # the first byte of full-width characters
    return read_only(classes)


def file_endings() -> NDArray[np.int64]:
    """_FILES as big-endian numbers."""
    return read_only(np.array([int.from_bytes(name.encode(), "big") for name in _FILES], np.int64))


@kernel
def read_address(text, first, at, stop, classes, files):
    """(start, end) of the e-mail address around the @ at `at`; equal if there is none."""
    start = at
    while start > first and at - start < 64 and classes[text[start - 1]] & MAILBOX:  # RFC 5321: 64
        start -= 1
    while start < at and text[start] == FULL_STOP:
        start += 1
    if start == at or _is_git(text, start, at):
        return at, at
    end, labels, place = at + 1, np.int64(0), at + 1
    only_letters, label = True, at + 1
    while place <= stop:
        byte = text[place] if place < stop else 0
        if classes[byte] & ALPHANUMERIC or (byte == HYPHEN and place > label):
            only_letters &= byte >= 0x41 and byte != HYPHEN
        else:
            size = place - label
            if size == 0 or size > 63:
                break
            if labels > 0 and only_letters and 2 <= size <= 24 and not _is_file(text, label, place, files):
                end = place
            labels += 1
            if byte != FULL_STOP or labels > 9:
                break
            label, only_letters = place + 1, True
        place += 1
    if end == at + 1 or (end < stop and (text[end] == 0x28 or text[end] == 0x5B or text[end] == HYPHEN)):
        return at, at
    if end < stop and classes[text[end]] & ALPHANUMERIC:
        return at, at
    return start, end


@kernel
def _is_git(text, start, at):
    """git@host is how programs, not people, are addressed."""
    return at - start == 3 and text[start] == 0x67 and text[start + 1] == 0x69 and text[start + 2] == 0x74


@kernel
def _is_file(text, start, end, files):
    value = np.int64(0)
    if end - start > 7:
        return False
    for place in range(start, end):
        value = value << 8 | (text[place] | 0x20)
    known = False
    for name in files:
        known |= value == name
    return known


@kernel
def read_ipv6(text, first, at, stop, classes):
    """(start, end) of a public IPv6 address (2000::/3 but for 2001:db8, which is for documentation) whose
    first group ends at `at`, with all eight groups or with ::.
    """
    start = at - 4
    if start < first:
        return at, at
    for place in range(start, at):
        if not classes[text[place]] & HEXADECIMAL:
            return at, at
    if (text[start] != 0x32 and text[start] != 0x33) or _is_documentation(text, start, stop):
        return at, at
    if start > first and (classes[text[start - 1]] & MAILBOX or text[start - 1] == 0x3A):
        return at, at
    groups, place, doubled = np.int64(1), at, False
    while place < stop and text[place] == 0x3A and groups < 8:
        after = place + 1
        if after < stop and text[after] == 0x3A:
            if doubled:
                return at, at
            doubled = True
            after += 1
        size = np.int64(0)
        while after + size < stop and size < 5 and classes[text[after + size]] & HEXADECIMAL:
            size += 1
        if size > 4 or (size == 0 and not (doubled and after == place + 2)):
            return at, at
        place = after + size
        groups += size > 0
        if size == 0:
            break
    if not (groups == 8 or (doubled and groups >= 2)):
        return at, at
    if place < stop and (classes[text[place]] & ALPHANUMERIC or text[place] == 0x3A):
        return at, at
    return start, place


@kernel
def _is_documentation(text, start, stop):
    """2001:db8, also as 2001:0db8, in any case."""
    if start + 8 > stop or text[start + 3] != 0x31 or text[start + 1] != 0x30 or text[start + 2] != 0x30:
        return False
    at = start + 6 if text[start + 5] == 0x30 else start + 5
    return (
        at + 3 <= stop
        and text[start] == 0x32
        and text[at] | 0x20 == 0x64
        and text[at + 1] | 0x20 == 0x62
        and text[at + 2] == 0x38
    )
