"""ARC, the format before WARC (Internet Archive, 1996 to 2009): a line before every record, not a header.

`URL IP date type length`, in version 2 with more fields before the length; the URL may hold spaces that
nobody encoded. The first record (filedesc:) describes the file. Everything else, members and damage and
splits, is as with WARC.
"""

import re

from pipeline.annotate.read.framing import Dialect, Fields

_LINE = (
    rb"[A-Za-z][A-Za-z0-9+.-]{1,31}:[^\n]{0,8192} [^ \n]{1,64} [0-9]{12,18} [^ \n]{0,128}"
    rb"(?: [^\n]{0,1024})? -?[0-9a-z]{1,18} ?\r?\n"
)
_FIELDS = re.compile(
    rb"(?P<url>.*) [^ ]+ (?P<date>[0-9]{12,18}) (?P<type>[^ ]*)(?: .*)? (?P<length>[^ ]+) ?\r?\n",
    re.DOTALL,
)
_LONGEST_LINE = 10 << 10
_KINDS = {b"http": b"response", b"https": b"response", b"filedesc": b"warcinfo"}


def parse_line(line: bytes) -> Fields:
    """The line before a record, as the fields that a WARC record would have."""
    found = _FIELDS.fullmatch(line)
    assert found, line  # what _LINE matches, this does
    kind = _KINDS.get(found["url"].partition(b":")[0].lower(), b"resource")
    digits = found["date"].decode().ljust(14, "0")
    day, time = f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}", f"{digits[8:10]}:{digits[10:12]}:{digits[12:14]}"
    return {
        b"warc-type": kind,
        b"warc-target-uri": found["url"],
        b"warc-date": f"{day}T{time}Z".encode(),
        b"content-type": b"application/http" if kind == b"response" else found["type"],
        b"content-length": found["length"],
    }


ARC = Dialect(
    start=re.compile(_LINE),
    line_start=re.compile(rb"(?<=\n)" + _LINE),
    start_bytes=_LONGEST_LINE,
    header_end=re.compile(rb"\n"),
    parse=parse_line,
)
ARC_MAGIC = b"filedesc:"
