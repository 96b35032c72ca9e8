"""Progress of a phase, read from the commit rows that appear in the output: it works on every runner."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipeline.phase import Job, read_row


@contextmanager
def watch_phase(job: Job, phase: str, steps: Sequence[str], console: Console) -> Iterator[Callable[[], None]]:
    """A progress bar over the commit rows of a phase's steps; yields the function that looks once."""
    columns = (
        TextColumn("[bold]{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:>16}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    storage = job.storage()
    before = {step: storage.changes(step) for step in steps}
    announced_before = storage.changes("work/progress") | storage.changes("work/progress/work")
    start = time.monotonic()
    seen: set[str] = set()
    made = 0

    with Progress(*columns, console=console) as progress:
        task = progress.add_task(phase, total=None, rate="")

        def look() -> None:
            nonlocal made
            for step in steps:
                for name, changed in storage.changes(step).items():
                    if name.endswith(".json") and name not in seen and before[step].get(name) != changed:
                        seen.add(name)
                        row = read_row(job, step, int(Path(name).stem.removeprefix("part-")))
                        made += row.files[0].rows if row and row.files else 0
            rate = f"{made / (time.monotonic() - start):,.0f} rows/s" if made else ""
            announced = storage.changes("work/progress") | storage.changes("work/progress/work")
            left = [name for name, changed in announced.items() if announced_before.get(name) != changed]
            counts = [
                int(storage.read_bytes(name) or 0)
                for name in left
                if name.removeprefix("work/progress/") in steps
            ]
            # The total is known when the last step has told how much is left for it.
            total = sum(counts) if len(counts) == len(steps) else None
            progress.update(task, completed=len(seen), total=total, rate=rate)

        yield look
        look()
        whole = max(len(seen), 1)  # a phase with nothing left to do is done too
        progress.update(task, total=whole, completed=whole)
