"""Runners: the recipe of a job stays the same, only where it runs differs.

`direct` is Beam's FnApiRunner by name: plain DirectRunner silently picks another engine when it is online. It
has no retry, so a failed run is run again and resumes; a worker process that is killed would leave it waiting
for ever, so `run_local` watches the workers. DaskRunner is refused: in Beam 2.77 it reports success and loses
data.
"""

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from pipeline.config import RecipeError, nearest
from pipeline.phase import Job

if TYPE_CHECKING:
    from pipeline.graph import Phase

RUNNERS = {
    "direct": "FnApiRunner",
    "portable": "PortableRunner",
    "flink": "FlinkRunner",
    "spark": "SparkRunner",
}
RUNNERS |= {"dataflow": "DataflowRunner", "prism": "PrismRunner"}
_POLL_SECONDS = 0.5
_GRACE_SECONDS = 20.0  # workers also end because the job does: on a busy machine not all at once
_WORKER_MODULE = "apache_beam.runners.worker.sdk_worker_main"


class WorkerDied(RuntimeError):
    """A worker process ended before the job did."""


def check_runner(name: str) -> None:
    """Raises RecipeError for a runner that is not known or not to be trusted."""
    if name.lower().startswith("dask"):
        raise RecipeError(
            "runner dask is refused: in Beam 2.77 it reports success but loses the output of finish_bundle, "
            "of tagged outputs and of all sinks but the last"
        )
    if name not in RUNNERS:
        raise RecipeError(f"no runner {name!r}; there are {', '.join(RUNNERS)}{nearest(name, RUNNERS)}")


def run_job(
    job: Job, phases: Sequence["Phase"], runner: str, workers: int, options: Sequence[str] = ()
) -> None:
    """Runs phases as one Beam job and returns when it has ended; raises what the job raised."""
    # Beam takes more than a second to import: not before the recipe and the runner's name are known to be
    # good.
    import apache_beam as beam
    from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

    from pipeline.graph import Options, build

    if runner == "direct":
        mode = "in_memory" if workers == 1 else "multi_processing"
        flags = [f"--direct_num_workers={workers}", f"--direct_running_mode={mode}"]
        flags += options
        with job.storage().scratch() as spool:
            pipeline = beam.Pipeline(runner=FnApiRunner(), options=Options(flags))
            build(pipeline, job, phases, str(spool))
            pipeline.run().wait_until_finish()
        return
    pipeline = beam.Pipeline(options=Options([f"--runner={RUNNERS[runner]}", *options]))
    build(pipeline, job, phases)
    result = pipeline.run()
    state = result.wait_until_finish()
    if state != "DONE":
        raise RuntimeError(f"the {runner} job ended as {state}")


@contextmanager
def quiet_stderr(log: Path) -> Iterator[None]:
    """Sends standard error of this process and its children to a file: Beam's workers say there what no user
    can act on.

    What ends a job is raised as an exception and carries its traceback, so nothing that matters is lost.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


def killed_worker(log: Path, *, seconds: float) -> str | None:
    """How a worker was ended by a signal, as Beam told on standard error (quiet_stderr); None if none was.

    Beam notices a killed worker sometimes, and then ends the job with an error of its connection; the line is
    waited for so many seconds.
    """
    end = time.monotonic() + seconds
    while True:
        if found := re.search(rb"Worker subprocess exited with return code -(\d+)", log.read_bytes()):
            return f"a worker process was killed by signal {int(found[1])}"
        if time.monotonic() >= end:
            return None
        time.sleep(_POLL_SECONDS / 5)


def run_watched(run: Callable[[], None], tick: Callable[[], None]) -> None:
    """Calls `run` in a thread and `tick` twice a second; raises what `run` raises, or WorkerDied.

    A Beam worker that is killed leaves FnApiRunner waiting for an answer that never comes; so the worker
    processes are looked at here. The thread that waits is a daemon: it goes with the process.
    """
    failure: list[BaseException] = []

    def guarded() -> None:
        try:
            run()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=guarded, daemon=True, name="beam")
    thread.start()
    seen: dict[int, psutil.Process] = {}
    first_death = time.monotonic()
    while thread.is_alive():
        thread.join(_POLL_SECONDS)
        tick()
        for child in psutil.Process().children(recursive=True):
            if child.pid not in seen and _is_worker(child):
                seen[child.pid] = child
        dead = [pid for pid, child in seen.items() if not _runs(child)]
        if not dead:
            first_death = time.monotonic()
        elif time.monotonic() - first_death > _GRACE_SECONDS:
            raise WorkerDied(f"worker process {dead[0]} was killed (out of memory?)")
    if failure:
        raise failure[0]


def _is_worker(process: psutil.Process) -> bool:
    try:
        return _WORKER_MODULE in process.cmdline()
    except psutil.Error:
        return False


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def end_workers() -> None:
    """Kills what is left of the worker processes after a job was given up."""
    for child in psutil.Process().children(recursive=True):
        if child.pid != os.getpid():
            try:
                child.kill()
            except psutil.Error:
                pass
