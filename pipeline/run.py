"""`sluice run`: plan, estimate, the phases with progress from commit rows, closing table.

The phases run as one Beam job, because starting workers costs seconds here and minutes on a cluster;
`--phase` runs one of them. The report is made here, from commit rows.

Exit codes: 0 only if the ledger balances; 2 for a recipe that cannot be run; 3 if splits could not be read
(all others are done, a rerun takes only those); 4 if a worker died (a rerun resumes); 5 if the ledger does
not balance; 6 if another run holds the folder.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from pipeline.config import Recipe, RecipeError, UsageError, nearest
from pipeline.dedup.earlier import check_earlier
from pipeline.phase import Incomplete, Job
from pipeline.plan import estimate, make_plan, save_plan
from pipeline.progress import watch_phases
from pipeline.report.summary import print_estimate, print_summary
from pipeline.runners import (
    WorkerDied,
    check_runner,
    end_workers,
    killed_worker,
    quiet_stderr,
    run_job,
    run_watched,
)
from pipeline.storage import LockedError, Storage, lock

if TYPE_CHECKING:
    from pipeline.graph import Phase

PHASE_NAMES = ("annotate", "deduplicate", "decide", "pack", "report")
_MOST_TOLD = 20  # unreadable splits that are named
# Errors of workers that say what to do, as Beam passes them on.
_TOLD = re.compile(r"\b(DamagedIndex|NotConverged): ([^\n]*?)(?: \[while running|\n|$)")
OK, BAD_RECIPE, UNREADABLE, WORKER_DIED, UNBALANCED, LOCKED = 0, 2, 3, 4, 5, 6


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Where and how a recipe runs; nothing here may change its result."""

    output: str
    workers: int
    runner: str = "direct"
    phase: str | None = None  # only this one
    accept_missing: bool = False
    beam_options: Sequence[str] = ()


def check_options(options: RunOptions) -> None:
    """Raises RecipeError for options that name nothing that there is."""
    if options.phase is not None and options.phase not in PHASE_NAMES:
        hint = nearest(options.phase, PHASE_NAMES)
        raise RecipeError(f"--phase {options.phase!r} is not one of {', '.join(PHASE_NAMES)}{hint}")
    if options.workers < 1:
        raise RecipeError(f"--workers {options.workers}: at least one is needed")
    check_runner(options.runner)


def run(recipe: Recipe, options: RunOptions, console: Console) -> int:
    """Runs a checked recipe and returns the exit code."""
    storage = Storage.open(options.output)
    try:
        with lock(storage):
            plan = make_plan(recipe, storage)
            job = plan.job(options.output, accept_missing=options.accept_missing)
            check_earlier(job)
            print_estimate(console, estimate(plan, storage), recipe.name)
            save_plan(plan, storage)
            return run_phases(job, options, console)
    except LockedError as error:
        console.print(f"[red]{error}", markup=True)
        return LOCKED


def run_phases(job: Job, options: RunOptions, console: Console, names: Sequence[str] = PHASE_NAMES) -> int:
    """Runs the phases of a planned job, or those with these names, and returns the exit code."""
    # Beam takes a second to import: not before a recipe is known to be good.
    from pipeline.annotate.phase import find_missing
    from pipeline.graph import phases_of

    if options.phase is not None and (missing := _missing_before(job, options.phase)):
        return _tell_missing(console, job, missing)
    phases = [phase for phase in phases_of(job.recipe)[:-1] if options.phase in (None, phase.name)]
    phases = [phase for phase in phases if phase.name in names]
    try:
        if phases:
            _submit(job, phases, options, console)
    except WorkerDied as error:
        console.print(f"[red]{error}[/red] Finished parts are kept: run the same command again to go on.")
        return WORKER_DIED
    except Exception as error:
        # Deduplicate refuses to begin while splits are missing; what a worker raises comes as text.
        refused = isinstance(error, Incomplete) or Incomplete.__name__ in str(error)
        if refused and (missing := list(find_missing(job))):
            return _tell_missing(console, job, missing)
        if told := _TOLD.search(f"{type(error).__name__}: {error}"):
            raise UsageError(told[2]) from error
        raise
    if options.phase == "annotate" and (missing := list(find_missing(job))):
        return _tell_missing(console, job, missing)
    return _report(job, console) if options.phase in (None, "report") else OK


def _submit(job: Job, phases: Sequence["Phase"], options: RunOptions, console: Console) -> None:
    """Runs phases as one Beam job, with progress; no worker is left when it raises."""
    steps = {phase.name: [step.name for step in phase.steps] for phase in phases}
    log = job.storage().scratch_root() / "workers.log"
    try:
        with quiet_stderr(log), watch_phases(job, steps, console) as look:
            run_watched(
                partial(run_job, job, phases, options.runner, options.workers, options.beam_options), look
            )
    except (KeyboardInterrupt, WorkerDied):
        end_workers()
        raise
    except Exception as error:
        # What a step raises says in which step; anything else may be Beam's connection to a dead worker,
        # which is told a moment later.
        if died := killed_worker(log, seconds=0.0 if "[while running" in str(error) else 3.0):
            end_workers()
            raise WorkerDied(died) from error
        raise


def _report(job: Job, console: Console) -> int:
    """The Report phase is one small piece of work over commit rows: it is done here, without a runner."""
    from pipeline.report.phase import REPORT, Unbalanced
    from pipeline.sweep import sweep

    try:
        for key, payload in REPORT.plan(job):
            REPORT.finish(job, key, payload, [])
    except Unbalanced as error:
        console.print(f"[red]{escape(str(error).splitlines()[0])}")
        print_summary(console, job)
        return UNBALANCED
    sweep(job)
    print_summary(console, job)
    return OK


def _missing_before(job: Job, name: str) -> list[str]:
    """Splits that a single phase would have to do without; RecipeError if another phase has to run first.

    Commit rows of another recipe may lie there and look whole: what a step plans says whether it is done.
    """
    from pipeline.annotate.phase import find_missing
    from pipeline.graph import phases_of

    if name == PHASE_NAMES[0]:
        return []
    if missing := list(find_missing(job)):
        return missing
    for phase in phases_of(job.recipe)[1 : PHASE_NAMES.index(name)]:
        for step in phase.steps:
            if any(True for _ in step.plan(job)):
                raise RecipeError(
                    f"--phase {name}: {step.name} is not done for this recipe, run {phase.name} first"
                )
    return []


def _tell_missing(console: Console, job: Job, missing: list[str]) -> int:
    console.print(f"[red]{len(missing)} of {job.parts} splits could not be read:")
    for why in missing[:_MOST_TOLD]:
        console.print(f"  {escape(why)}", highlight=False)
    if len(missing) > _MOST_TOLD:
        console.print(f"  and {len(missing) - _MOST_TOLD} more")
    console.print("All others are done. Run again to read only these, or use --accept-missing.")
    return UNREADABLE
