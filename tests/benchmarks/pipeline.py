"""Speed, memory and overhead of whole runs: `python tests/benchmarks/pipeline.py [--quick] [--json]`

Every figure comes from `sluice run` as a user starts it (measured_run.py), on the two WARC files of the pool:
2,417 pages of 18 sites, 25 kB each. For the ratio of two workers to one and for memory, the pool is read ten
times under ten names. The copies are exact duplicates: Annotate, which is most of the work, does all of it
again for each, but Decide drops them, so that pages of the tenfold pool cost less from there on. A file is a
split in all runs, because two workers need more than two pieces of work.

Pages per second are given without start-up and for the whole run. Start-up is the wall time in which no
piece of work is on (imports, plan, worker processes of each phase, report) and what each worker loads first
(machine code of the kernels, sandbox, vocabulary). It does not grow with the input. Kernels are compiled
before.

Overhead is the share of the time in pieces of work that is in no stage: commit rows, fsync, the way to the
sandbox and back. Other work on the machine makes everything slower, also by shared caches: CPU time per page,
and a fixed loop beside each run, tell by how much.

--peer PYTHON compares with datatrove by stage (peer_datatrove.py), in the same run on the same pages.

Costs 10 minutes on an idle machine, --peer 2 more; --quick (main_text; the pool once and twice) half a
minute.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path[:1] = [str(ROOT), str(Path(__file__).parent)]  # here, this file would be taken for the package

from measured_run import TRIP, Figures, run_sluice  # noqa: E402

from pipeline.annotate.charset import decode_page  # noqa: E402
from pipeline.annotate.read.http_response import decode_http_response  # noqa: E402
from pipeline.annotate.read.records import Record, SpanAccount  # noqa: E402
from pipeline.annotate.read.split import read_split  # noqa: E402
from pipeline.annotate.splits import Span  # noqa: E402

POOL = (ROOT / "../shared/data/warc").resolve()
FILES = (POOL / "pool-zh.warc.gz", POOL / "pool-en.warc.gz")
SPLIT_BYTES = 7_300_000  # each file is smaller, and the two together are larger
REPEATS = {"main_text": 10, "resiliparse": 10, "trafilatura": 2}  # of the pool; the last is slow
LIBRARIES = ("apache-beam", "numba", "pyarrow", "resiliparse", "trafilatura", "fasttext-predict")

# Milliseconds that the design allows for a page of 25 kB with 5 kB of text: (line, budget, step, stages).
# Its language models, classifiers and decontamination (1.1 ms) are not there yet.
BUDGET = (
    ("read", 0.15, "documents", ("read", "decode")),
    ("charset", 0.10, "documents", ("charset",)),
    ("extract", 0.50, "documents", ("extract",)),
    ("normalise", 0.10, "documents", ("normalize",)),
    ("language", 0.15, "documents", ("language",)),
    ("rules and personal data", 0.25, "documents", ("rules",)),
    ("signature", 0.05, "documents", ("sign",)),
    ("write", 0.15, "documents", ("digests", "write")),
    ("encode", 0.10, "work/encoded", ("encode",)),
)
DEDUPLICATE = (
    "work/candidates-scatter",
    "work/candidates",
    "work/groups",
    "work/verified-evidence",
    "work/verified",
    "work/components",
    "clusters",
    "work/recall",
    "work/precision",
)
BUDGETS = {line: allowed for line, allowed, *_ in BUDGET} | {"deduplicate": 0.05, "rest": 0.10}


def stage_milliseconds(figures: Figures) -> dict[str, float]:
    """Milliseconds per page by line of the budget; stages in no line are the rest."""
    left = dict(figures.stages)
    trip = sum(left.pop(key) for key in list(left) if key[1] == TRIP)
    spent = {line: sum(left.pop((step, stage), 0.0) for stage in stages) for line, _, step, stages in BUDGET}
    spent["deduplicate"] = sum(left.pop(key) for key in list(left) if key[0] in DEDUPLICATE)
    spent["rest"] = sum(left.values())
    spent["to the sandbox and back"] = trip
    spent["in no stage"] = figures.pieces - sum(spent.values())
    return {line: 1000 * seconds / figures.pages for line, seconds in spent.items()}


def read_pages(path: Path) -> list[bytes]:
    """The HTTP responses of a WARC file as the pipeline reads them."""
    size = path.stat().st_size
    outcomes = read_split(
        [Span(str(path.parent), path.name, 0, size, size, "")],
        format="warc",
        fields={},
        max_record_bytes=64_000_000,
        max_ratio=1000,
        account=SpanAccount(),
    )
    return [outcome.payload for outcome in outcomes if isinstance(outcome, Record)]


def machine_speed() -> float:
    """Million rounds per second of a fixed loop."""
    begun, total = time.perf_counter(), 0
    for number in range(3_000_000):
        total ^= number
    return 3 / (time.perf_counter() - begun)


def run_pool(folder: Path, engine: str, *, workers: int, repeats: int) -> Figures:
    """A run over so many copies of the pool."""
    paths = [folder / f"{number}-{file.name}" for number in range(repeats) for file in FILES]
    for path, file in zip(paths, FILES * repeats, strict=True):
        if not path.exists():
            path.symlink_to(file)
    settings = {
        "sources.web.paths": json.dumps([str(path) for path in paths]),
        "annotate.engine": engine,
        "annotate.split_bytes": str(SPLIT_BYTES),
    }
    return run_sluice(ROOT, [f"{key}={value}" for key, value in settings.items()], workers=workers)


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


def print_run(name: str, figures: Figures, size: int) -> None:
    """The figures of one run over `size` bytes of HTML."""
    seconds, wall = figures.working, figures.wall
    print(f"{name}: {figures.pages:,} pages, {size / 1e6:.0f} MB of HTML")
    print(
        f"  {figures.pages / seconds:.0f} pages/s, {size / seconds / 1e6:.1f} MB of HTML/s in {seconds:.1f} s"
    )
    print(
        f"  with start-up {figures.pages / wall:.0f} pages/s; start-up {wall - seconds:.1f} s of {wall:.1f} s"
    )
    cpu = 1000 * figures.cpu / figures.pages
    print(f"  CPU time with start-up {cpu:.2f} ms per page: {1000 / cpu:.0f} pages per CPU second")
    print(f"  overhead (in no stage): {figures.overhead_share:.1%} of the time in pieces of work")
    for role, peak in figures.rss.items():
        print(
            f"  peak memory of the {role}: {peak / 1e9:.2f} GB, {figures.unshared[role] / 1e9:.2f} unshared"
        )
    print(f"  peak memory of a worker and its sandbox: {figures.worker_bytes / 1e9:.2f} GB")


def print_stages(figures: Figures) -> None:
    """The stages beside the budget."""
    spent = stage_milliseconds(figures)
    print("  milliseconds per page         measured  budget")
    for line, milliseconds in spent.items():
        allowed = f"{BUDGETS[line]:8.2f}" if line in BUDGETS else "       -"
        print(f"    {line:26s}  {milliseconds:8.3f}{allowed}")
    print(f"    {'together':26s}  {sum(spent.values()):8.3f}{sum(BUDGETS.values()):8.2f}")


def measure(folder: Path, engine: str, *, quick: bool) -> dict[str, object]:
    """All runs with one engine, printed as they end; returns what --json tells."""
    repeats = 2 if quick else REPEATS[engine]
    size = sum(len(page) for file in FILES for page in read_pages(file))
    runs: dict[tuple[int, int], Figures] = {}
    for workers, times in [(1, 1), (2, repeats)] if quick else [(1, 1), (1, repeats), (2, repeats)]:
        before = machine_speed()
        figures = runs[workers, times] = run_pool(folder, engine, workers=workers, repeats=times)
        print_run(f"\n{engine}, workers: {workers}, pool x {times}", figures, times * size)
        print(f"  fixed loop: {before:.0f} million rounds/s before, {machine_speed():.0f} after")
        if times == 1:
            print_stages(figures)
    once, one, two = runs[1, 1], runs.get((1, repeats), runs[1, 1]), runs[2, repeats]
    ratio = two.pages / two.working / (one.pages / one.working)
    whole = two.pages / two.wall / (one.pages / one.wall)
    growth = two.worker_bytes / once.worker_bytes
    print(f"\n{engine}: two workers are {ratio:.2f} times as fast as one ({whole:.2f} with start-up);")
    print(f"  memory of a worker on pool x {repeats} is {growth:.2f} times that on pool x 1")
    return {
        "engine": engine,
        "pages_per_s_1": round(one.pages / one.working, 1),
        "pages_per_s_2": round(two.pages / two.working, 1),
        "mb_html_per_s_1": round(size * one.pages / once.pages / one.working / 1e6, 2),
        "cpu_ms_per_page": round(1000 * one.cpu / one.pages, 3),
        "overhead_share": round(one.overhead_share, 4),
        "peak_gb_worker": round(max(run.worker_bytes for run in runs.values()) / 1e9, 3),
        "start_up_s": round(one.wall - one.working, 2),
        "stage_ms_per_page": {line: round(spent, 4) for line, spent in stage_milliseconds(once).items()},
    }


def compare(folder: Path, peer: str) -> None:
    """Stages here and in datatrove on the English half of the pool, one CPU, trafilatura in both.

    Each has the trafilatura version that it asks for; "rules" has the personal data here, not there.
    """
    ours = run_sluice(ROOT, [f'sources.web.paths=["{FILES[1]}"]', "annotate.engine=trafilatura"], workers=1)
    pages = Path(folder, "pages.jsonl")
    with pages.open("w") as lines:
        for payload in read_pages(FILES[1]):
            response = decode_http_response(payload, max_bytes=16_000_000, max_ratio=1000)
            page = (
                decode_page(response.body, header_charset=response.charset)
                if not isinstance(response, str)
                else None
            )
            if page:
                lines.write(json.dumps(page[0]) + "\n")
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cpus)})
    script = Path(__file__).with_name("peer_datatrove.py")
    said = subprocess.run(
        [peer, str(script), str(pages)], stdout=subprocess.PIPE, check=True, text=True
    ).stdout
    os.sched_setaffinity(0, cpus)
    theirs = json.loads(said.splitlines()[-1])
    print("\ntrafilatura, English half of the pool, one CPU, milliseconds per page: here, datatrove, ratio")
    for stage in ("extract", "rules", "sign"):
        milliseconds = 1000 * ours.stages["documents", stage] / ours.pages
        print(f"  {stage:8s} {milliseconds:8.3f} {theirs[stage]:8.3f} {theirs[stage] / milliseconds:6.1f}")


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="main_text only; pool x 1 and, with two workers, x 2"
    )
    parser.add_argument(
        "--json", action="store_true", help="one line of JSON at the end: the default engine, others inside"
    )
    parser.add_argument("--peer", metavar="PYTHON", help="a Python with datatrove, for a comparison by stage")
    options = parser.parse_args()
    if not all(file.is_file() for file in FILES):
        sys.exit(f"the pool is not there: {', '.join(map(str, FILES))}")
    print_machine()
    warm = [sys.executable, "-m", "pipeline.cli", "doctor", "--warm"]
    subprocess.run(warm, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    with tempfile.TemporaryDirectory(prefix="sluice-pool-") as folder:
        engines = ["main_text"] if options.quick else list(REPEATS)
        told = [measure(Path(folder), engine, quick=options.quick) for engine in engines]
        if options.peer:
            compare(Path(folder), options.peer)
    print("\nfor scale: datatrove 0.10 on other pages, of 140 kB, on one core, milliseconds per page:")
    print("  extraction (trafilatura) 28, rule filters 19, signature 10")
    if options.json:
        default, *others = told
        print(json.dumps(default | {"other_engines": others}))


if __name__ == "__main__":
    main()
