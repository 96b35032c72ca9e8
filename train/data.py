"""Training samples by number, from one dataset or several mixed by weight, made one batch ahead.

    MANIFEST.json --> TokenRows (one split of one run) --+
    MANIFEST.json --> TokenRows ------------------------+--> Stream --> prefetch --> Batch

No process is started, and no state is kept but the number of the next sample (see order.py): what a
checkpoint holds is computed from the trainer's step, so it cannot disagree with what the thread has read.
"""

import hashlib
import json
import queue
import threading
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np

from train.order import Shuffle, choose_datasets, groups, mixture_quotas, skip_samples
from train.rows import DataError, Piece, TokenRows, find_unknown

LOCATED = 8192  # draws whose rows are found at once

Item = TypeVar("Item")


@dataclass(frozen=True)
class Batch:
    """Some rows in the order of their samples."""

    ids: np.ndarray  # int32 [R, T]
    lengths: np.ndarray  # int64 [R] tokens before the padding
    row_starts: list[np.ndarray] | None  # where documents start in each row, if masks are by document


@dataclass(frozen=True)
class Place:
    """Where a sample lies. `name` is what `sluice why OUTPUT --row NAME` takes."""

    sample: int
    dataset: int
    folder: str
    name: str
    pieces: tuple[Piece, ...]


class Stream:
    """The training samples of a run, by number, from one dataset or several mixed by weight."""

    def __init__(
        self,
        datasets: Sequence[TokenRows],
        weights: Sequence[float],
        *,
        seed: int,
        window: int = 0,
        skips: Sequence[tuple[int, int]] = (),
        with_documents: bool = False,
    ) -> None:
        self.datasets, self.seed, self.skips, self.with_documents = (
            list(datasets),
            seed,
            tuple(skips),
            with_documents,
        )
        for dataset in self.datasets:
            if not dataset.rows:
                raise DataError(f"{dataset.folder} has no {dataset.split} rows")
            if dataset.form != self.datasets[0].form:
                of_first = f"{self.datasets[0].folder} has {self.datasets[0].form}"
                raise DataError(f"{dataset.folder} has {dataset.form}, but {of_first}")
        self.row_tokens = self.datasets[0].row_tokens
        self.quotas = mixture_quotas(weights)
        self.shuffles = [Shuffle(d.shard_rows, window, seed, tag) for tag, d in enumerate(self.datasets)]
        self._located = lru_cache(maxsize=4)(self._locate_block)

    @property
    def fingerprint(self) -> str:
        """sha256 over the datasets and everything that decides their order, skips apart."""
        told = [[dataset.fingerprint for dataset in self.datasets], self.quotas.tolist()]
        told += [self.seed, self.shuffles[0].window]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def locate(self, drawn: np.ndarray) -> np.ndarray:
        """int64 [R] samples drawn before -> int64 [4, R]: sample, dataset, row of the dataset, tokens in it.

        Found by blocks, because small NumPy calls cost more than what they compute.
        """
        found = np.empty((4, len(drawn)), np.int64)
        for block, here in groups(drawn // LOCATED):
            found[:, here] = self._located(block).take(drawn[here] - block * LOCATED, axis=1)
        return found

    def _locate_block(self, block: int) -> np.ndarray:
        samples = skip_samples(np.arange(LOCATED) + block * LOCATED, self.skips)
        chosen, draws = choose_datasets(samples, self.quotas, self.seed)
        rows, lengths = np.empty_like(draws), np.empty_like(draws)
        for number, here in groups(chosen):
            rows[here] = self.shuffles[number].rows_of(draws[here])
            lengths[here] = self.datasets[number].lengths(rows[here])
        return np.stack([samples, chosen, rows, lengths])

    def lengths(self, drawn: np.ndarray) -> np.ndarray:
        """int64 [R] tokens before the padding, without opening a shard."""
        return self.locate(drawn)[3]

    def read(self, drawn: np.ndarray) -> Batch:
        """The rows of some samples, in their order; ids are checked by `check`."""
        _, chosen, rows, lengths = self.locate(drawn)
        if len(self.datasets) == 1:
            starts = self.datasets[0].row_starts(rows) if self.with_documents else None
            return Batch(self.datasets[0].read(rows), lengths, starts)
        ids = np.empty((len(rows), self.row_tokens), np.int32)
        for number, here in groups(chosen):
            ids[here] = self.datasets[number].read(rows[here])
        if not self.with_documents:
            return Batch(ids, lengths, None)
        pairs = zip(chosen.tolist(), rows, strict=True)
        return Batch(ids, lengths, [self.datasets[number].row_starts(row[None])[0] for number, row in pairs])

    def check(self, drawn: np.ndarray, ids: np.ndarray) -> None:
        """DataError, naming the row, if the ids [R, T] of these samples hold an unknown token id."""
        number = find_unknown(ids, self.datasets[0].n_vocab)
        if number is not None:
            place = self.places(drawn[number : number + 1])[0]
            last = self.datasets[0].n_vocab - 1
            raise DataError(f"{place.folder}: {place.name} has an id outside of 0..{last}")

    def places(self, drawn: np.ndarray) -> list[Place]:
        """Where samples lie and whose text they are: from a step back to its documents."""
        found = []
        for sample, number, row, _ in self.locate(drawn).T.tolist():
            dataset = self.datasets[number]
            found.append(Place(sample, number, str(dataset.folder), dataset.name(row), dataset.pieces(row)))
        return found


def prefetch(batches: Iterable[Item], depth: int = 2) -> Generator[Item, None, None]:
    """The same batches, made by one thread ahead of their use; its exceptions are raised here."""
    waiting: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(item: tuple[Item | None, BaseException | None]) -> None:
        while not stopped.is_set():
            try:
                return waiting.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for batch in batches:
                put((batch, None))
                if stopped.is_set():
                    return
            put((None, StopIteration()))
        except BaseException as error:
            put((None, error))

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            batch, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            assert batch is not None
            yield batch
    finally:
        stopped.set()
        thread.join()
