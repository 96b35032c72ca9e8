"""Parquet files: row groups streamed batch by batch, only the wanted columns.

A row group belongs to the span that holds its first byte. In the byte balance a group reaches to the start of
the next one (the first also takes the magic before it, the last the footer), and is covered when it gave as
many rows as the footer declares, or its damage was reported: one skip for all rows of the group that cannot
be read. Memory: a batch aims at BATCH_BYTES. A dictionary page counts once in the footer and its values many
times in a batch, so a group that has one is read in smaller batches. One page may claim up to 2 GiB; a limit
on the process holds that.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pat

from pipeline.annotate.read.inflate import RATIO_FREE_BYTES
from pipeline.annotate.read.records import RAW_BYTES, Outcome, Record, Skipped, SpanAccount, as_licence
from pipeline.annotate.read.rendering import FieldNames, render_record, rendered_names
from pipeline.annotate.read.window import BLOCK_BYTES, Window

BATCH_BYTES = 4 << 20
BATCH_ROWS = 1_024
DICTIONARY_BATCH_ROWS = 64  # writers end a dictionary page at about 1 MB: 64 MB at worst

_GROUP_REASONS = ("bad_parquet", "ratio_cap")  # one skip for all rows that are left of a group
_ROLES = ("text", "url", "date", "id", "licence")
# Arrow raises OSError for corrupt pages too: _raise_if_unreadable asks whether the storage failed
_DECODE_ERRORS = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)


@dataclass(frozen=True, slots=True)
class _Group:
    number: int
    start: int  # the first byte of its first column chunk
    tile_bytes: int  # what it takes in the byte balance
    first_row: int  # its number in the file
    rows: int


def read_parquet(
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
    """The rows of the groups that start in [start, end). `fields`: role (see read_split) -> column."""
    try:
        file = pq.ParquetFile(
            window.file, pre_buffer=False, buffer_size=BLOCK_BYTES, page_checksum_verification=True
        )
        groups = _list_groups(file.metadata, window.size)
        present = set(file.schema_arrow.names)
    except _DECODE_ERRORS:
        _raise_if_unreadable(window)
        file, groups, present = None, [], set()
    if not file or not groups:
        if start == 0:
            account.spanned += window.size
            account.covered += window.size
            if not file:
                yield Skipped(span, 0, 0, 0, "bad_parquet", window.at(0, RAW_BYTES), "", True)
        return
    roles = [role for role in _ROLES if role != "text" or not rendered_names(fields)]
    columns = {role: fields.get(role, "text" if role == "text" else "") for role in roles}
    columns = {role: name for role, name in columns.items() if name in present}
    parts = [name for name in rendered_names(fields) if name in present]
    owned = [group for group in groups if start <= group.start < end]
    account.spanned += sum(group.tile_bytes for group in owned)
    for group in owned:
        rows = 0
        for outcome in _read_group(
            window, file, group, columns, parts, fields, span, max_record_bytes, max_ratio
        ):
            whole = isinstance(outcome, Skipped) and outcome.reason in _GROUP_REASONS
            rows = group.rows if whole else rows + 1
            yield outcome
        if rows == group.rows:
            account.covered += group.tile_bytes


def _list_groups(metadata: pq.FileMetaData, file_bytes: int) -> list[_Group]:
    """The groups in file order; ValueError if the footer contradicts itself or the file."""
    row_groups = [(i, metadata.row_group(i)) for i in range(metadata.num_row_groups)]
    row_groups = [
        (i, group) for i, group in row_groups if group.num_rows
    ]  # an empty one has no bytes to start at
    starts = [
        min((_chunk_start(group.column(i)) for i in range(group.num_columns)), default=0)
        for _, group in row_groups
    ]
    first_rows = [0, *accumulate(group.num_rows for _, group in row_groups)]
    bounds = [0, *starts[1:], file_bytes]
    tiles = [high - low for low, high in pairwise(bounds)]
    if min(starts, default=1) < 1 or min(tiles) < 0 or any(low > high for low, high in pairwise(first_rows)):
        raise ValueError("row groups do not tile the file")
    return [
        _Group(number, start, tile_bytes, first_row, group.num_rows)
        for (number, group), start, tile_bytes, first_row in zip(
            row_groups, starts, tiles, first_rows, strict=False
        )
    ]


def _chunk_start(chunk: pq.ColumnChunkMetaData) -> int:
    dictionary = chunk.dictionary_page_offset
    return min(dictionary, chunk.data_page_offset) if dictionary else chunk.data_page_offset


def _read_group(
    window: Window,
    file: pq.ParquetFile,
    group: _Group,
    columns: Mapping[str, str],
    parts: Sequence[str],  # columns that the text is rendered from, if it is not a column itself
    fields: FieldNames,
    span: int,
    max_record_bytes: int,
    max_ratio: int,
) -> Iterator[Outcome]:
    row = group.first_row
    names = [*columns.values(), *parts]
    try:
        batch_rows = _choose_batch_rows(file.metadata.row_group(group.number), set(names), max_ratio)
        if not batch_rows:
            yield Skipped(span, row, 0, 0, "ratio_cap", b"", "", True)
            return
        for batch in file.iter_batches(batch_rows, [group.number], names, use_threads=False):
            values = {role: _read_column(batch.column(name), role) for role, name in columns.items()}
            rendered = {name: batch.column(name) for name in parts} if rendered_names(fields) else None
            for i in range(batch.num_rows):
                text, reason, raw = (
                    _plain_text(values.get("text"), i, max_record_bytes)
                    if rendered is None
                    else _render_row(rendered, i, fields, max_record_bytes)
                )
                yield _to_outcome(values, i, text, reason, raw, span, row)
                row += 1
        if row - group.first_row == group.rows:
            return
    except _DECODE_ERRORS:
        _raise_if_unreadable(window)
    yield Skipped(span, row, 0, 0, "bad_parquet", b"", "", True)


def _choose_batch_rows(group: pq.RowGroupMetaData, names: set[str], max_ratio: int) -> int:
    """How many rows to decode at once, 0 if the wanted columns expand more than max_ratio times."""
    chunks = [group.column(i) for i in range(group.num_columns)]
    chunks = [chunk for chunk in chunks if chunk.path_in_schema.partition(".")[0] in names]
    expanded = sum(chunk.total_uncompressed_size for chunk in chunks)
    if expanded > RATIO_FREE_BYTES and expanded > max_ratio * sum(
        chunk.total_compressed_size for chunk in chunks
    ):
        return 0
    most = DICTIONARY_BATCH_ROWS if any(chunk.has_dictionary_page for chunk in chunks) else BATCH_ROWS
    return max(1, min(most, BATCH_BYTES * max(group.num_rows, 1) // max(expanded, 1)))


def _plain_text(column: list[bytes | None] | None, i: int, max_record_bytes: int) -> tuple[bytes, str, bytes]:
    """(text, reason, raw) of a text that stands in one column; a reason if it cannot be used."""
    text = None if column is None else column[i]
    if text is None:
        return b"", "missing_text", b""
    if len(text) > max_record_bytes:
        return b"", "record_too_large", text[:RAW_BYTES]
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return b"", "not_utf8", text[:RAW_BYTES]
    return text, "", b""


def _render_row(
    columns: Mapping[str, pa.Array], i: int, fields: FieldNames, max_record_bytes: int
) -> tuple[bytes, str, bytes]:
    """As _plain_text, of a text that is rendered from several columns or from messages."""
    try:
        row = {name: _as_string(column[i].as_py()) for name, column in columns.items()}
    except UnicodeDecodeError:
        return b"", "not_utf8", b""
    text, reason = render_record(row, fields)
    payload = text.encode()
    if len(payload) > max_record_bytes:
        return b"", "record_too_large", payload[:RAW_BYTES]
    raw = json.dumps(row, ensure_ascii=False, default=str).encode("utf-8", "replace") if reason else b""
    return payload, reason, raw[:RAW_BYTES]


def _as_string(value: object) -> object:
    return value.decode("utf-8") if isinstance(value, bytes) else value


def _to_outcome(
    values: Mapping[str, list[bytes | None]],
    i: int,
    text: bytes,
    reason: str,
    raw: bytes,
    span: int,
    row: int,
) -> Outcome:
    url, date, source_id, licence = (
        (values[role][i] or b"").decode("utf-8", "replace") if role in values else ""
        for role in ("url", "date", "id", "licence")
    )
    if reason:
        return Skipped(span, row, 0, 0, reason, raw, url, True)
    return Record(span, row, 0, 0, "text", text, url, date, source_id, "", licence.strip())


def _read_column(column: pa.Array, role: str) -> list[bytes | None]:
    """The values as bytes: strings as stored, their UTF-8 unchecked; others written out, as far as a role can
    use them.
    """
    if pat.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not _is_stringlike(column.type):
        if role == "licence" and pat.is_nested(column.type):
            return [_nested_licence(value) for value in column]
        if role == "text" or pat.is_nested(column.type):
            return [None] * len(column)
        column = column.cast(pa.string())
    return column.cast(pa.large_binary()).to_pylist()


def _nested_licence(value: pa.Scalar) -> bytes:
    try:
        return as_licence(value.as_py()).encode()
    except UnicodeDecodeError:
        return b"undecodable"


def _is_stringlike(kind: pa.DataType) -> bool:
    checks = (
        pat.is_string,
        pat.is_large_string,
        pat.is_string_view,
        pat.is_binary,
        pat.is_large_binary,
        pat.is_binary_view,
    )
    return any(check(kind) for check in checks)


def _raise_if_unreadable(window: Window) -> None:
    """UnreadableSplit if the storage does not give the file's bytes: what Arrow met is then no damage."""
    for offset in range(0, window.size, BLOCK_BYTES):
        window.at(offset, BLOCK_BYTES)
