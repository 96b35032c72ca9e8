"""Speed, memory and overhead of whole runs on real pages: `python tests/benchmarks/pipeline.py --quick --json`

Every figure comes from `sluice run` as a user starts it, in processes of its own, on the two WARC files of
the pool (2,417 pages of 18 sites): with one worker, pinned to one CPU together with its sandbox, and with
two. For the ratio of two workers to one and for memory, the pool is read ten times under ten names. The
copies are exact duplicates: Annotate, which is most of the work, does all of it again for each, but Decide
drops them, so that pages of the tenfold pool cost less from there on. A file is a split in all runs, because
two workers need more than two pieces of work.

- Start-up is shown apart: imports, plan and report (the wall time before the first and after the last piece
  of work), and the kernels, sandbox and vocabulary of each worker (stage "start"). Kernels are compiled before.
- Milliseconds by stage are wall time inside workers (work/timings): on a busy machine they contain waiting.
  CPU time, and a fixed loop before and after each run, tell how busy and how fast the machine was.
- Overhead is the share of the workers' time in no stage: commit rows, fsync, reading rows, the way to the
  sandbox and back.
- Memory is looked at five times a second: resident (RSS) and unshared (USS) bytes by role of the process.

Costs about 5 minutes; --quick (one engine, the pool once) 30 seconds on an idle machine.
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
sys.path[0] = str(ROOT)  # not this folder, in which this file would be taken for the package

from pipeline.annotate.read.records import Record, SpanAccount  # noqa: E402
from pipeline.annotate.read.split import read_split  # noqa: E402
from pipeline.annotate.splits import Span  # noqa: E402

POOL = (ROOT / "../shared/data/warc").resolve()
FILES = (POOL / "pool-zh.warc.gz", POOL / "pool-en.warc.gz")
COPIES = 10
SPLIT_BYTES = 7_300_000  # one file each: both are shorter, and together longer
LIBRARIES = ("apache-beam", "numba", "pyarrow", "resiliparse", "trafilatura", "fasttext-predict", "tiktoken")

# Milliseconds that the design allows for a page of 25 kB with 5 kB of text: (line, budget, stages by step). Of
# its lines, language models, classifiers and decontamination are not there yet.
BUDGET = (
    ("read", 0.15, {"documents": ("read", "decode")}),
    ("charset", 0.10, {"documents": ("charset",)}),
    ("extract", 0.50, {"documents": ("extract",)}),
    ("normalise", 0.10, {"documents": ("normalize",)}),
    ("language", 0.15, {"documents": ("language",)}),
    ("rules and personal data", 0.25, {"documents": ("rules",), "decisions": ("rules",)}),
    ("signature", 0.05, {"documents": ("sign",)}),
    ("write", 0.15, {"documents": ("digests", "write")}),
    ("encode", 0.10, {"work/encoded": ("encode",)}),
)
DEDUPLICATE = ("work/candidates-scatter", "work/candidates", "work/components", "clusters")
DEDUPLICATE_BUDGET, REST_BUDGET = 0.05, 0.10


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run took: seconds and bytes."""

    workers: int
    pages: int
    wall: float
    cpu: float  # of the driver and all that it started
    span: float  # from the start of the first piece of work to the end of the last
    pieces: float  # inside pieces of work, without the start of workers, summed over workers
    start: float  # of workers, summed
    stages: dict[tuple[str, str], float]  # by step and stage, without "start"
    rss: dict[str, int]  # peak of a process, by role
    uss: dict[str, int]
    worker_bytes: int  # peak RSS of a worker together with its sandbox

    @property
    def working(self) -> float:
        """Wall seconds without the start-up."""
        return self.span - self.start / self.workers

    @property
    def rate(self) -> float:
        """Pages per second without the start-up."""
        return self.pages / self.working

    @property
    def overhead_share(self) -> float:
        """Of the pieces' time, what is in no stage; the way to the sandbox, timed like a stage, is none."""
        in_stages = sum(spent for (_, stage), spent in self.stages.items() if stage != "sandbox")
        return 1 - in_stages / self.pieces


def run_sluice(paths: Sequence[Path], *, engine: str, workers: int) -> Figures:
    """One run in a fresh folder, with one worker on one CPU; RuntimeError with what it said if it fails."""
    settings = {
        "sources.web.paths": json.dumps([str(path) for path in paths]),
        "annotate.engine": engine,
        "annotate.split_bytes": str(SPLIT_BYTES),
    }
    cpus = os.sched_getaffinity(0)
    rss, uss, worker_bytes = Counter[str](), Counter[str](), 0
    with tempfile.TemporaryDirectory(prefix="sluice-benchmark-") as folder:
        output, log = Path(folder, "out"), Path(folder, "log.txt")
        command = [sys.executable, "-m", "pipeline.cli", "run", "web-en-zh", "--output", str(output)]
        command += [f"--workers={workers}", *(f"--set={key}={value}" for key, value in settings.items())]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with log.open("wb") as sink:
            os.sched_setaffinity(0, {max(cpus)} if workers == 1 else cpus)  # inherited by all that it starts
            start = time.perf_counter()
            run = subprocess.Popen(command, cwd=folder, env=environment, stdout=sink, stderr=sink)
            os.sched_setaffinity(0, cpus)
        while True:
            pid, status, usage = os.wait4(run.pid, os.WNOHANG)  # with the CPU time of all that it waited for
            if pid:
                break
            worker_bytes = max(worker_bytes, look_at_memory(run.pid, rss, uss))
            time.sleep(0.2)
        wall = time.perf_counter() - start
        run.returncode = os.waitstatus_to_exitcode(status)
        if run.returncode:
            raise RuntimeError(
                f"sluice run: exit code {run.returncode}\n{log.read_text(errors='replace')[-3000:]}"
            )
        ledger = json.loads((output / "MANIFEST.json").read_text())["ledger"]
        stages, span, pieces = read_timings(output / "work/timings")
    pages = sum(e["records"] for e in ledger if (e["stage"], e["reason"]) == ("read", "out"))
    cpu = usage.ru_utime + usage.ru_stime
    starts = sum(stages.pop(key) for key in list(stages) if key[1] == "start")
    return Figures(
        workers, pages, wall, cpu, span, pieces - starts, starts, stages, dict(rss), dict(uss), worker_bytes
    )


def look_at_memory(pid: int, rss: Counter[str], uss: Counter[str]) -> int:
    """Raises the peaks by role; returns the RSS of the largest worker together with its sandbox."""
    together = Counter[int]()
    workers: set[int] = set()
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
        role = "driver"
        if "sandbox_child" in command:
            role = "sandbox"
            workers.add(parent)  # with one worker, the driver
        elif "sdk_worker_main" in command:
            role = "worker"
        rss[role], uss[role] = max(rss[role], memory.rss), max(uss[role], memory.uss)
        together[parent if role == "sandbox" else process.pid] += memory.rss
    return max((together[worker] for worker in workers), default=0)


def read_timings(folder: Path) -> tuple[dict[tuple[str, str], float], float, float]:
    """(seconds by step and stage, seconds from first to last, seconds of all pieces of work)."""
    stages: dict[tuple[str, str], float] = defaultdict(float)
    begun, ended, pieces = [], [], 0.0
    for file in folder.rglob("*.json"):
        record = json.loads(file.read_text())
        step = file.parent.relative_to(folder).as_posix()
        seconds = record["nanoseconds"] / 1e9
        pieces += seconds
        ended.append(file.stat().st_mtime)  # written when the piece ends
        begun.append(ended[-1] - seconds)
        for stage, nanoseconds in record["stages"].items():
            stages[step, stage] += nanoseconds / 1e9
    return dict(stages), max(ended) - min(begun), pieces


def html_bytes(path: Path) -> int:
    """Bytes of the pages of a WARC file, HTTP heads included, as the pipeline reads them."""
    size = path.stat().st_size
    outcomes = read_split(
        [Span(str(path.parent), path.name, 0, size, size, "")],
        format="warc",
        fields={},
        max_record_bytes=64_000_000,
        max_ratio=1000,
        account=SpanAccount(),
    )
    return sum(len(outcome.payload) for outcome in outcomes if isinstance(outcome, Record))


def copy_pool(folder: Path) -> list[Path]:
    """The pool under COPIES names."""
    paths = [folder / f"{number}-{file.name}" for number in range(COPIES) for file in FILES]
    for path, file in zip(paths, FILES * COPIES, strict=True):
        path.symlink_to(file)
    return paths


def machine_speed() -> float:
    """Million rounds a second of a fixed loop: a shared CPU can be half as fast a minute later."""
    start, total = time.perf_counter(), 0
    for number in range(3_000_000):
        total ^= number
    return 3 / (time.perf_counter() - start)


def stage_milliseconds(figures: Figures) -> dict[str, float]:
    """Milliseconds per page by line of the budget; what is in no line is the rest."""
    left = dict(figures.stages)
    trip = sum(left.pop(key) for key in list(left) if key[1] == "sandbox")
    spent: dict[str, float] = {}
    for line, _, steps in BUDGET:
        spent[line] = sum(left.pop((step, stage), 0.0) for step, stages in steps.items() for stage in stages)
    spent["deduplicate"] = sum(left.pop(key) for key in list(left) if key[0] in DEDUPLICATE)
    spent["rest"] = sum(left.values())
    spent["to the sandbox and back"] = trip
    spent["in no stage"] = figures.pieces - sum(spent.values())
    return {line: 1000 * seconds / figures.pages for line, seconds in spent.items()}


def print_stages(figures: Figures) -> None:
    """The table beside the budget."""
    budget = {line: allowed for line, allowed, _ in BUDGET}
    budget |= {"deduplicate": DEDUPLICATE_BUDGET, "rest": REST_BUDGET}
    spent = stage_milliseconds(figures)
    print("  milliseconds per page         measured  budget")
    for line, milliseconds in spent.items():
        allowed = f"{budget[line]:8.2f}" if line in budget else "       -"
        print(f"    {line:26s}  {milliseconds:8.3f}{allowed}")
    print(f"    {'together':26s}  {sum(spent.values()):8.3f}{sum(budget.values()):8.2f}")


def print_run(name: str, figures: Figures, size: int) -> None:
    """The figures of one run over `size` bytes of HTML."""
    print(f"{name}: {figures.pages:,} pages, {size / 1e6:.0f} MB of HTML")
    print(
        f"  {figures.rate:.0f} pages/s, {size / figures.working / 1e6:.1f} MB of HTML/s in {figures.working:.1f} s; "
        f"start-up {figures.wall - figures.working:.1f} s"
    )
    print(
        f"  CPU time {figures.cpu:.1f} s with start-up, {1000 * figures.cpu / figures.pages:.2f} ms per page"
    )
    between = 1 - figures.pieces / (figures.working * figures.workers)
    print(
        f"  outside stages {figures.overhead_share:.1%} of the time in pieces of work; "
        f"between pieces {between:.1%} of all workers' wall time"
    )
    roles = [
        f"{role} {figures.rss[role] / 1e9:.2f} (unshared {figures.uss[role] / 1e9:.2f})"
        for role in figures.rss
    ]
    together = f"a worker with its sandbox {figures.worker_bytes / 1e9:.2f}"
    print(f"  peak memory in GB: {', '.join([*roles, together])}")


def print_machine() -> None:
    """What the figures were measured on and with."""
    model, cpuinfo = platform.machine(), Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), model)
    memory = psutil.virtual_memory().total / 1e9
    print(f"{model}, {len(os.sched_getaffinity(0))} CPUs, {memory:.0f} GB; load {os.getloadavg()[0]:.1f}")
    print(
        ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in LIBRARIES)])
    )


def measure(engine: str, pool: Sequence[Path], *, size: int, repeats: int) -> dict[str, object]:
    """One and two workers on the pool, read `repeats` times too; prints as it goes, returns what --json tells."""
    runs: dict[tuple[int, int], Figures] = {}
    for workers, times in dict.fromkeys([(1, 1), (1, repeats), (2, repeats)]):
        before = machine_speed()
        figures = run_sluice(pool[: times * len(FILES)], engine=engine, workers=workers)
        print_run(f"{engine}, workers: {workers}, pool x {times}", figures, times * size)
        print(f"  the machine ran {before:.0f} million rounds/s before and {machine_speed():.0f} after")
        if (workers, times) == (1, 1):
            print_stages(figures)
        runs[workers, times] = figures
    one, two = runs[1, repeats], runs[2, repeats]
    growth = one.worker_bytes / runs[1, 1].worker_bytes
    print(
        f"{engine}: 2 workers {two.rate / one.rate:.2f} x 1 worker; memory of a worker {growth:.2f} x that of pool x 1"
    )
    return {
        "engine": engine,
        "pages_per_s_1": round(one.rate, 1),
        "pages_per_s_2": round(two.rate, 1),
        "mb_html_per_s_1": round(repeats * size / one.working / 1e6, 2),
        "overhead_share": round(one.overhead_share, 4),
        "peak_gb_worker": round(max(run.worker_bytes for run in runs.values()) / 1e9, 3),
        "start_up_s_1": round(one.wall - one.working, 2),
        "stage_ms_per_page": {
            line: round(spent, 4) for line, spent in stage_milliseconds(runs[1, 1]).items()
        },
    }


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="resiliparse only, the pool once")
    parser.add_argument("--json", action="store_true", help="one line of JSON per engine at the end")
    options = parser.parse_args()
    if not all(file.is_file() for file in FILES):
        sys.exit(f"the pool is not there: {', '.join(map(str, FILES))}")
    print_machine()
    warm = [sys.executable, "-m", "pipeline.cli", "doctor", "--warm"]
    subprocess.run(warm, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    size = sum(map(html_bytes, FILES))
    # trafilatura is ten times as slow: twice the pool is enough for it.
    repeats = {"resiliparse": 1} if options.quick else {"resiliparse": COPIES, "trafilatura": 2}
    with tempfile.TemporaryDirectory(prefix="sluice-pool-") as folder:
        pool = copy_pool(Path(folder))
        told = [measure(engine, pool, size=size, repeats=times) for engine, times in repeats.items()]
    print(
        "for scale, datatrove 0.10 on one core with other pages (140 kB), milliseconds per page: trafilatura 28, "
        "rule filters 19, signature 10"
    )
    if options.json:
        for line in told:
            print(json.dumps(line))


if __name__ == "__main__":
    main()
