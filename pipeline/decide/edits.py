"""Edits: how a stage changes text without rewriting it, and the one place where the changes are made.

An edit replaces the bytes [start, end) of a document (masked phone number, repeated line, leaked test
question) and carries its reason; equal offsets insert. Because documents lie one behind the other in an Arrow
buffer, the sorted edits of a batch are one list of cuts through that buffer: the cost is one copy of the
batch and about a microsecond per edit, documents without edits cost nothing of their own, and a batch without
edits is returned as it came. Limits: documents below 4 GiB; what is edited keeps the offset width of its
column.
"""

import numpy as np
import pyarrow as pa

from pipeline.schema import EDITS

# (row << ROW_SHIFT) + offset orders edits by row, then place: offsets are uint32.
ROW_SHIFT = 33


def join_edits(*lists: pa.ListArray) -> pa.ListArray:
    """Several columns of edits as one, sorted and without overlap (as `merge_edits` leaves them)."""
    rows = [np.repeat(np.arange(len(edits)), edits.value_lengths().to_numpy()) for edits in lists]
    order = np.argsort(np.concatenate(rows), kind="stable")
    found = pa.concat_arrays([edits.flatten() for edits in lists]).take(pa.array(order))
    bounds = np.searchsorted(np.concatenate(rows)[order], np.arange(len(lists[0]) + 1)).astype(np.int32)
    return merge_edits(pa.ListArray.from_arrays(pa.array(bounds), found, type=EDITS))


def cut_spans(spans: pa.ListArray, reason: str) -> pa.ListArray:
    """Edits that cut out spans (a list of structs with start and end), for a reason; they may overlap."""
    found = spans.flatten()
    nothing, reasons = ([text] * len(found) for text in ("", reason))
    columns = [found.field("start"), found.field("end"), pa.array(nothing, pa.string())]
    edits = pa.StructArray.from_arrays(
        [*columns, pa.array(reasons, pa.string())], fields=list(EDITS.value_type)
    )
    lengths = spans.value_lengths().fill_null(0).to_numpy()
    bounds = np.concatenate((np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)))
    return pa.ListArray.from_arrays(pa.array(bounds), edits, type=EDITS)


def merge_edits(edits: pa.ListArray) -> pa.ListArray:
    """Edits per row (schema.EDITS, any order) sorted and without overlap; a null list stays null.

    Overlapping edits become one over the union of their ranges, with replacement and reason of the one that
    starts first; of several that start together, the longest, then the smallest replacement and reason. Edits
    that only touch stay apart. The result does not depend on the order in which the edits came.
    """
    rows, found = _by_row(edits)
    if len(found) == 0:
        return edits
    columns = {field.name: found.field(i) for i, field in enumerate(found.type)}
    keys = [("row", "ascending"), ("start", "ascending"), ("end", "descending")]
    keys += [("replacement", "ascending"), ("reason", "ascending")]
    table = pa.table({"row": rows, **columns}).sort_by(keys).combine_chunks()

    rows, starts, ends = (table[name].to_numpy().astype(np.int64) for name in ("row", "start", "end"))
    starts, ends = (rows << ROW_SHIFT) + starts, (rows << ROW_SHIFT) + ends
    reach = np.maximum.accumulate(ends)
    opens = np.ones(len(rows), dtype=bool)  # an edit that starts behind all before it
    opens[1:] = (starts[1:] >= reach[:-1]) & (starts[1:] != starts[:-1])
    first = np.flatnonzero(opens)
    last = np.append(first[1:], len(rows)) - 1
    rows = rows[first]

    kept = table.take(pa.array(first)).combine_chunks()
    kept = {name: kept[name].chunk(0) for name in columns}
    kept["end"] = pa.array(reach[last] - (rows << ROW_SHIFT), pa.uint32())
    merged = pa.StructArray.from_arrays(list(kept.values()), fields=list(found.type))
    bounds = pa.array(np.searchsorted(rows, np.arange(len(edits) + 1)), pa.int32())
    nulls = edits.is_null() if edits.null_count else None
    return pa.ListArray.from_arrays(bounds, merged, type=EDITS, mask=nulls)


def apply_edits(text: pa.Array, edits: pa.ListArray) -> pa.Array:
    """Text (string or large_string) with the edits of each row, as `merge_edits` leaves them, applied; null
    stays null.

    ValueError naming the row: an edit beyond its text, inside a UTF-8 sequence, out of order or overlapping,
    or without a replacement; also if the result needs wider offsets than the column has.
    """
    if len(edits) != len(text):
        raise ValueError(f"{len(text)} texts but {len(edits)} lists of edits")
    rows, found = _by_row(edits)
    if len(found) == 0:
        return text
    width = np.dtype(np.int64 if pa.types.is_large_string(text.type) else np.int32)
    offsets = np.frombuffer(text.buffers()[1], width).astype(np.int64)
    offsets = offsets[text.offset : text.offset + len(text) + 1]
    source = memoryview(text.buffers()[2] or b"")
    starts, ends = offsets[rows] + _offsets(found, "start"), offsets[rows] + _offsets(found, "end")
    _check(text, found, rows, starts, ends, offsets)

    replacements = [replacement.encode() for replacement in found.field("replacement").to_pylist()]
    pieces: list[bytes | memoryview] = []
    place = int(offsets[0])
    for start, end, replacement in zip(starts.tolist(), ends.tolist(), replacements, strict=True):
        pieces += (source[place:start], replacement)
        place = end
    pieces.append(source[place : offsets[-1]])

    growth = np.zeros(len(text) + 1, np.int64)
    sizes = np.fromiter(map(len, replacements), np.int64, len(replacements))
    np.add.at(growth, rows + 1, sizes - (ends - starts))
    edited = offsets - offsets[0] + np.cumsum(growth)
    if edited[-1] > np.iinfo(width).max:
        raise ValueError(f"{edited[-1]} bytes of edited text exceed the offsets of {text.type}")
    validity = pa.array(text.is_valid()).buffers()[1] if text.null_count else None
    buffers = [validity, pa.py_buffer(edited.astype(width)), pa.py_buffer(b"".join(pieces))]
    return pa.Array.from_buffers(text.type, len(text), buffers)


def _by_row(edits: pa.ListArray) -> tuple[np.ndarray, pa.StructArray]:
    """The row (int64) of every edit, and the edits one behind the other; slices and null lists count."""
    if edits.type != EDITS:
        raise ValueError(f"edits must be {EDITS}, not {edits.type}")
    counts = edits.value_lengths().fill_null(0).to_numpy()
    return np.repeat(np.arange(len(edits)), counts), edits.flatten()


def _offsets(found: pa.StructArray, name: str) -> np.ndarray:
    return found.field(name).to_numpy().astype(np.int64)


def _check(
    text: pa.Array,
    found: pa.StructArray,
    rows: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    offsets: np.ndarray,
) -> None:
    """ValueError for the first edit that cannot be made; starts, ends, offsets are places in the buffer."""

    def refuse(wrong: np.ndarray, why: str) -> None:
        if wrong.any():
            edit = int(np.argmax(wrong))
            row = int(rows[edit])
            span = f"[{starts[edit] - offsets[row]}, {ends[edit] - offsets[row]})"
            size = offsets[row + 1] - offsets[row]
            raise ValueError(f"row {row}: edit {span} of a text of {size} bytes {why}")

    units = np.frombuffer(text.buffers()[2] or b"\0", np.uint8)
    refuse(text.is_null().to_numpy(zero_copy_only=False)[rows], "has no text to change")
    refuse(found.field("replacement").is_null().to_numpy(zero_copy_only=False), "has no replacement")
    refuse((starts > ends) | (ends > offsets[rows + 1]), "lies outside of it")
    refuse(np.append(False, (rows[1:] == rows[:-1]) & (starts[1:] < ends[:-1])), "overlaps the one before")
    for places in (starts, ends):  # where the text goes on, it must not be with a continuation byte, 10xxxxxx
        inside = places < offsets[rows + 1]
        refuse(inside & (units[np.where(inside, places, 0)] & 0xC0 == 0x80), "cuts a UTF-8 sequence")
