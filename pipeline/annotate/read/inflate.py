"""Compressed members (gzip members, zstd frames) decompressed piece by piece, with bounded output.

A member is read by `read()` until it gives b""; `offset` is then the first byte after it. No piece is longer
than PIECE_BYTES, whatever the input. What a member may expand to in total is capped by a ratio, so a bomb
ends after little more than max_ratio times its own size; how much is kept of it is the caller's concern.

The zstd frame is walked block by block: its library has no bounded output in streaming, but a block gives at
most 128 KiB (RFC 8878, 3.1.1.2), and the walk tells where the frame ends. One member costs 5 to 10 µs beyond
zlib's time.
"""

import zlib
from collections.abc import Callable
from typing import Protocol

import zstandard

from pipeline.annotate.read.window import Window

FEED_BYTES = 16 << 10  # per call: zlib copies what it does not use, and most pages fit
PIECE_BYTES = 1 << 20
RATIO_FREE_BYTES = 1 << 20  # the ratio says nothing about small output: a page of blanks is no bomb

GZIP_MAGIC = b"\x1f\x8b\x08"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

GZIP = 16 + zlib.MAX_WBITS  # the values of zlib's wbits
ZLIB = zlib.MAX_WBITS
RAW_DEFLATE = -zlib.MAX_WBITS

_ZSTD_WINDOW_BYTES = 1 << 27  # what the zstd tool accepts without --long
_DICTIONARY_BYTES = 16 << 20


class Damaged(Exception):
    """A member cannot be read on; `reason` is a key of records.REASONS."""

    def __init__(self, reason: str, url: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.url = url


class Member(Protocol):
    """One compressed member; `offset` is the next byte of the file that it reads."""

    offset: int

    def read(self) -> bytes: ...


OpenMember = Callable[[Window, int], Member]


def check_ratio(produced: int, consumed: int, max_ratio: int) -> None:
    """Damaged("ratio_cap") if `produced` bytes are more than `max_ratio` times the `consumed` ones."""
    if produced > RATIO_FREE_BYTES and produced > max_ratio * consumed:
        raise Damaged("ratio_cap")


class DeflateMember:
    """A gzip member, or a zlib or raw deflate stream, that starts at `offset`."""

    def __init__(self, window: Window, offset: int, *, max_ratio: int, wbits: int = GZIP) -> None:
        self.offset = offset
        self._start = offset
        self._window = window
        self._max_ratio = max_ratio
        self._inflate = zlib.decompressobj(wbits)
        self._produced = 0

    def read(self) -> bytes:
        """The next piece, b"" at the end; Damaged(truncated_gzip | bad_gzip | ratio_cap)."""
        inflate = self._inflate
        while not inflate.eof:
            feed = inflate.unconsumed_tail
            if not feed:
                feed = self._window.at(self.offset, FEED_BYTES)
                self.offset += len(feed)
            try:
                piece = inflate.decompress(feed, PIECE_BYTES)
            except zlib.error as error:
                raise Damaged("bad_gzip") from error
            if inflate.eof:
                self.offset -= len(inflate.unused_data)
            if piece:
                self._produced += len(piece)
                check_ratio(self._produced, self.offset - self._start, self._max_ratio)
                return piece
            if not feed and not inflate.eof:
                raise Damaged("truncated_gzip")
        return b""


class ZstdFrame:
    """A zstd frame that starts at `offset`."""

    def __init__(
        self,
        window: Window,
        offset: int,
        *,
        max_ratio: int,
        dictionary: zstandard.ZstdCompressionDict | None = None,
    ) -> None:
        self.offset = offset
        self._start = offset
        self._window = window
        self._max_ratio = max_ratio
        self._frame = zstandard.ZstdDecompressor(
            dict_data=dictionary, max_window_size=_ZSTD_WINDOW_BYTES
        ).decompressobj()
        self._produced = 0
        self._checksum_bytes = -1  # -1 until the frame header is read
        self._ended = False

    def read(self) -> bytes:
        """The next piece, b"" at the end; Damaged(truncated_zstd | bad_zstd | ratio_cap)."""
        while not self._ended:
            try:
                piece = self._frame.decompress(self._header() if self._checksum_bytes < 0 else self._block())
            except zstandard.ZstdError as error:
                raise Damaged("bad_zstd") from error
            if piece:
                self._produced += len(piece)
                check_ratio(self._produced, self.offset - self._start, self._max_ratio)
                return piece
        return b""

    def _take(self, count: int) -> bytes:
        taken = self._window.at(self.offset, count)
        if len(taken) < count:
            raise Damaged("truncated_zstd")
        self.offset += count
        return taken

    def _header(self) -> bytes:
        """Magic and frame header (RFC 8878, 3.1.1.1): only their length and the checksum flag matter here."""
        magic = self._take(5)
        if magic[:4] != ZSTD_MAGIC:
            raise Damaged("bad_zstd")
        descriptor = magic[4]
        single_segment = descriptor >> 5 & 1
        content_size_bytes = (single_segment, 2, 4, 8)[descriptor >> 6]
        dictionary_id_bytes = (0, 1, 2, 4)[descriptor & 3]
        self._checksum_bytes = 4 * (descriptor >> 2 & 1)
        return magic + self._take(1 - single_segment + dictionary_id_bytes + content_size_bytes)

    def _block(self) -> bytes:
        """One block with its header (RFC 8878, 3.1.1.2), and the frame's checksum after the last."""
        header = self._take(3)
        fields = int.from_bytes(header, "little")
        kind, size = fields >> 1 & 3, fields >> 3
        block = header + self._take(1 if kind == 1 else size)  # kind 1: one byte, repeated `size` times
        if fields & 1:
            self._ended = True
            block += self._take(self._checksum_bytes)
        return block


def read_capped(member: Member, *, max_bytes: int) -> bytes:
    """A whole member in memory; Damaged(page_too_large) as soon as it is longer than max_bytes."""
    pieces, total = [], 0
    while piece := member.read():
        pieces.append(piece)
        total += len(piece)
        if total > max_bytes:
            raise Damaged("page_too_large")
    return b"".join(pieces)


def skippable_frame_bytes(window: Window, offset: int) -> int:
    """The bytes of the zstd skippable frame at `offset`, as far as the file holds it; 0 if there is none."""
    header = window.at(offset, 8)
    if len(header) < 8 or header[0] & 0xF0 != 0x50 or header[1:4] != b"\x2a\x4d\x18":
        return 0
    return min(8 + int.from_bytes(header[4:], "little"), window.size - offset)


def load_dictionary(window: Window, *, max_ratio: int) -> zstandard.ZstdCompressionDict | None:
    """The dictionary in the first frame of a .warc.zst file (magic 0x184D2A5D, WARC-zstd specification), if
    any.

    An unusable one counts as absent: the frames that need it are then `bad_zstd`.
    """
    size = skippable_frame_bytes(window, 0)
    if not 8 < size <= _DICTIONARY_BYTES or window.at(0, 1) != b"\x5d":
        return None
    content = window.at(8, size - 8)
    if content.startswith(ZSTD_MAGIC):
        try:
            content = read_capped(ZstdFrame(window, 8, max_ratio=max_ratio), max_bytes=_DICTIONARY_BYTES)
        except Damaged:
            return None
    if not content.startswith(b"\x37\xa4\x30\xec"):
        return None
    return zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_FULLDICT)
