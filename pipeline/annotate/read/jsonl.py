"""JSON Lines: plain (any span of a file), or compressed with gzip or zstd (the whole file is one container).

A plain line belongs to the span that holds its first byte and is a container of its own. In a compressed file
`index` counts the lines, and the last outcome carries the bytes of the file. A line ends with a line feed and
the empty lines after it; one that is longer than max_record_bytes is passed over in pieces. Damage inside a
compressed file ends it: there is no next line to find.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import orjson

from pipeline.annotate.read.inflate import PIECE_BYTES, Damaged, skippable_frame_bytes
from pipeline.annotate.read.members import Packing, begins_member, find_packing, member_opener
from pipeline.annotate.read.records import RAW_BYTES, Outcome, Record, Skipped, SpanAccount, as_licence
from pipeline.annotate.read.rendering import FieldNames, render_record, rendered_names
from pipeline.annotate.read.window import Window

_LINE_END = re.compile(
    rb"\n(?!\r?\n)"
)  # empty lines belong to the line before: millions of them cost nothing
_LINE_END_AHEAD = 2
_NOT_ZERO = re.compile(rb"[^\0]")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class _Line:
    content: bytes  # without its line end; only the first RAW_BYTES if it is too long
    bytes: int  # with its line end
    too_long: bool


def read_jsonl(
    window: Window,
    *,
    span: int,
    start: int,
    end: int,
    fields: FieldNames,
    max_record_bytes: int,
    max_ratio: int,
    account: SpanAccount,
) -> Iterator[Outcome]:
    """The lines that start in [start, end). `fields`: role (see read_split) -> name in the file."""
    packing = find_packing(window)
    if packing == "plain":
        begin, stop = _next_line(window, start), _next_line(window, end)
        account.spanned += stop - begin
        outcomes = _read_plain(window, span, begin, stop, fields, max_record_bytes)
    elif start == 0:  # whatever the plan cut, a compressed file belongs to its first span
        account.spanned += window.size
        outcomes = _read_compressed(window, packing, span, fields, max_record_bytes, max_ratio)
    else:
        return
    for outcome in outcomes:
        account.covered += outcome.length
        yield outcome


def _next_line(window: Window, position: int) -> int:
    """Where the first line that starts at or after `position` does."""
    if position <= 0 or position >= window.size:
        return min(max(position, 0), window.size)
    return min(window.search(_LINE_END, position - 1, margin=1 + _LINE_END_AHEAD) + 1, window.size)


def _read_plain(
    window: Window, span: int, begin: int, stop: int, fields: FieldNames, max_record_bytes: int
) -> Iterator[Outcome]:
    pieces = (
        window.at(offset, min(PIECE_BYTES, stop - offset)) for offset in range(begin, stop, PIECE_BYTES)
    )
    offset = begin
    for line in _cut_lines(pieces, max_record_bytes):
        yield _to_outcome(line, fields, span=span, offset=offset, length=line.bytes, index=0)
        offset += line.bytes


def _read_compressed(
    window: Window,
    packing: Packing,
    span: int,
    fields: FieldNames,
    max_record_bytes: int,
    max_ratio: int,
) -> Iterator[Outcome]:
    last: _Line | None = None  # held back, because the last outcome carries the length
    index = 0
    damage: Damaged | None = None
    try:
        for line in _cut_lines(_decompress(window, packing, max_ratio), max_record_bytes):
            if last:
                yield _to_outcome(last, fields, span=span, offset=0, length=0, index=index)
                index += 1
            last = line
    except Damaged as error:
        damage = error
    if last:
        yield _to_outcome(last, fields, span=span, offset=0, length=0 if damage else window.size, index=index)
        index += 1
    if damage:
        raw = window.at(0, RAW_BYTES)
        yield Skipped(span, 0, window.size, index, damage.reason, raw, "", True)
    elif not last:
        yield Skipped(span, 0, window.size, 0, "empty_member", b"", "", False)


def _decompress(window: Window, packing: Packing, max_ratio: int) -> Iterator[bytes]:
    """The content of all members of a file; zeros at the end are padding, anything else there is damage."""
    open_member = member_opener(window, packing, max_ratio=max_ratio)
    offset = 0
    while offset < window.size:
        if size := (packing == "zstd" and skippable_frame_bytes(window, offset)):
            offset += size
            continue
        if not begins_member(window, offset, packing):
            if window.search(_NOT_ZERO, offset, margin=1) == window.size:
                return
            raise Damaged("unparsed_bytes")
        member = open_member(window, offset)
        while piece := member.read():
            yield piece
        offset = member.offset


def _cut_lines(pieces: Iterable[bytes], max_bytes: int) -> Iterator[_Line]:
    """The lines of a stream; of one that is longer than max_bytes only the start is ever held."""
    held: list[bytes] = []
    held_bytes = line_bytes = 0
    tail = b""
    for piece in chain(pieces, [b""]):
        block = tail + piece
        safe = (
            len(block) - _LINE_END_AHEAD if piece else len(block)
        )  # up to where every line end can be judged
        start = 0
        while start < safe:
            found = _LINE_END.search(block, start)
            ends = found is not None and found.start() < safe
            stop = found.end() if found and ends else safe
            line_bytes += stop - start
            if held_bytes <= max_bytes:
                held.append(block[start:stop])
                held_bytes += stop - start
            if ends:
                yield _finish_line(held, line_bytes, max_bytes)
                held, held_bytes, line_bytes = [], 0, 0
            start = stop
        tail = block[start:]
    if line_bytes:
        yield _finish_line(held, line_bytes, max_bytes)


def _finish_line(held: list[bytes], line_bytes: int, max_bytes: int) -> _Line:
    content = b"".join(held).rstrip(b"\r\n")
    too_long = len(content) > max_bytes
    return _Line(content[:RAW_BYTES] if too_long else content, line_bytes, too_long)


def _to_outcome(
    line: _Line, fields: FieldNames, *, span: int, offset: int, length: int, index: int
) -> Outcome:
    content = line.content.removeprefix(_BOM) if offset == index == 0 else line.content
    if line.too_long:
        return Skipped(span, offset, length, index, "record_too_large", content, "", True)
    if not content.strip():
        return Skipped(span, offset, length, index, "blank_line", b"", "", False)
    try:
        row = orjson.loads(content)
    except orjson.JSONDecodeError:
        row = None
    if not isinstance(row, dict):
        return Skipped(span, offset, length, index, "bad_json", content[:RAW_BYTES], "", True)
    url, date, source_id = (_as_text(row.get(fields.get(role, ""))) for role in ("url", "date", "id"))
    if rendered_names(fields):
        text, reason = render_record(row, fields)
    else:
        found = row.get(fields.get("text", "text"))
        text, reason = (found, "") if isinstance(found, str) else ("", "missing_text")
    if reason:
        return Skipped(span, offset, length, index, reason, content[:RAW_BYTES], url, True)
    licence = as_licence(row.get(fields.get("licence", "")))
    return Record(span, offset, length, index, "text", text.encode(), url, date, source_id, "", licence)


def _as_text(value: object) -> str:
    """Ids are often numbers; anything but a string or an integer counts as absent."""
    if isinstance(value, str):
        return value
    return str(value) if type(value) is int else ""
