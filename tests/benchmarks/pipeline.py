"""Speed, memory and overhead of whole runs on real pages: `python tests/benchmarks/pipeline.py [--quick] [--json]`

Every figure comes from `sluice run` as a user starts it, in a process of its own, on the two WARC files of the
pool (2,417 pages of 18 sites): one worker, pinned to one CPU together with its sandbox, and two workers. For the
ratio of two workers to one, and for memory, the pool is read ten times under ten names. Copies are exact
duplicates: Annotate, nine tenths of the work, does not know that and does all of it again, but Decide drops them,
so a page of the tenfold pool costs fewer tokens than one of the pool itself. Splits are cut at 4 MB, in all runs
alike: two workers need more than two pieces of work.

What is timed, and how:
- kernels are compiled before; a run on 32 pages is the start-up, which is taken off and shown apart;
- milliseconds by stage are wall time inside the workers (work/timings), so on a busy machine they contain
  waiting; CPU time of the run and a fixed loop before and after tell how busy and how fast the machine was;
- overhead is the share of a worker's time in no stage: commits, hashing, fsync, JSON, and the trip to the sandbox;
- memory is looked at five times a second: resident (RSS) and unshared (USS) bytes of each process, by role.

Costs 6 minutes; --quick (one engine, the pool once, one worker and two) 50 seconds.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
POOL = ROOT / "../shared/data/warc"
FILES = ("pool-zh.warc.gz", "pool-en.warc.gz")
COPIES = 10
START_UP_PAGES = 32
SPLIT_BYTES = 4_000_000
LIBRARIES = ("apache-beam", "numba", "pyarrow", "resiliparse", "trafilatura", "fasttext-numpy2-wheel", "tiktoken")

# Milliseconds per page of 25 kB of HTML and 5 kB of text that the design allows: (line, budget, step: stages).
# Language models, classifiers and decontamination are not there yet.
BUDGET = (
    ("read", 0.15, {"documents": ["read"]}),
    ("charset", 0.10, {"documents": ["decode", "charset"]}),
    ("extract", 0.50, {"documents": ["extract"]}),
    ("normalise", 0.10, {"documents": ["normalize"]}),
    ("language", 0.15, {"documents": ["language"]}),
    ("rules, personal data", 0.25, {"documents": ["rules"], "decisions": ["rules"]}),
    ("signature", 0.05, {"documents": ["sign"]}),
    ("write", 0.15, {"documents": ["digests", "write"]}),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run took; times in seconds, sizes in bytes."""

    workers: int
    pages: int
    html_bytes: int
    wall: float
    cpu: float  # of the driver and all its descendants
    pieces: float  # inside pieces of work, summed over workers
    stages: dict[str, Counter[str]]  # by step, seconds
    rss: dict[str, int]  # peak by role
    uss: dict[str, int]
    worker_bytes: int  # peak RSS of a worker together with its sandbox

    @property
    def in_stages(self) -> float:
        """Seconds in stages; what the sandbox's trip takes beside its stages is none."""
        return sum(sum(stages.values()) - stages["sandbox"] for stages in self.stages.values())

    @property
    def overhead_share(self) -> float:
        return 1 - self.in_stages / self.pieces


def run_sluice(folder: Path, paths: Sequence[Path], *, engine: str, workers: int, cpus: set[int]) -> Figures:
    """One run in a fresh output folder on these CPUs; RuntimeError with what it printed if it fails."""
    output = folder / "out"
    settings = {
        "sources.web.paths": json.dumps([str(path) for path in paths]),
        "annotate.engine": engine,
        "annotate.split_bytes": str(SPLIT_BYTES),
    }
    command = [sys.executable, "-m", "pipeline.cli", "run", "web-en-zh", "--output", str(output)]
    command += ["--workers", str(workers)]
    command += [argument for key, value in settings.items() for argument in ("--set", f"{key}={value}")]
    ours = os.sched_getaffinity(0)
    log = folder / "log.txt"
    with log.open("wb") as sink:
        os.sched_setaffinity(0, cpus)  # the run and all that it starts inherit it
        start = time.perf_counter()
        run = subprocess.Popen(
            command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=sink, stderr=subprocess.STDOUT
        )
        os.sched_setaffinity(0, ours)
    rss: Counter[str] = Counter()
    uss: Counter[str] = Counter()
    together = 0
    while True:
        pid, status, usage = os.wait4(run.pid, os.WNOHANG)
        if pid:
            break
        together = max(together, look_at_memory(run.pid, rss, uss))
        time.sleep(0.2)
    wall = time.perf_counter() - start
    run.returncode = os.waitstatus_to_exitcode(status)
    if run.returncode:
        raise RuntimeError(f"sluice run ended with {run.returncode}:\n{log.read_text(errors='replace')[-3000:]}")
    stages, pieces = read_timings(output)
    manifest = json.loads((output / "MANIFEST.json").read_text())
    read = next(entry for entry in manifest["ledger"] if (entry["stage"], entry["reason"]) == ("read", "out"))
    return Figures(
        workers,
        read["records"],
        html_bytes(paths),
        wall,
        usage.ru_utime + usage.ru_stime,
        pieces,
        stages,
        dict(rss),
        dict(uss),
        together,
    )


def look_at_memory(pid: int, rss: Counter[str], uss: Counter[str]) -> int:
    """Raises the peaks by role; returns the RSS of the largest worker together with its sandbox."""
    family: Counter[int] = Counter()
    sandboxes: list[tuple[int, int]] = []
    try:
        driver = psutil.Process(pid)
        processes = [driver, *driver.children(recursive=True)]
    except psutil.Error:
        return 0
    for process in processes:
        try:
            command = " ".join(process.cmdline())
            memory = process.memory_full_info()
            parent = process.ppid()
        except psutil.Error:
            continue
        is_sandbox = "sandbox_child" in command
        role = "sandbox" if is_sandbox else "worker" if "sdk_worker_main" in command else "driver"
        rss[role], uss[role] = max(rss[role], memory.rss), max(uss[role], memory.uss)
        family[parent if is_sandbox else process.pid] += memory.rss
        if is_sandbox:
            sandboxes.append((parent, memory.rss))
    return max((family[parent] for parent, _ in sandboxes), default=0)


def read_timings(output: Path) -> tuple[dict[str, Counter[str]], float]:
    """(seconds by step and stage, seconds of all pieces of work) as the workers measured them."""
    stages: dict[str, Counter[str]] = defaultdict(Counter)
    pieces = 0.0
    timings = output / "work" / "timings"
    for file in sorted(timings.rglob("*.json")):
        record = json.loads(file.read_text())
        step = file.parent.relative_to(timings).as_posix()
        pieces += record["nanoseconds"] / 1e9
        stages[step].update({stage: spent / 1e9 for stage, spent in record["stages"].items()})
    return dict(stages), pieces


def html_bytes(paths: Sequence[Path]) -> int:
    """Bytes of all pages (HTTP responses with their heads) in WARC files, read as the pipeline reads them."""
    from pipeline.annotate.read.records import Record, SpanAccount
    from pipeline.annotate.read.split import read_split
    from pipeline.annotate.splits import Span

    sizes: dict[Path, int] = {}
    for path in {path.resolve() for path in paths}:
        size = path.stat().st_size
        span = Span(str(path.parent), path.name, 0, size, size, "")
        outcomes = read_split(
            [span], format="warc", fields={}, max_record_bytes=1 << 26, max_ratio=1000, account=SpanAccount()
        )
        sizes[path] = sum(len(outcome.payload) for outcome in outcomes if isinstance(outcome, Record))
    return sum(sizes[path.resolve()] for path in paths)


def first_pages(pool: Path, count: int, target: Path) -> Path:
    """The first `count` members of a WARC file as a file of their own."""
    from pipeline.annotate.read.inflate import DeflateMember
    from pipeline.annotate.read.window import Window

    content = pool.read_bytes()
    import pyarrow as pa

    window, end = Window(pa.BufferReader(content), len(content)), 0
    for _ in range(count):
        member = DeflateMember(window, end, max_ratio=1000)
        while member.read():
            pass
        end = member.offset
    target.write_bytes(content[:end])
    return target


def machine_speed() -> float:
    """Millions of rounds per second of a fixed loop on one CPU: the same machine can be twice as fast a minute later."""
    start = time.perf_counter()
    total = 0
    for number in range(2_000_000):
        total ^= number
    return 2 / (time.perf_counter() - start)
