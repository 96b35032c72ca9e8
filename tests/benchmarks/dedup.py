"""Deduplication: `python tests/benchmarks/dedup.py [--quick] [--json] [--peer PYTHON] [--sizes GB ...]
[--plot FILE]`

Signatures: CPU time of one process on the same generated texts (generated_text.py), with shingling: ours,
ours in datasketch's form, datasketch (update_batch over Python shingles), rensa (RMinHash over the same
shingles), and datatrove's MinhashDedupSignature in a Python of its own (--peer).

The phase: user and system time of all processes of a real run from documents/ on disk to clusters/ on disk,
signatures, verification and the run's own recall included, by size and language. documents/ is written by the
benchmark, untimed. CPU hours per TB are the slope between the two largest sizes; the start-up (of Python,
Beam and the graph: what remains at no text) stands beside it, and both together for every run.

Components: 100 million edges over as many documents (random; with a star and with a chain of a million).

Costs 25 minutes with the default sizes on an idle machine, --quick 50 seconds.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

ROOT = Path(__file__).resolve().parents[2]
sys.path[:1] = [str(ROOT), str(Path(__file__).parent)]  # here, this file would be taken for the package

from dedup_corpus import write_documents  # noqa: E402
from generated_text import generate  # noqa: E402

from pipeline.kernels.components import forest_edges, join_edges, new_forest, part_starts  # noqa: E402
from pipeline.kernels.datasketch import datasketch_signatures  # noqa: E402
from pipeline.kernels.minhash import minhash_signatures  # noqa: E402
from pipeline.kernels.shingles import Shingling  # noqa: E402

LANGUAGES = ("en", "zh")
PERMUTATIONS = 112
SHINGLING = Shingling("words", 5, 500_000)
WORD = re.compile(r"\w+(?:'\w+)*")
# The run that is timed: the steps of Annotate (which only signs, all else is there) and Deduplicate.
CHILD = """
import sys
from pipeline.graph import phases_of
from pipeline.report.run_folder import open_planned
from pipeline.runners import run_job
job = open_planned(sys.argv[1])
run_job(job, phases_of(job.recipe)[:2], "direct", int(sys.argv[2]))
"""


def seconds(call: Any, repeats: int) -> float:
    """The least CPU time of so many calls."""
    found = []
    for _ in range(repeats):
        begun = time.process_time()
        call()
        found.append(time.process_time() - begun)
    return min(found)


def python_shingles(text: str, language: str) -> list[bytes]:
    """What a user of datasketch or rensa writes."""
    words = [c for c in text if c.isalnum()] if language == "zh" else WORD.findall(text.lower())
    return [" ".join(words[at : at + 5]).encode() for at in range(len(words) - 4)]


def measure_signatures(language: str, documents: int, peer: str | None) -> dict[str, float | None]:
    """MB of text per second and core, by library; None where one is not installed."""
    texts = generate(language, 0, documents)
    few = texts.slice(0, max(20, documents // 40))
    size, few_size = texts.nbytes / 1e6, sum(len(t.encode()) for t in few.to_pylist()) / 1e6
    minhash_signatures(few, SHINGLING, permutations=PERMUTATIONS, seed=1)
    datasketch_signatures(few, SHINGLING, permutations=PERMUTATIONS, seed=1)
    rates: dict[str, float | None] = {
        "sluice": size
        / seconds(lambda: minhash_signatures(texts, SHINGLING, permutations=PERMUTATIONS, seed=1), 5),
        "sluice, datasketch's": size
        / seconds(lambda: datasketch_signatures(texts, SHINGLING, permutations=PERMUTATIONS, seed=1), 2),
        "datasketch": None,
        "rensa": None,
        "datatrove": None,
    }
    try:
        from datasketch import MinHash

        def sketch() -> None:
            for text in few.to_pylist():
                MinHash(num_perm=PERMUTATIONS, seed=1).update_batch(python_shingles(text, language))

        rates["datasketch"] = few_size / seconds(sketch, 2)
    except ImportError:
        pass
    try:
        from rensa import RMinHash  # pyright: ignore

        def sign() -> None:
            for text in few.to_pylist():
                signature = RMinHash(num_perm=PERMUTATIONS, seed=1)
                signature.update([shingle.decode() for shingle in python_shingles(text, language)])
                signature.digest()

        rates["rensa"] = few_size / seconds(sign, 2)
    except ImportError:
        pass
    if peer:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "texts.json")
            path.write_text(json.dumps(few.to_pylist(), ensure_ascii=False), encoding="utf-8")
            script = str(Path(__file__).with_name("peer_minhash.py"))
            said = subprocess.run([peer, script, str(path), language], capture_output=True, text=True)
            spent = json.loads(said.stdout.splitlines()[-1]) if said.returncode == 0 else None
            rates["datatrove"] = few_size / spent if spent else None
    return rates


def measure_phase(language: str, size: int, workers: int) -> tuple[float, float, float]:
    """(bytes of text, CPU seconds of all processes, peak GB of all together) of one timed run."""
    with tempfile.TemporaryDirectory(prefix="sluice-dedup-") as folder:
        written = write_documents(Path(folder), language, size)
        command = [sys.executable, "-c", CHILD, f"{folder}/out", str(workers)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with Path(folder, "log.txt").open("wb") as log:
            run = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        peak = 0
        while True:
            pid, status, usage = os.wait4(run.pid, os.WNOHANG)
            if pid:
                break
            peak = max(peak, memory_of(run.pid))
            time.sleep(0.2)
        run.returncode = os.waitstatus_to_exitcode(status)
        if run.returncode:
            raise RuntimeError(Path(folder, "log.txt").read_text(errors="replace")[-3000:])
        clusters = sum(
            json.loads(row.read_text())["notes"]["clusters"]
            for row in Path(folder, "out/clusters").glob("part-*.json")
        )
        if not clusters:
            raise RuntimeError("the generated text has duplicates, but none were found")
        return written, usage.ru_utime + usage.ru_stime, peak / 1e9


def slope(points: list[tuple[float, float]]) -> tuple[float, float]:
    """(CPU hours per TB, CPU seconds at no text) of the line through the two largest of (bytes, seconds)."""
    (less, early), (more, late) = [(0.0, 0.0), *points][-2:]
    per_byte = (late - early) / (more - less)
    return per_byte * 1e12 / 3600, late - per_byte * more


def memory_of(pid: int) -> int:
    """RSS of a process and its children."""
    total = 0
    try:
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            total += process.memory_info().rss
    except psutil.Error:
        pass
    return total


def measure_components(edges: int) -> dict[str, float]:
    """Edges per second by kind of graph, read-out included; and the peak of this process in GB."""
    rng = np.random.default_rng(0)
    per_part = edges // 1_000
    starts = part_starts(np.full(1_000, per_part, np.int64))
    special = min(1_000_000, edges // 4)

    def locators(nodes: np.ndarray) -> np.ndarray:
        return (nodes // per_part).astype(np.uint64) << np.uint64(32) | (nodes % per_part).astype(np.uint64)

    rates = {}
    for kind in ("random", "star", "chain"):
        forest, spent, made = new_forest(starts), 0.0, 0
        while made < edges:
            ends = rng.integers(0, edges, (min(4_000_000, edges - made), 2))
            if made == 0 and kind == "star":
                ends[:special] = np.stack([np.full(special, 5), rng.permutation(special)], axis=1)
            if made == 0 and kind == "chain":
                links = rng.permutation(edges)[: special + 1]
                ends[:special] = np.stack([links[:-1], links[1:]], axis=1)
            block = np.stack([locators(ends[:, 0]), locators(ends[:, 1])], axis=1)
            begun = time.perf_counter()
            join_edges(forest, starts, block)
            spent += time.perf_counter() - begun
            made += len(ends)
        begun = time.perf_counter()
        for _ in forest_edges(forest, starts):
            pass
        rates[kind] = edges / (spent + time.perf_counter() - begun)
    return rates


def ratio(rates: dict[str, float | None], peer: str, own: str = "sluice") -> float | None:
    """Ours over theirs."""
    ours, theirs = rates[own], rates[peer]
    return round(ours / theirs, 1) if ours and theirs else None


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="small sizes, under 50 seconds")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--peer", help="a Python that has datatrove")
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.25, 1.0, 4.0], help="GB of text")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--plot", help="write CPU seconds over size as an SVG")
    options = parser.parse_args()
    sizes = [0.02, 0.12] if options.quick else sorted(options.sizes)
    begun = time.perf_counter()
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {psutil.cpu_count()} CPUs, Python {platform.python_version()}")
    for name in ("numpy", "numba", "pyarrow", "apache-beam", "datasketch", "rensa"):
        try:
            print(f"  {name} {version(name)}")
        except PackageNotFoundError:
            print(f"  {name} is not installed")
    subprocess.run(  # compiles the kernels, if they are not yet
        [sys.executable, "-m", "pipeline.cli", "doctor", "--warm"], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    rates = {}
    for language in LANGUAGES:
        rates[language] = measure_signatures(language, 1_000 if options.quick else 8_000, options.peer)
        for name, rate in rates[language].items():
            print(
                f"signatures {language} {name:<22} {'not installed' if rate is None else f'{rate:8.1f} MB/s'}"
            )
    phase: dict[str, list[tuple[float, float]]] = {language: [] for language in LANGUAGES}
    hours: dict[str, float] = {}
    start_up: dict[str, float] = {}
    peak = 0.0
    for language in LANGUAGES:
        for size in sizes:
            written, cpu, used = measure_phase(language, int(size * 1e9), options.workers)
            phase[language].append((written, cpu))
            peak = max(peak, used)
            whole = cpu / 3600 / (written / 1e12)
            text = f"{cpu:8.1f} CPU s {whole:6.2f} CPU-h/TB with start-up, {used:.2f} GB of memory"
            print(f"phase {language} {written / 1e9:6.2f} GB {text}")
        hours[language], start_up[language] = slope(phase[language])
        print(f"phase {language} {hours[language]:.2f} CPU-h/TB + {start_up[language]:.1f} s of start-up")
    found = measure_components(4_000_000 if options.quick else 100_000_000)
    for kind, rate in found.items():
        print(f"components {kind:<8} {rate / 1e6:8.2f} million edges/s")
    print(f"{time.perf_counter() - begun:.0f} s")
    if options.plot:
        from dedup_plot import write_plot

        write_plot(Path(options.plot), phase)
    if options.json:
        figures = {
            "signatures_mb_per_s": {name: round(rates[name]["sluice"] or 0, 1) for name in LANGUAGES},
            "vs_datasketch": {name: ratio(rates[name], "datasketch") for name in LANGUAGES},
            "datasketch_mode_vs_datasketch": {
                name: ratio(rates[name], "datasketch", "sluice, datasketch's") for name in LANGUAGES
            },
            "vs_rensa": {name: ratio(rates[name], "rensa") for name in LANGUAGES},
            "vs_datatrove": {name: ratio(rates[name], "datatrove") for name in LANGUAGES},
            "cpu_hours_per_tb": {name: round(value, 2) for name, value in hours.items()},
            "start_up_cpu_s": {name: round(value, 1) for name, value in start_up.items()},
            "gb_of_text": {name: round(points[-1][0] / 1e9, 2) for name, points in phase.items()},
            "components_edges_per_s": round(min(found.values())),
            "peak_gb": round(peak, 2),
        }
        print(json.dumps(figures))


if __name__ == "__main__":
    pa.set_cpu_count(1)
    main()
