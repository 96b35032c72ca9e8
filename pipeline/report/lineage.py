"""Between documents and token rows, both ways: where the copies of a document lie, and whose text a row is.

The dealing of copies is a function of (seed, id, copy), so the shard of each copy is computed, not searched;
inside the shard only the lineage columns are read (about 1 % of its bytes), never the token ids.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.config import UsageError
from pipeline.decide.mixture import copies as number_of_copies
from pipeline.pack.exchange import Dealing, deal
from pipeline.pack.phase import SPLITS, shard_number
from pipeline.pack.shards import BATCH_ROWS, shard_schema
from pipeline.parts import PartFile
from pipeline.phase import Job, need_rows, read_row
from pipeline.report.run_folder import split_locator

_ROW_NAME = re.compile(rf"(?:.*/)?({'|'.join(SPLITS)})-(\d{{1,9}})(?:\.arrow)?:(\d{{1,9}})")


@dataclass(frozen=True, slots=True)
class Span:
    """One piece of a document in a token row; `end` is exclusive and counts the document's <|endoftext|>."""

    row: int
    start: int  # in the row
    end: int
    document_start: int  # at which token of the document it starts


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy of a document, and where all of it lies."""

    copy: int
    split: str
    file: str
    spans: tuple[Span, ...]

    @property
    def tokens(self) -> int:
        """Tokens of the copy with its <|endoftext|>."""
        return sum(span.end - span.start for span in self.spans)


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of a token row: whose it is."""

    locator: int
    copy: int
    span: Span


def parse_row_name(name: str) -> tuple[str, int, int]:
    """(split, shard, row) of "train-00000:17" or "tokens/train-00000.arrow:17"; LookupError for anything
    else.
    """
    match = _ROW_NAME.fullmatch(name.strip())
    if match is None:
        raise UsageError(
            f"--row {name!r}: expected SHARD:ROW, for example train-00000:17 or validation-00002:0"
        )
    return match[1], int(match[2]), int(match[3])


def frozen_repeats(job: Job) -> dict[tuple[str, str], int]:
    """The repeats of every kept (source, language) as they were frozen, in micro-units."""
    (mixture,) = need_rows(job, "work/mixture", [0])
    return {(source, language): micro for source, language, _, micro in mixture.notes["repeats"]}


def find_copies(job: Job, document_id: bytes, locator: int, *, micro: int, validation: bool) -> list[Copy]:
    """All copies of a kept document, in order; opens each shard that has one once. `micro`: its repeats, in
    micro-units.
    """
    part, _ = split_locator(locator)
    split = SPLITS[validation]
    ids = pa.array([document_id], pa.binary(16))
    number = 1 if validation else int(number_of_copies(ids, np.array([micro]), seed=job.recipe.seed)[0])
    (mixture,) = need_rows(job, "work/mixture", [0])
    dealing = Dealing(**mixture.notes["dealings"][split])
    every = np.arange(number)
    _, shards = deal(
        pa.array([document_id] * number, pa.binary(16)), every, part, dealing=dealing, seed=job.recipe.seed
    )
    found: dict[int, Copy] = {}
    for shard in np.unique(shards).tolist():
        file = need_rows(job, "work/shards", [shard_number(split, shard)])[0].files[0]
        wanted = np.flatnonzero(shards == shard).tolist()
        spans: dict[int, list[Span]] = {copy: [] for copy in wanted}
        for copy, span in _spans_of(job, file, locator):
            spans[copy].append(span)
        found |= {copy: Copy(copy, split, file.name, tuple(spans[copy])) for copy in wanted}
    return [found[copy] for copy in sorted(found)]


def read_pieces(job: Job, split: str, shard: int, row: int) -> list[Piece] | None:
    """The pieces of one token row in order; None if there is no such shard or row."""
    committed = read_row(job, "work/shards", shard_number(split, shard))
    if committed is None or not committed.files or row >= committed.files[0].rows:
        return None
    with job.storage().open_input(committed.files[0].name) as source:
        batch = _open_lineage(source, job.recipe.pack.row_tokens).get_batch(row // BATCH_ROWS)
        pieces = batch["documents"][row % BATCH_ROWS].as_py()
        length = batch["length"][row % BATCH_ROWS].as_py()
    ends = [piece["row_start"] for piece in pieces[1:]] + [length]
    return [
        Piece(piece["locator"], piece["copy"], Span(row, piece["row_start"], end, piece["doc_start"]))
        for piece, end in zip(pieces, ends, strict=True)
    ]


def _spans_of(job: Job, file: PartFile, locator: int) -> Iterator[tuple[int, Span]]:
    """(copy, span) of every piece of a document in a shard, in row order."""
    with job.storage().open_input(file.name) as source:
        reader = _open_lineage(source, job.recipe.pack.row_tokens)
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            bounds, pieces = batch["documents"].offsets.to_numpy(), batch["documents"].values
            starts, lengths = pieces.field("row_start").to_numpy(), batch["length"].to_numpy()
            for at in np.flatnonzero(pieces.field("locator").to_numpy() == np.uint64(locator)).tolist():
                row = int(np.searchsorted(bounds, at, side="right")) - 1
                end = int(starts[at + 1]) if at + 1 < bounds[row + 1] else int(lengths[row])
                document_start = pieces.field("doc_start")[at].as_py()
                span = Span(number * BATCH_ROWS + row, int(starts[at]), end, document_start)
                yield pieces.field("copy")[at].as_py(), span


def _open_lineage(source: pa.NativeFile, row_tokens: int) -> pa.ipc.RecordBatchFileReader:
    """A shard whose batches hold `documents` and `length` only."""
    names = shard_schema(row_tokens).names
    wanted = [names.index("documents"), names.index("length")]
    return pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=wanted, use_threads=False))
