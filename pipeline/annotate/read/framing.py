"""WARC (or ARC) records cut out of a stream of bytes: the same for a plain file and for a decompressed
member.

A record is sound when it has a header with a Content-Length and another record, or the end, follows the body
and its line ends (any number of them: writers differ). Everything else is a frame with a reason, and reading
goes on at the next line that begins like a record. Nothing is consumed before it is verified, so a wrong
Content-Length costs one record and not those that it points over; only inside a compressed member a length
above max_record_bytes is believed, because there is no way back.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from pipeline.annotate.read.inflate import PIECE_BYTES, Damaged
from pipeline.annotate.read.records import RAW_BYTES
from pipeline.annotate.read.window import Window

HEADER_BYTES = 64 << 10  # the longest header that is believed; real ones have about 500 bytes
BLANK_BYTES = 64 << 10  # the longest run of line ends that is taken for the end of a record

_FOLD = re.compile(rb"\r*\n[ \t]+")
_NOT_LINE_END = re.compile(rb"[^\r\n]")

Fields = dict[bytes, bytes]  # names in lower case, values stripped, the first of equal names


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the records of a format begin."""

    start: re.Pattern[bytes]  # at the first byte of one
    line_start: re.Pattern[bytes]  # the same, at the beginning of a line that is searched for
    start_bytes: int  # as many tell a start
    header_end: re.Pattern[bytes]
    parse: Callable[[bytes], Fields]


def parse_header(header: bytes) -> Fields:
    """The fields of a WARC header, the version line apart."""
    fields: Fields = {}
    if b"\n " in header or b"\n\t" in header:
        header = _FOLD.sub(b" ", header)
    for line in header.split(b"\n")[1:]:
        name, _, value = line.partition(b":")
        fields.setdefault(name.strip().lower(), value.strip())
    return fields


WARC = Dialect(
    start=re.compile(rb"WARC/[01]\.\d"),
    line_start=re.compile(rb"(?<=\n)WARC/[01]\.\d"),
    start_bytes=8,
    header_end=re.compile(rb"\n\r*\n"),
    parse=parse_header,
)


@dataclass(frozen=True, slots=True)
class Frame:
    """The bytes [start, end) of a stream: a record, or damage with its reason."""

    start: int
    end: int
    fields: Fields
    body: bytes  # of a sound record; of a damaged one up to RAW_BYTES from its start
    reason: str  # "" if sound


class ByteSource(Protocol):
    """Where a stream's bytes come from."""

    def read(self) -> bytes: ...  # the next piece of this container, b"" at its end
    def extend(self) -> bytes: ...  # the first piece of what continues the container in mid-record, or b""
    def seek(self, position: int) -> bool: ...  # stands at this byte of the stream; False if it cannot


class StoredBytes:
    """Plain bytes of a file from `offset` to its end; the stream's positions are file offsets."""

    def __init__(self, window: Window, offset: int) -> None:
        self._window = window
        self._offset = offset

    def read(self) -> bytes:
        piece = self._window.at(self._offset, PIECE_BYTES)
        self._offset += len(piece)
        return piece

    def extend(self) -> bytes:
        return b""

    def seek(self, position: int) -> bool:
        self._offset = position
        return True


class Stream:
    """A buffer over a source: [at, len(buffer)) is what is there and not yet consumed."""

    def __init__(self, source: ByteSource, position: int = 0, dialect: Dialect = WARC) -> None:
        self.dialect = dialect
        self.buffer = b""
        self.at = 0
        self._source = source
        self._base = position  # of buffer[0] in the stream

    @property
    def position(self) -> int:
        return self._base + self.at

    def fill(self) -> bool:
        """Appends one more piece of the container; False at its end."""
        return self._append(self._source.read())

    def ensure(self, count: int) -> bool:
        """Whether `count` bytes are there, going on into members that continue the record."""
        have = len(self.buffer) - self.at
        if have >= count:
            return True
        pieces = [self.buffer[self.at :]]
        while have < count and (piece := self._source.read() or self._source.extend()):
            pieces.append(piece)
            have += len(piece)
        self._base += self.at
        self.buffer, self.at = b"".join(pieces), 0
        return have >= count

    def discard(self, count: int) -> bool:
        """Consumes `count` bytes without keeping them; False if the container has fewer."""
        while (rest := count - (len(self.buffer) - self.at)) > 0:
            end = self._base + len(self.buffer)
            self.buffer, self.at, self._base, count = b"", 0, end, rest
            if not self._append(self._source.read() or self._source.extend()):
                return False
        self.at += count
        return True

    def seek(self, position: int) -> bool:
        """Stands at `position`, if the source can."""
        if not self._source.seek(position):
            return False
        self.buffer, self.at, self._base = b"", 0, position
        return True

    def border(self, ahead: int) -> int:
        """Bytes to the next record or the container's end, if from `ahead` on only line ends lie between;
        else -1.
        """
        while True:
            found = _NOT_LINE_END.search(self.buffer, self.at + ahead, self.at + ahead + BLANK_BYTES)
            if found:
                start = found.start() - self.at
                self.ensure(start + self.dialect.start_bytes)
                return start if self.dialect.start.match(self.buffer, self.at + start) else -1
            if len(self.buffer) - self.at > ahead + BLANK_BYTES:
                return -1
            if not self.fill():
                return len(self.buffer) - self.at

    def scan(self) -> None:
        """Consumes up to the next line that begins like a record, or to the end."""
        while True:
            found = self.dialect.line_start.search(self.buffer, self.at)
            if found:
                self.at = found.start()
                return
            self.at = max(self.at, len(self.buffer) - self.dialect.start_bytes)
            if not self.fill():
                self.at = len(self.buffer)
                return

    def _append(self, piece: bytes) -> bool:
        if piece:
            keep = max(
                self.at - self.dialect.start_bytes, 0
            )  # a little of what is consumed, for the look-behind of line_start
            self.buffer, self.at, self._base = self.buffer[keep:] + piece, self.at - keep, self._base + keep
        return bool(piece)


def read_frames(stream: Stream, *, max_record_bytes: int) -> Iterator[Frame]:
    """The frames of a stream; they tile it. Damaged, from the source, carries the URL of its record."""
    while stream.at < len(stream.buffer) or stream.fill():
        yield _read_frame(stream, max_record_bytes)


def _read_frame(stream: Stream, max_record_bytes: int) -> Frame:
    start = stream.position
    blank = stream.border(0)
    if blank < 0:
        return _damage(stream, start, {}, "unparsed_bytes")
    stream.at += blank
    if stream.at == len(stream.buffer):
        return Frame(start, stream.position, {}, b"", "empty_member")
    header_bytes, reason = _measure_header(stream)
    if reason:
        return _damage(stream, start, {}, reason)
    fields = stream.dialect.parse(stream.buffer[stream.at : stream.at + header_bytes])
    length = fields.get(b"content-length", b"")
    if not length.isdigit() or len(length) > 18:
        return _damage(stream, start, fields, "bad_record_header")
    body_bytes = int(length)
    try:
        if body_bytes > max_record_bytes:
            return _pass_over(stream, start, fields, header_bytes + body_bytes)
        if not stream.ensure(header_bytes + body_bytes):
            return _damage(stream, start, fields, "truncated_record")
        ahead = stream.border(header_bytes + body_bytes)
    except Damaged as damage:
        damage.url = target_url(fields)
        raise
    if ahead < 0:
        return _damage(stream, start, fields, "bad_length")
    body_start = stream.at + header_bytes
    body = stream.buffer[body_start : body_start + body_bytes]
    stream.at += ahead
    return Frame(start, stream.position, fields, body, "")


def _measure_header(stream: Stream) -> tuple[int, str]:
    """The bytes of the header with its blank line, and "" or what is wrong with it."""
    while True:
        found = stream.dialect.header_end.search(stream.buffer, stream.at, stream.at + HEADER_BYTES)
        if found:
            return found.end() - stream.at, ""
        have = len(stream.buffer) - stream.at
        if have >= HEADER_BYTES:
            return 0, "bad_record_header"
        if not stream.ensure(have + 1):
            return 0, "truncated_record"


def _pass_over(stream: Stream, start: int, fields: Fields, count: int) -> Frame:
    """A record that is too large: its body is read past in pieces, or stepped over in a plain file."""
    raw = _raw(stream)
    here = stream.position
    there = stream.discard(1 if stream.seek(here + count - 1) else count)
    ahead = stream.border(0) if there else -1
    if ahead >= 0:
        stream.at += ahead
        return Frame(start, stream.position, fields, raw, "record_too_large")
    stream.seek(here)
    return _damage(stream, start, fields, "bad_length" if there else "truncated_record", raw)


def _damage(stream: Stream, start: int, fields: Fields, reason: str, raw: bytes = b"") -> Frame:
    """The frame from `start` to the next start of a record behind the stream's position."""
    raw = raw or _raw(stream)
    stream.at = min(stream.at + 1, len(stream.buffer))  # past a start that was no record
    stream.scan()
    return Frame(start, stream.position, fields, raw[: stream.position - start], reason)


def _raw(stream: Stream) -> bytes:
    while len(stream.buffer) - stream.at < RAW_BYTES and stream.fill():
        pass
    return stream.buffer[stream.at : stream.at + RAW_BYTES]


def target_url(fields: Fields) -> str:
    """WARC-Target-URI as text; without the angle brackets that some writers took over from the grammar."""
    url = fields.get(b"warc-target-uri", b"").decode("utf-8", "replace")
    return url[1:-1] if url.startswith("<") and url.endswith(">") else url
