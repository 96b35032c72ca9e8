"""Progress of phases, read from the commit rows that appear in the output: it works on every runner."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipeline.phase import Job, read_row

_ANNOUNCED = "work/progress"


@contextmanager
def watch_phases(
    job: Job, phases: Mapping[str, Sequence[str]], console: Console
) -> Iterator[Callable[[], None]]:
    """A bar per phase over the commit rows of its steps; yields the function that looks once."""
    columns = (
        TextColumn("[bold]{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:>16}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # Drawn as often as there is something new (run_watched looks twice a second), and not for nobody.
    drawn = Progress(*columns, console=console, refresh_per_second=2, disable=console.quiet)
    with drawn as progress:
        bars = [_Bar(job, progress, phase, steps) for phase, steps in phases.items()]

        def look() -> None:
            for bar in bars:
                bar.look()

        yield look
        look()
        for bar in bars:
            bar.finish()


class _Bar:
    """One phase: the commit rows that its steps have put, of those that they announced."""

    def __init__(self, job: Job, progress: Progress, phase: str, steps: Sequence[str]) -> None:
        self._job, self._progress, self._steps = job, progress, steps
        self._rows_before = {step: job.storage().changes(step) for step in steps}
        self._announced_before = self._announced()
        self._started = 0.0
        self._seen: set[str] = set()
        self._rows = 0
        self._task: TaskID = progress.add_task(phase, start=False, total=None, rate="")

    def look(self) -> None:
        """Looks once; a phase whose steps have not announced anything has not begun."""
        new = [name for name, put in self._announced().items() if self._announced_before.get(name) != put]
        if not new:
            return
        if not self._started:
            self._started = time.monotonic()
            self._progress.start_task(self._task)
        for step in self._steps:
            for name, put in self._job.storage().changes(step).items():
                known = name in self._seen or self._rows_before[step].get(name) == put
                if name.endswith(".json") and not known:
                    self._seen.add(name)
                    row = read_row(self._job, step, int(Path(name).stem.removeprefix("part-")))
                    self._rows += row.files[0].rows if row and row.files else 0
        counts = [int(self._job.storage().read_bytes(name) or 0) for name in new]
        # The total is known when the last step has told how much is left for it.
        total = sum(counts) if len(counts) == len(self._steps) else None
        seconds = max(time.monotonic() - self._started, 1e-3)
        rate = f"{self._rows / seconds:,.0f} rows/s" if self._rows else ""
        self._progress.update(self._task, completed=len(self._seen), total=total, rate=rate)
        if total == len(self._seen):
            self._progress.stop_task(self._task)

    def finish(self) -> None:
        """Fills the bar; a phase with nothing left to do is done too."""
        whole = max(len(self._seen), 1)
        self._progress.update(self._task, total=whole, completed=whole)

    def _announced(self) -> dict[str, int]:
        """What the steps of this phase told of the work that is left, and when."""
        storage = self._job.storage()
        told = storage.changes(_ANNOUNCED) | storage.changes(f"{_ANNOUNCED}/work")
        return {name: put for name, put in told.items() if name.removeprefix(f"{_ANNOUNCED}/") in self._steps}
