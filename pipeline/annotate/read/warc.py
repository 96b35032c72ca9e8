"""WARC files: gzip by member, zstd by frame, or plain, any span of them; WET files are WARC with text
inside, ARC files have other headers (arc.py).

A file is a chain of containers that tile it: members (plain records) that are sound, damaged ones up to the
next sound start, and bytes in between. Where a container starts, given where the one before it does, depends
on the bytes alone.

A span must find the chain from the middle. A start that is found by its look can be false: a page may itself
be an archive, stored without compression inside a member. So the search begins LOOKBACK_BYTES before the
border and follows the chain to it: a false chain breaks where the container around it ends, and from there on
only true starts are met. Both neighbours of a border compute it in this way, so the spans of a file always
tile it; they also yield exactly what the whole file yields, unless a container is longer than LOOKBACK_BYTES
and holds sound records itself. Cost: up to 4 MiB are decompressed once more before either border, 12% of the
reading (not of the work) of a split of 64 MB.

After damage the chain goes on at the next member whose content begins like a record; what lies between is one
skip with its reason and the first MiB kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.annotate.read.arc import ARC, ARC_MAGIC
from pipeline.annotate.read.framing import (
    WARC,
    Dialect,
    Frame,
    StoredBytes,
    Stream,
    read_frames,
)
from pipeline.annotate.read.inflate import FEED_BYTES, Damaged, OpenMember, skippable_frame_bytes
from pipeline.annotate.read.members import (
    Members,
    Packing,
    begins_member,
    find_packing,
    member_opener,
    next_member,
)
from pipeline.annotate.read.records import RAW_BYTES, Outcome, Skipped, SpanAccount
from pipeline.annotate.read.warc_record import to_outcome
from pipeline.annotate.read.window import Window

LOOKBACK_BYTES = (
    4 << 20
)  # longer than any page that is read; Common Crawl cuts payloads at 5 MiB uncompressed


@dataclass(frozen=True, slots=True)
class Archive:
    """An open WARC file with what is needed to read it from any container on."""

    window: Window
    packing: Packing
    open_member: OpenMember
    dialect: Dialect
    span: int
    max_record_bytes: int


def read_warc(
    window: Window,
    *,
    span: int,
    start: int,
    end: int,
    max_record_bytes: int,
    max_ratio: int,
    account: SpanAccount,
) -> Iterator[Outcome]:
    """The outcomes of the containers that start in [start, end), in file order."""
    packing = find_packing(window, (ARC_MAGIC,))
    open_member = member_opener(window, packing, max_ratio=max_ratio)
    dialect = ARC if _is_arc(window, packing, open_member) else WARC
    archive = Archive(window, packing, open_member, dialect, span, max_record_bytes)
    begin, stop = _find_border(archive, start), _find_border(archive, end)
    account.spanned += stop - begin
    position = begin
    while position < stop:
        for outcome in _walk(archive, position):
            position += outcome.length
            account.covered += outcome.length
            yield outcome
            if position >= stop:
                break
    account.covered -= position - stop  # a false chain would run past the border: never count its bytes twice


def _find_border(archive: Archive, position: int) -> int:
    """Where the first container that starts at or after `position` does."""
    if position <= 0 or position >= archive.window.size:
        return min(max(position, 0), archive.window.size)
    anchor = max(position - LOOKBACK_BYTES, 0)
    border = _next_start(archive, anchor) if anchor else 0
    if border < position:
        for outcome in _walk(archive, border):
            border += outcome.length
            if border >= position:
                break
    return border


def _next_start(archive: Archive, position: int) -> int:
    """Where the next container that looks sound starts, at or after `position` > 0."""
    if archive.packing == "plain":
        dialect = archive.dialect
        return archive.window.search(dialect.line_start, position, margin=dialect.start_bytes)
    return next_member(archive.window, position, archive.packing, archive.open_member, archive.dialect)


def _walk(archive: Archive, start: int) -> Iterator[Outcome]:
    """The outcomes from a container's start to the end of the file; their lengths tile it."""
    if archive.packing == "plain":
        stream = Stream(StoredBytes(archive.window, start), start, archive.dialect)
        for frame in read_frames(stream, max_record_bytes=archive.max_record_bytes):
            yield to_outcome(
                frame, span=archive.span, offset=frame.start, length=frame.end - frame.start, index=0
            )
        return
    position = start
    while position < archive.window.size:
        for outcome in _read_container(archive, position):
            yield outcome
            position += outcome.length


def _read_container(archive: Archive, offset: int) -> Iterator[Outcome]:
    """The outcomes of the one container at `offset`; the last of them carries its length."""
    window, span = archive.window, archive.span
    if size := (archive.packing == "zstd" and skippable_frame_bytes(window, offset)):
        yield Skipped(span, offset, size, 0, "skippable_frame", b"", "", False)
        return
    if not begins_member(window, offset, archive.packing):
        yield _skip_to_next_start(archive, offset, offset + 1, 0, Damaged("unparsed_bytes"))
        return
    members = Members(window, offset, archive.open_member, archive.packing, archive.dialect)
    frames = read_frames(Stream(members, 0, archive.dialect), max_record_bytes=archive.max_record_bytes)
    last: Frame | None = None
    index = 0
    resume = offset + 1
    try:
        for frame in frames:
            if last:
                yield to_outcome(last, span=span, offset=offset, length=0, index=index)
                index += 1
                resume = max(
                    resume, members.member.offset - FEED_BYTES
                )  # what is read already is no place to resume
            last = frame
    except Damaged as damage:
        if last:
            yield to_outcome(last, span=span, offset=offset, length=0, index=index)
            index += 1
        if damage.reason == "ratio_cap":
            resume = members.member.offset  # not to be inflated again
        yield _skip_to_next_start(archive, offset, resume, index, damage)
        return
    length = members.member.offset - offset
    if last:
        yield to_outcome(last, span=span, offset=offset, length=length, index=index)
    else:
        yield Skipped(span, offset, length, index, "empty_member", b"", "", False)


def _skip_to_next_start(archive: Archive, offset: int, resume: int, index: int, damage: Damaged) -> Skipped:
    length = _next_start(archive, resume) - offset
    raw = archive.window.at(offset, min(length, RAW_BYTES))
    return Skipped(archive.span, offset, length, index, damage.reason, raw, damage.url, True)


def _is_arc(window: Window, packing: Packing, open_member: OpenMember) -> bool:
    if packing == "plain":
        return window.at(0, len(ARC_MAGIC)) == ARC_MAGIC
    try:
        return open_member(window, 0).read().startswith(ARC_MAGIC)
    except Damaged:
        return False
