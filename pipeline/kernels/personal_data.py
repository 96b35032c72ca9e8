"""Personal data by its form: the scanner behind annotate/personal_data.py, which says what is looked for.

One pass over the bytes stops at @, at a : (IPv6), and at the first digit of a number. A number is a list of
groups of digits with one space, hyphen, full stop or closing bracket between two of them; each kind asks how
many digits its groups have. Full-width digits are digits, and joiners between digits are not there.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.kernels.buffers import text_buffers
from pipeline.kernels.jit import kernel
from pipeline.kernels.personal_addresses import (
    TRIGGER,
    byte_classes,
    file_endings,
    read_address,
    read_ipv6,
)
from pipeline.kernels.personal_kinds import EMAIL, IP, judge_number, number_tables
from pipeline.kernels.personal_numbers import empty_number, read_digit, read_number

KINDS = ("email", "phone", "ip", "id", "card")  # in the order of personal_kinds' numbers
_LEAST_BYTES = 6  # of a find: a@b.cn
_AT, _COLON = 0x40, 0x3A

_CLASSES, _FILES, _TABLES = byte_classes(), file_endings(), number_tables()


class Finds(NamedTuple):
    """Finds in order, without overlaps: row int64, bytes [start, end) in it int64, kind uint8 (KINDS)."""

    row: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    kind: NDArray[np.uint8]


def find_personal_data(text: pa.Array) -> Finds:
    """What a string or large_string array holds of KINDS; two that run into each other are one."""
    buffers = text_buffers(text)
    room = int(buffers.offsets[-1] - buffers.offsets[0]) // _LEAST_BYTES + 1
    rows, starts, ends = (np.empty(room, np.int64) for _ in range(3))
    finds = Finds(rows, starts, ends, np.empty(room, np.uint8))
    count = _find(buffers.offsets, buffers.bytes, _CLASSES, _FILES, _TABLES, empty_number(), finds)
    return Finds(rows[:count], starts[:count], ends[:count], finds.kind[:count])


@kernel
def _find(offsets, text, classes, files, tables, number, finds):
    count = np.int64(0)
    for document in range(offsets.size - 1):
        first, stop = offsets[document], offsets[document + 1]
        base, at = count, first
        while at < stop:
            byte = text[at]
            if not classes[byte] & TRIGGER:
                at += 1
                continue
            if byte in (_AT, _COLON):
                kind = np.int64(EMAIL)
                if byte == _AT:
                    start, end = read_address(text, first, at, stop, classes, files)
                else:
                    kind = np.int64(IP)
                    start, end = read_ipv6(text, first, at, stop, classes)
                if end > start:
                    count = _put(finds, count, base, document, start - first, end - first, kind)
                at = max(at + 1, end)
                continue
            value, _ = read_digit(text, at, stop)
            if value < 0:
                at += 1
                continue
            groups, reached = read_number(text, at, stop, number)
            group = np.int64(0)
            while group < groups:
                kind, used, start, end = judge_number(
                    text, first, stop, classes, tables, number, group, groups
                )
                if used > 0:
                    count = _put(finds, count, base, document, start - first, end - first, kind)
                group += max(used, 1)
            at = reached
    return count


@kernel
def _put(finds, count, base, document, start, end, kind):
    """Adds a find; those that it runs into become one with it, named as the one that starts first."""
    while count > base and finds.start[count - 1] >= start:
        count -= 1
        end = max(end, finds.end[count])
    if count > base and start < finds.end[count - 1]:
        finds.end[count - 1] = max(end, finds.end[count - 1])
        return count
    finds.row[count], finds.start[count], finds.end[count] = document, start, end
    finds.kind[count] = kind
    return count + 1
