"""The files of a part: written in scratch batch by batch, hashed, named by their content.

Two digests stand beside each file: sha256 of its bytes, and the content digest over what it says, which does
not change with the version of the file writer or the size of batches.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage import Storage

_HASH_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PartFile:
    """A committed file: its name under the output, and what is in it."""

    name: str
    rows: int
    bytes: int
    sha256: str
    content: str  # digest of what the file says, whatever writer wrote it


@dataclass(frozen=True, slots=True)
class FinishedFile:
    """A whole file in scratch that waits to be put under its name."""

    local: Path
    part: PartFile


class ContentDigest:
    """blake2b-128 over the lengths, validity and values of all columns, in order; fed batch by batch."""

    def __init__(self) -> None:
        self._streams: dict[str, Any] = {}

    def update(self, batch: pa.RecordBatch) -> None:
        """Adds the rows of a batch."""
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            self._add(name, column)

    def hexdigest(self) -> str:
        """The digest so far; equal for equal rows, however they were cut into batches."""
        whole = hashlib.blake2b(digest_size=16)
        for name in sorted(self._streams):
            whole.update(name.encode() + b"\0" + self._streams[name].digest())
        return whole.hexdigest()

    def _feed(self, stream: str, values: np.ndarray | memoryview) -> None:
        if stream not in self._streams:
            self._streams[stream] = hashlib.blake2b(digest_size=16)
        self._streams[stream].update(np.ascontiguousarray(values).data)

    def _add(self, name: str, column: pa.Array) -> None:
        kind = column.type
        if pa.types.is_dictionary(kind):
            self._add(name, column.cast(kind.value_type))
            return
        self._feed(f"{name} valid", column.is_valid().cast(pa.uint8()).to_numpy(zero_copy_only=False))
        if pa.types.is_struct(kind):
            for field, child in zip(kind, column.flatten(), strict=True):
                self._add(f"{name}.{field.name}", child)
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
            lengths = column.value_lengths().fill_null(0)
            self._feed(f"{name} length", lengths.cast(pa.int64()).to_numpy(zero_copy_only=False))
            self._add(f"{name}[]", column.flatten())
        elif pa.types.is_fixed_size_list(kind):
            self._add(f"{name}[]", column.flatten())
        elif pa.types.is_string(kind) or pa.types.is_binary(kind):
            self._add(name, column.cast(pa.large_string() if pa.types.is_string(kind) else pa.large_binary()))
        elif pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
            offsets = np.frombuffer(column.buffers()[1], np.int64)[
                column.offset : column.offset + len(column) + 1
            ]
            self._feed(f"{name} length", np.diff(offsets))
            if len(column) and column.buffers()[2] is not None:
                self._feed(f"{name} bytes", memoryview(column.buffers()[2])[offsets[0] : offsets[-1]])
        elif pa.types.is_fixed_size_binary(kind):
            width = kind.byte_width
            present = column.drop_null()
            start = present.offset * width
            self._feed(
                f"{name} bytes", memoryview(present.buffers()[1])[start : start + len(present) * width]
            )
        else:
            zero = pa.scalar(False) if pa.types.is_boolean(kind) else pa.scalar(0).cast(kind)
            filled = column.fill_null(zero)
            if pa.types.is_boolean(kind):
                filled = filled.cast(pa.uint8())
            self._feed(f"{name} bytes", filled.to_numpy(zero_copy_only=False))


class PartWriter:
    """Writes one Parquet file of a part: a row group per batch, zstd, no clock and no path in it."""

    def __init__(self, scratch: Path, folder: str, number: int, schema: pa.Schema) -> None:
        self._folder, self._number = folder, number
        self._local = scratch / f"{folder.replace('/', '-')}-{number:05d}.parquet"
        strings = [field.name for field in schema if pa.types.is_string(field.type)]
        dictionaries: Any = [
            name for name in strings if name not in _LONG
        ]  # the stubs know only True and False
        self._writer = pq.ParquetWriter(
            self._local, schema, compression="zstd", compression_level=1, use_dictionary=dictionaries
        )
        self._digest = ContentDigest()
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Appends a batch; empty ones are left out."""
        if batch.num_rows:
            self._writer.write_batch(batch, row_group_size=batch.num_rows)
            self._digest.update(batch)
            self.rows += batch.num_rows

    def finish(self) -> FinishedFile:
        """Closes, hashes and names the file."""
        self._writer.close()
        return finished(
            self._local, self._folder, self._number, rows=self.rows, content=self._digest.hexdigest()
        )


# Columns of long or unique strings: a dictionary would only cost time.
_LONG = ("text", "url", "detail")


def finished(local: Path, folder: str, number: int, *, rows: int, content: str) -> FinishedFile:
    """Hashes a whole scratch file and names it `FOLDER/part-NNNNN-<12 hex of its sha256><suffix>`."""
    sha256 = file_sha256(local)
    name = f"{folder}/part-{number:05d}-{sha256[:12]}{local.suffix}"
    return FinishedFile(local, PartFile(name, rows, local.stat().st_size, sha256, content))


def file_sha256(path: Path) -> str:
    """sha256 hex of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BYTES):
            digest.update(block)
    return digest.hexdigest()


def check_sha256(path: Path, sha256: str, what: str) -> None:
    """ValueError if the file, a `what`, has another sha256 (hexadecimal); OSError if it cannot be read."""
    if (found := file_sha256(path)) != sha256.lower():
        raise ValueError(f"{path} has sha256 {found}, not {sha256}: not the {what} that was asked for")


def read_batches(
    storage: Storage, part: PartFile, *, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The row groups of a Parquet part, one batch each; columns in the order asked for."""
    with storage.open_input(part.name) as source:
        file = pq.ParquetFile(source)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=columns, use_threads=False).combine_chunks()
            yield from table.select(columns or table.column_names).to_batches()
