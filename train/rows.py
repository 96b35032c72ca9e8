"""The rows of one split of a finished pipeline run, read straight from memory maps.

A row is found by arithmetic and copied once, into the batch; nothing is decoded. Random rows from a warm page
cache come at some 10^9 tokens/s on one thread, four orders above what a GPU trains on; from a cold disk at
the rate of its read-ahead around 8 KiB.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.lib.stride_tricks import as_strided

from pipeline.pack.shards import BATCH_ROWS, open_shard, read_rows

OPEN_SHARDS = 30_000  # maps at a time: address space, no memory and no open file; Linux allows 65,530
ADDRESSES = 1 << 45  # of 4-byte words that a process may have
CLOSED = -(1 << 63)  # in place of an address


class DataError(ValueError):
    """What is wrong with a dataset, with its file."""


@dataclass(frozen=True)
class Piece:
    """A piece of a document in a row: which document (part << 32 | row in part), where, which copy."""

    locator: int
    row_start: int
    doc_start: int
    copy: int


class TokenRows:
    """The rows of one split of a pipeline run; opens shards when they are first read.

    DataError, naming the file, if manifest and shards do not say the same or are not of this format.
    """

    def __init__(self, folder: Path | str, split: str) -> None:
        self.folder, self.split = Path(folder), split
        manifest = _read_manifest(self.folder)
        files = manifest["tokens"].get(split, [])
        self.files: list[dict[str, Any]] = [entry for entry in files if entry["rows"] > 0]
        self.paths = [self.folder / entry["file"] for entry in self.files]
        for path, entry in zip(self.paths, self.files, strict=True):
            if not path.is_file() or path.stat().st_size != entry["bytes"]:
                raise DataError(f"{path}: not there with the {entry['bytes']} bytes of the manifest")
        self.shard_rows = tuple(int(entry["rows"]) for entry in self.files)
        self.starts = np.concatenate([[0], np.cumsum(self.shard_rows, dtype=np.int64)])
        self.rows = int(self.starts[-1])
        self.told_vocabulary: dict[str, Any] = manifest["vocabulary"]
        self.vocabulary = str(manifest["vocabulary"]["sha256"])
        self.n_vocab = int(manifest["vocabulary"]["n_vocab"])
        self.eot = int(manifest["vocabulary"]["eot"])
        # Which tokens these are: checkpoints carry it, and a run does not go on with others.
        told = {
            "vocabulary": manifest["vocabulary"],
            "files": [[entry[key] for key in ("file", "sha256", "rows", "tokens")] for entry in files],
        }
        self.fingerprint = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        counts = [-(-rows // BATCH_ROWS) for rows in self.shard_rows]
        self._first_batch = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])  # of each shard
        inside = np.arange(self._first_batch[-1]) - np.repeat(self._first_batch[:-1], counts)
        # By record batch of all shards: its first row, and the address / 4 that row 0 would have if the rows
        # before it lay in one piece with it.
        self._batch_rows = np.repeat(self.starts[:-1], counts) + inside * BATCH_ROWS
        self._row_0_at = np.full(len(self._batch_rows), CLOSED, np.int64)
        self._open_batches: dict[int, list[pa.RecordBatch]] = {}
        self.row_tokens = open_shard(self.paths[0]).row_tokens if self.files else 0
        self._origin, self._anywhere = 0, np.empty((0, self.row_tokens), np.int32)
        full = np.asarray(self.shard_rows, np.int64) * self.row_tokens
        tokens = np.asarray([entry["tokens"] for entry in self.files], np.int64)
        self._last_lengths = self.row_tokens - (full - tokens)  # only a shard's last row may be padded

    @property
    def form(self) -> str:
        """What must be alike in datasets that are mixed."""
        return f"vocabulary {self.vocabulary[:12]} in rows of {self.row_tokens}"

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """int64 [R] tokens before the padding, from the manifest alone."""
        shards = np.searchsorted(self.starts, rows, side="right") - 1
        last = rows == self.starts[shards + 1] - 1
        return np.where(last, self._last_lengths[shards], self.row_tokens)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """int64 [R] rows -> int32 [R, T] ids, copied and not yet checked (`find_unknown`)."""
        batches = self._batch_rows.searchsorted(rows, side="right") - 1
        row_0_at = self._row_0_at[batches]
        if row_0_at.min() == CLOSED:
            self._open(np.unique(self.starts.searchsorted(rows, side="right") - 1))
            row_0_at = self._row_0_at[batches]
        at = rows * self.row_tokens
        at += row_0_at
        at -= self._origin
        ids: np.ndarray = self._anywhere[at]
        return ids

    def row_starts(self, rows: np.ndarray) -> list[np.ndarray]:
        """uint32 arrays, one per row: where the pieces of documents in it start, the first at 0."""
        shards = self.starts.searchsorted(rows, side="right") - 1
        inside = rows - self.starts[shards]
        self._open(np.unique(shards))
        found = []
        for shard, row in zip(shards.tolist(), inside.tolist(), strict=True):
            column = self._open_batches[shard][row // BATCH_ROWS]["documents"]
            found.append(column[row % BATCH_ROWS].values.field("row_start").to_numpy())
        return found

    def _open(self, shards: np.ndarray) -> None:
        """Maps shards; if there would be too many maps, those from before are let go."""
        if len(self._open_batches) + len(shards) > OPEN_SHARDS:
            self._open_batches.clear()
            self._row_0_at[:] = CLOSED
        for shard in shards.tolist():
            if shard in self._open_batches:
                continue
            path, entry = self.paths[shard], self.files[shard]
            opened = open_shard(path)
            said = (opened.rows, opened.vocabulary, opened.n_vocab, opened.eot, opened.row_tokens)
            due = (entry["rows"], self.vocabulary, self.n_vocab, self.eot, self.row_tokens)
            if said != due:
                raise DataError(f"{path}: rows, vocabulary, n_vocab, eot, row_tokens are {said}, not {due}")
            batches = [opened.batches.get_batch(n) for n in range(opened.batches.num_record_batches)]
            if batches[-1]["length"][-1].as_py() != self._last_lengths[shard]:
                raise DataError(f"{path}: its last row has not the length that the manifest's tokens give")
            first = int(self._first_batch[shard])
            for number, batch in enumerate(batches):
                if batch.num_rows != min(BATCH_ROWS, entry["rows"] - number * BATCH_ROWS):
                    raise DataError(f"{path}: record batch {number} has {batch.num_rows} rows")
                before = int(self._batch_rows[first + number]) * self.row_tokens
                self._row_0_at[first + number] = _ids_of(batch).ctypes.data // 4 - before
            self._open_batches[shard] = batches
        # So that one gather reaches all maps: row k of this view is the T tokens from word k after the first
        # map. Nothing outside of open shards is ever read, because `read` finds every row in `starts`.
        lowest = min(
            (batches[0] for batches in self._open_batches.values()), key=lambda b: _ids_of(b).ctypes.data
        )
        self._origin = _ids_of(lowest).ctypes.data // 4
        self._anywhere = as_strided(_ids_of(lowest), shape=(ADDRESSES, self.row_tokens), strides=(4, 4))

    def name(self, row: int) -> str:
        """The row as `sluice why --row` takes it, for example train-00000:17."""
        shard = int(np.searchsorted(self.starts, row, side="right")) - 1
        return f"{self.paths[shard].stem}:{row - int(self.starts[shard])}"

    def pieces(self, row: int) -> tuple[Piece, ...]:
        """Whose text a row is, in order."""
        shard = int(np.searchsorted(self.starts, row, side="right")) - 1
        found = read_rows(self.paths[shard], [row - int(self.starts[shard])]).documents[0].as_py()
        return tuple(Piece(**piece) for piece in found)


def find_unknown(ids: np.ndarray, n_vocab: int) -> int | None:
    """The first row of int32 [R, T] with an id outside of 0..n_vocab-1, or None.

    Apart from reading, because it takes a quarter of its time, and training is where a wrong id does harm.
    """
    unsigned = ids.view(np.uint32)  # a negative id is a huge one
    if not len(ids) or int(unsigned.max()) < n_vocab:
        return None
    return int((unsigned >= n_vocab).any(axis=1).argmax())


def _read_manifest(folder: Path) -> dict[str, Any]:
    """MANIFEST.json of a run whose ledger balances, or of shards made elsewhere, which have no ledger."""
    path = folder / "MANIFEST.json"
    if not path.is_file():
        raise DataError(f"{path} does not exist: give the output folder of a finished `sluice run`")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if manifest.get("format") != 1:
        raise DataError(f"{path}: format {manifest.get('format')!r}, this reader knows 1")
    if manifest.get("ledger") and not manifest.get("balanced"):
        raise DataError(f"{path}: the ledger of this run does not balance")
    return manifest


def _ids_of(batch: pa.RecordBatch) -> np.ndarray:
    """int32 [rows * T], where the batch is mapped."""
    return batch["input_ids"].flatten().to_numpy(zero_copy_only=True)
