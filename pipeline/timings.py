"""Where the time of a part went, in nanoseconds by stage: written beside the rows, never into them."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import orjson

from pipeline.storage import Storage

T = TypeVar("T")


class Timings:
    """Adds up wall time by stage within one piece of work; `start` to `save` is the whole."""

    def __init__(self) -> None:
        self._start = time.perf_counter_ns()
        self._stages: Counter[str] = Counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times a block."""
        start = time.perf_counter_ns()
        try:
            yield
        finally:
            self._stages[name] += time.perf_counter_ns() - start

    def each(self, name: str, values: Iterable[T]) -> Iterator[T]:
        """Times what an iterator does between its values."""
        iterator = iter(values)
        while True:
            with self.stage(name):
                try:
                    value = next(iterator)
                except StopIteration:
                    return
            yield value

    def add(self, name: str, nanoseconds: int) -> None:
        """Adds time that was measured elsewhere (in the sandbox)."""
        self._stages[name] += nanoseconds

    def save(self, storage: Storage, step: str, number: int) -> None:
        """Writes work/timings/STEP/part-NNNNN.json."""
        whole = time.perf_counter_ns() - self._start
        record = {"nanoseconds": whole, "stages": dict(sorted(self._stages.items()))}
        storage.put_note(f"work/timings/{step}/part-{number:05d}.json", orjson.dumps(record))
