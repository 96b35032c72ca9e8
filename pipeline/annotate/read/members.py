"""What a file is made of, told by its bytes and never by its name; and compressed members as a source of
bytes.

A WARC writer may compress record by record (one member each, the usual way), the whole file at once, or in
blocks that know nothing of records (bgzip, pzstd), and may put one record into several zstd frames. All of it
is one rule: a container starts at a member whose content begins like a record and goes on through the
following members for as long as a record in it is unfinished.
"""

import re
from functools import partial
from typing import Literal

import pyarrow as pa

from pipeline.annotate.read.framing import WARC, Dialect
from pipeline.annotate.read.inflate import (
    GZIP_MAGIC,
    ZSTD_MAGIC,
    Damaged,
    DeflateMember,
    Member,
    OpenMember,
    ZstdFrame,
    load_dictionary,
    skippable_frame_bytes,
)
from pipeline.annotate.read.window import BLOCK_BYTES, Window

Packing = Literal["gzip", "zstd", "plain"]

_COMPRESSED: tuple[Packing, ...] = ("gzip", "zstd")
_MEMBER_START = {
    "gzip": re.compile(re.escape(GZIP_MAGIC) + rb"[\x00-\x1f]", re.DOTALL),
    "zstd": re.compile(re.escape(ZSTD_MAGIC)),
}
_MEMBER_START_BYTES = 4
_HEAD_RATIO = 2_000  # above what deflate can do: only the first bytes are looked at


def find_packing(window: Window, plain_magic: tuple[bytes, ...] = ()) -> Packing:
    """How the file is packed, by its first bytes, or by the first sound start if they are damaged."""
    head = window.at(0, BLOCK_BYTES)
    if head.startswith(GZIP_MAGIC):
        return "gzip"
    if head.startswith(ZSTD_MAGIC) or skippable_frame_bytes(window, 0):
        return "zstd"
    if WARC.start.match(head) or head.startswith(plain_magic):
        return "plain"
    line_start = WARC.line_start.search(head)
    first = line_start.start() if line_start else len(head)
    found: Packing = "plain"
    head_window = Window(pa.BufferReader(head), len(head))
    for packing in _COMPRESSED:
        open_member = member_opener(head_window, packing, max_ratio=_HEAD_RATIO)
        start = next_member(head_window, 0, packing, open_member)
        if start < first:
            first, found = start, packing
    return found


def member_opener(window: Window, packing: Packing, *, max_ratio: int) -> OpenMember:
    """The function (window, offset) -> Member for the file; loads its zstd dictionary, if it has one."""
    if packing == "gzip":
        return partial(DeflateMember, max_ratio=max_ratio)
    return partial(ZstdFrame, max_ratio=max_ratio, dictionary=load_dictionary(window, max_ratio=max_ratio))


class Members:
    """The members from `offset` on as one container, a source for framing.Stream."""

    def __init__(
        self,
        window: Window,
        offset: int,
        open_member: OpenMember,
        packing: Packing,
        dialect: Dialect = WARC,
    ) -> None:
        self._start = dialect.start
        self.member: Member = open_member(window, offset)
        self._window = window
        self._open_member = open_member
        self._packing: Packing = packing

    def read(self) -> bytes:
        """The next piece of the present member, b"" at its end."""
        return self.member.read()

    def extend(self) -> bytes:
        """Goes on into the next member unless it begins a record of its own: its first piece, or b""."""
        offset = self.member.offset
        while begins_member(self._window, offset, self._packing):
            following = self._open_member(self._window, offset)
            try:
                piece = following.read()
            except Damaged:
                return b""  # reported when its turn comes, as a container of its own
            if self._start.match(piece.lstrip(b"\r\n")):
                return b""
            if piece:
                self.member = following
                return piece
            offset = following.offset
        return b""

    def seek(self, position: int) -> bool:
        """Compressed bytes have no way back."""
        return False


def begins_member(window: Window, offset: int, packing: Packing) -> bool:
    """Whether a member may start here, by its magic bytes."""
    pattern = _MEMBER_START.get(packing)
    return bool(pattern and pattern.match(window.at(offset, _MEMBER_START_BYTES)))


def next_member(
    window: Window, offset: int, packing: Packing, open_member: OpenMember, dialect: Dialect = WARC
) -> int:
    """Where the next member with a record at its start begins, at or after `offset`; the file's size if
    nowhere.

    Magic bytes occur in compressed data by chance, so the content decides.
    """
    while offset < window.size:
        offset = window.search(_MEMBER_START[packing], offset, margin=_MEMBER_START_BYTES)
        if offset < window.size and _begins_record(open_member(window, offset), dialect):
            return offset
        offset += 1
    return window.size


def _begins_record(member: Member, dialect: Dialect) -> bool:
    content = b""
    try:
        while len(content) < dialect.start_bytes and (piece := member.read()):
            content = (content + piece).lstrip(b"\r\n")
    except Damaged:
        return False
    return dialect.start.match(content) is not None
