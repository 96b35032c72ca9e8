"""One `sluice run` in processes of its own, watched from outside: its time, its stages, its memory.

With one worker it is pinned to one CPU, together with its sandbox. Memory is looked at five times a second;
`unshared` (USS) leaves out pages that processes share. Times of pieces of work and their stages are what the
workers wrote into work/timings: wall time, so on a busy machine they contain waiting.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_LOOK_SECONDS = 0.2
START, TRIP = (
    "start",
    "sandbox",
)  # stages that are none: what a worker loads first, and the way to the sandbox


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run took, in seconds and bytes."""

    workers: int
    pages: int
    wall: float
    cpu: float  # of the driver and of all that it started
    busy: float  # wall time in which a piece of work was on
    pieces: float  # time in pieces of work, summed over workers, without `starts`
    starts: float  # kernels, sandbox and vocabulary, summed over workers
    stages: dict[tuple[str, str], float]  # by step and stage, without START
    rss: dict[str, int]  # peak of a process, by role
    unshared: dict[str, int]
    worker_bytes: int  # peak RSS of a worker and its sandbox together

    @property
    def working(self) -> float:
        """Wall time without start-up: in pieces of work, less what the workers load first."""
        return self.busy - self.starts / self.workers

    @property
    def overhead_share(self) -> float:
        """Of the time in pieces of work, the part in no stage."""
        in_stages = sum(spent for (_, stage), spent in self.stages.items() if stage != TRIP)
        return 1 - in_stages / self.pieces


def run_sluice(root: Path, settings: Sequence[str], *, workers: int) -> Figures:
    """Runs the checkout `root` into a fresh folder; RuntimeError with what it said if it fails."""
    cpus = os.sched_getaffinity(0)
    rss, unshared, worker_bytes = Counter[str](), Counter[str](), 0
    with tempfile.TemporaryDirectory(prefix="sluice-benchmark-") as folder:
        output, log = Path(folder, "out"), Path(folder, "log.txt")
        command = [sys.executable, "-m", "pipeline.cli", "run", "web-en-zh", "--output", str(output)]
        command += [f"--workers={workers}", *(f"--set={setting}" for setting in settings)]
        environment = os.environ | {"PYTHONPATH": str(root)}
        with log.open("wb") as said:
            os.sched_setaffinity(0, {max(cpus)} if workers == 1 else cpus)  # all that it starts inherits it
            begun = time.perf_counter()
            run = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
            os.sched_setaffinity(0, cpus)
        while True:
            pid, status, usage = os.wait4(run.pid, os.WNOHANG)  # with the CPU time of what it waited for
            if pid:
                break
            worker_bytes = max(worker_bytes, _look_at_memory(run.pid, rss, unshared))
            time.sleep(_LOOK_SECONDS)
        wall = time.perf_counter() - begun
        run.returncode = os.waitstatus_to_exitcode(status)
        if run.returncode:
            tail = log.read_text(errors="replace")[-3000:]
            raise RuntimeError(f"sluice run: exit code {run.returncode}\n{tail}")
        ledger = json.loads((output / "MANIFEST.json").read_text())["ledger"]
        stages, busy, pieces = _read_timings(output / "work/timings")
    starts = sum(stages.pop(key) for key in list(stages) if key[1] == START)
    return Figures(
        workers=workers,
        pages=sum(
            entry["records"] for entry in ledger if (entry["stage"], entry["reason"]) == ("read", "out")
        ),
        wall=wall,
        cpu=usage.ru_utime + usage.ru_stime,
        busy=busy,
        pieces=pieces - starts,
        starts=starts,
        stages=stages,
        rss=dict(rss),
        unshared=dict(unshared),
        worker_bytes=worker_bytes,
    )


def _look_at_memory(pid: int, rss: Counter[str], unshared: Counter[str]) -> int:
    """Raises the peaks by role; returns the RSS of the largest worker with its sandbox."""
    together, workers = Counter[int](), set[int]()
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return 0
    for process in processes:
        try:
            command, parent = " ".join(process.cmdline()), process.ppid()
            memory = process.memory_full_info()
        except psutil.Error:  # it has ended
            continue
        role, owner = "driver", process.pid
        if "sandbox_child" in command:
            role, owner = "sandbox", parent
            workers.add(parent)  # with one worker, that is the driver
        elif "sdk_worker_main" in command:
            role = "worker"
        rss[role], unshared[role] = max(rss[role], memory.rss), max(unshared[role], memory.uss)
        together[owner] += memory.rss
    return max((together[worker] for worker in workers), default=0)


def _read_timings(folder: Path) -> tuple[dict[tuple[str, str], float], float, float]:
    """(seconds by step and stage, wall seconds with any piece of work on, seconds of all pieces)."""
    stages: dict[tuple[str, str], float] = defaultdict(float)
    pieces: list[tuple[float, float]] = []
    for file in folder.rglob("*.json"):
        record = json.loads(file.read_text())
        step = file.parent.relative_to(folder).as_posix()
        ended = file.stat().st_mtime  # it is written when the piece ends
        pieces.append((ended - record["nanoseconds"] / 1e9, ended))
        for stage, nanoseconds in record["stages"].items():
            stages[step, stage] += nanoseconds / 1e9
    busy, until = 0.0, 0.0
    for begun, ended in sorted(pieces):
        busy += max(ended - max(begun, until), 0.0)
        until = max(until, ended)
    return dict(stages), busy, sum(ended - begun for begun, ended in pieces)
