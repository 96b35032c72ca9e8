"""Evaluation sets as they lie in files: JSON Lines, CSV with a heading, Parquet. Strictly: a question that is
passed over in silence is a question that is trained on, so a line that cannot be read stops everything.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.annotate.normalize import normalize_text
from pipeline.annotate.splits import InputFile
from pipeline.config import EvaluationSet, RecipeError, nearest
from pipeline.storage import open_filesystem

_BOM = b"\xef\xbb\xbf"
_BATCH_ROWS = 1_000
_READ_ERRORS = (OSError, EOFError, ValueError, zlib.error, csv.Error, pa.ArrowException)


class Example(NamedTuple):
    """One example: the number of its file in its set, its line there (its row, of Parquet; from 1), texts."""

    file: int
    line: int
    texts: list[str]


def read_examples(of_set: EvaluationSet, files: Sequence[InputFile]) -> Iterator[Example]:
    """The examples of a set in order, their texts in normal form (as documents have theirs).

    RecipeError naming file and line for what cannot be read, for a field that no record has, and for a set
    without examples.
    """
    key, missing, seen = f"decontaminate.sets.{of_set.name}", set(of_set.fields), dict[str, None]()
    examples = 0
    for number, file in enumerate(files):
        line = 0
        try:
            for line, record in _read_records(of_set.format, file):
                missing -= record.keys()
                seen |= dict.fromkeys(record)
                texts = [text for field in of_set.fields for text in _texts(record.get(field))]
                yield Example(number, line, [normalize_text(text) for text in texts])
                examples += 1
        except _READ_ERRORS as error:
            where = str(error) if isinstance(error, _BadLine) else f"behind line {line}: {error}"
            raise RecipeError(f"{key}.paths: {file.root}/{file.path}, {where}") from error
    if not examples:
        raise RecipeError(f"{key}.paths: there is no example in them")
    for field in sorted(missing):
        hint = nearest(field, seen)
        raise RecipeError(f"{key}.fields: no record has {field!r}; they have {', '.join(seen)}{hint}")


class _BadLine(ValueError):
    """The message names the line."""


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value: of lists and tables (the choices of a question) each that is in them."""
    if isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
    elif value is not None:
        yield str(value)


def _read_records(format: str, file: InputFile) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(line, record) of every record of a file."""
    filesystem, path = open_filesystem(f"{file.root}/{file.path}")
    if format == "parquet":
        with filesystem.open_input_file(path) as source:
            row = 0
            for batch in pq.ParquetFile(source).iter_batches(_BATCH_ROWS, use_threads=False):
                for record in batch.to_pylist():
                    row += 1
                    yield row, record
        return
    with filesystem.open_input_stream(path, compression=None) as source:
        packed = path.lower().endswith(".gz")
        opened: Any = gzip.GzipFile(fileobj=source) if packed else source
        lines: BinaryIO = io.BufferedReader(opened)
        yield from _read_jsonl(lines) if format == "jsonl" else _read_csv(lines)


def _read_jsonl(lines: Iterable[bytes]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        content = line.removeprefix(_BOM) if number == 1 else line
        if not content.strip():
            continue
        try:
            record = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise _BadLine(f"line {number} is no JSON: {error}") from error
        if not isinstance(record, dict):
            raise _BadLine(f"line {number} is no JSON object")
        yield number, record


def _read_csv(lines: BinaryIO) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """RFC 4180; a record may go over several lines, and is named by its first."""
    text = io.TextIOWrapper(lines, encoding="utf-8-sig", newline="")
    reader = csv.reader(text, strict=True)
    heading = next(reader, [])
    begins = reader.line_num + 1
    for row in reader:
        if row and len(row) != len(heading):
            raise _BadLine(f"line {begins} has {len(row)} values, the heading {len(heading)}")
        if row:
            yield begins, dict(zip(heading, row, strict=True))
        begins = reader.line_num + 1
