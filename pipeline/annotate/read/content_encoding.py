"""Transfer and content codings of an HTTP body taken off, with bounded output.

Archives hold bodies in every state: coded as the headers say, decoded although the headers say otherwise,
coded twice, cut off by the crawler. So the bytes decide, and the header is a hint. A body that only ends too
early is kept as far as it decodes and flagged; one that is damaged inside is refused.
"""

import re
from dataclasses import dataclass
from functools import partial

import brotli
import pyarrow as pa

from pipeline.annotate.read.inflate import (
    GZIP,
    GZIP_MAGIC,
    PIECE_BYTES,
    RAW_DEFLATE,
    ZLIB,
    ZSTD_MAGIC,
    Damaged,
    DeflateMember,
    OpenMember,
    ZstdFrame,
    check_ratio,
)
from pipeline.annotate.read.window import Window

_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9a-fA-F]{1,15})[ \t]*(?:;[^\n]*)?\r?\n")
_CHUNK_END = re.compile(rb"\r?\n")
_CUT_SIZE = re.compile(rb"[0-9a-fA-F]{0,15}\r?")
_CHUNK_LINE_BYTES = 4 << 10

_MAX_CODINGS = 3  # one is usual, two happen; each of them may expand
_FEED_BYTES = 1 << 10  # brotli's output is cut only between calls
_SNIFFED_BYTES = 1 << 10
_CONTROL = re.compile(rb"[\x00-\x08\x10-\x1a\x1c-\x1f]")  # without shifts and escape: ISO-2022 text has them
_CONTROLS_PER = 50  # compressed bytes have one control character in 10, text none or a stray one
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Body:
    """A decoded body; `truncated` if its coding promised more than the archive holds."""

    content: bytes
    truncated: bool = False


def remove_chunking(body: bytes) -> Body:
    """The content of a chunked body, or of one that plainly is not chunked; else Damaged(bad_chunking)."""
    if not _CHUNK_SIZE.match(body, 0, _CHUNK_LINE_BYTES):
        return Body(body)
    chunks: list[memoryview] = []
    view, position = memoryview(body), 0
    while size_line := _CHUNK_SIZE.match(body, position, position + _CHUNK_LINE_BYTES):
        size = int(size_line.group(1), 16)
        if size == 0:
            return Body(b"".join(chunks))
        end = size_line.end() + size
        chunks.append(view[size_line.end() : end])
        line_end = _CHUNK_END.match(body, end)
        if not line_end and len(body) > end and body[end:] != b"\r":
            raise Damaged("bad_chunking")
        position = line_end.end() if line_end else len(body)
    if not _CUT_SIZE.fullmatch(body, position):
        raise Damaged("bad_chunking")
    return Body(b"".join(chunks), truncated=True)


def remove_content_encoding(body: bytes, codings: list[str], *, max_bytes: int, max_ratio: int) -> Body:
    """The body without `codings` (lower case, in the order of application) and without gzip that nobody
    named.

    Damaged(bad_content_encoding | ratio_cap | page_too_large).
    """
    if len(codings) > _MAX_CODINGS:
        raise Damaged("bad_content_encoding")
    decoded = Body(body)
    for coding in [
        *reversed(codings),
        *["gzip"] * _MAX_CODINGS,
    ]:  # no page begins like gzip: still coded if it does
        open_member = _opener(coding, decoded.content, max_ratio)
        if open_member:
            decoded = _decode(decoded, open_member, max_bytes)
    if len(decoded.content) > max_bytes:
        raise Damaged("page_too_large")
    if codings and _looks_binary(decoded.content):
        raise Damaged("bad_content_encoding")
    return decoded


def _opener(coding: str, content: bytes, max_ratio: int) -> OpenMember | None:
    """How to decode the content, or None if it does not look coded in this way (or the coding is unknown)."""
    if coding in ("gzip", "x-gzip"):
        return (
            partial(DeflateMember, max_ratio=max_ratio, wbits=GZIP)
            if content.startswith(GZIP_MAGIC)
            else None
        )
    if coding == "zstd":
        return partial(ZstdFrame, max_ratio=max_ratio) if content.startswith(ZSTD_MAGIC) else None
    if coding == "deflate":  # meant to be zlib (RFC 9110), sent without its header by many servers
        if len(content) > 1 and content[0] & 0x8F == 8 and int.from_bytes(content[:2], "big") % 31 == 0:
            return partial(DeflateMember, max_ratio=max_ratio, wbits=ZLIB)
        return (
            partial(DeflateMember, max_ratio=max_ratio, wbits=RAW_DEFLATE) if _looks_binary(content) else None
        )
    if coding == "br":
        return partial(_BrotliStream, max_ratio=max_ratio) if _looks_binary(content) else None
    return None


def _decode(body: Body, open_member: OpenMember, max_bytes: int) -> Body:
    """All members of the body; what follows the last is ignored, as browsers do."""
    content = body.content
    window = Window(pa.BufferReader(content), len(content))
    pieces: list[bytes] = []
    total, offset = 0, 0
    magic = content[:3]
    try:
        while offset == 0 or (magic == GZIP_MAGIC and window.at(offset, 3) == magic):
            member = open_member(window, offset)
            while piece := member.read():
                pieces.append(piece)
                total += len(piece)
                if total > max_bytes:
                    raise Damaged("page_too_large")
            offset = member.offset
    except Damaged as damage:
        if damage.reason in ("ratio_cap", "page_too_large"):
            raise
        if not pieces or not damage.reason.startswith("truncated"):
            raise Damaged("bad_content_encoding") from damage
        return Body(b"".join(pieces), truncated=True)
    return Body(b"".join(pieces), body.truncated)


class _BrotliStream:
    """A brotli stream as a Member."""

    def __init__(self, window: Window, offset: int, *, max_ratio: int) -> None:
        self.offset = offset
        self._window = window
        self._max_ratio = max_ratio
        self._decompressor = brotli.Decompressor()
        self._produced = 0

    def read(self) -> bytes:
        """The next piece, b"" at the end; Damaged(truncated_brotli | bad_brotli | ratio_cap)."""
        while not self._decompressor.is_finished():
            feed = b""
            if self._decompressor.can_accept_more_data():
                feed = self._window.at(self.offset, _FEED_BYTES)
                self.offset += len(feed)
                if not feed:
                    raise Damaged("truncated_brotli")
            try:
                piece = self._decompressor.process(feed, output_buffer_limit=PIECE_BYTES)
            except brotli.error as error:
                raise Damaged("bad_brotli") from error
            if piece:
                self._produced += len(piece)
                check_ratio(self._produced, self.offset, self._max_ratio)
                return piece
        return b""


def _looks_binary(content: bytes) -> bool:
    """Whether the start of the content has more control characters than text has."""
    start = content[:_SNIFFED_BYTES]
    if start.startswith(_UTF16_BOMS):
        return False
    return len(_CONTROL.findall(start)) * _CONTROLS_PER > len(start)
