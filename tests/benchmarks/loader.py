"""Random rows per second on one thread against a bare NumPy gather of the same rows, and the cost of a start.

    python tests/benchmarks/loader.py [--quick] [--json]

Writes shards of random ids to a temporary folder (2 GiB; 512 MiB with --quick; no CPU cache holds either),
reads them in the shuffled order of a run, and gathers the same rows by `memmap[rows]` from one flat file of
the same ids: the least that NumPy needs for it. The order and the opening of shards count as ours; the
checked figure also has the pass that looks for unknown ids, as training does. Thread CPU time, alternately,
the best of several, with the files in the page cache. The cold figure drops them first, and is of wall time
on this disk.
"""

import argparse
import gc
import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path[0] = str(Path(__file__).resolve().parents[2])  # not this folder: pipeline.py is a benchmark here

from pipeline.pack import shards  # noqa: E402
from tokenizer_build.vocabulary import Vocabulary  # noqa: E402
from train.data import Stream  # noqa: E402
from train.rows import TokenRows  # noqa: E402

ROW_TOKENS, BATCH_ROWS, DOCUMENT_TOKENS = 2048, 256, 1000  # half a million tokens a batch
VOCABULARY = Vocabulary("random", "random.tiktoken", "0" * 64, 151_851, 151_643)


def write_run(folder: Path, files: int, rows: int) -> None:
    """A MANIFEST.json and train shards of `rows` full rows each, ids random, documents of 1,000 tokens."""
    (folder / "tokens").mkdir()
    random = np.random.default_rng(0)
    entries = []
    for number in range(files):
        tokens = rows * ROW_TOKENS
        starts = np.unique(np.append(np.arange(0, tokens, DOCUMENT_TOKENS), tokens))
        stream = shards.Stream(
            random.integers(0, VOCABULARY.eot, tokens, dtype=np.int32),
            starts,
            np.arange(len(starts) - 1, dtype=np.uint64),
            np.zeros(len(starts) - 1, np.uint16),
        )
        path = folder / "tokens" / f"train-{number:05d}.arrow"
        told = shards.write_shard(
            path, stream, row_tokens=ROW_TOKENS, vocabulary=VOCABULARY, shard_number=number
        )
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        name = path.relative_to(folder).as_posix()
        size = path.stat().st_size
        entries.append(
            {"file": name, "sha256": sha256, "bytes": size, "rows": told.rows, "tokens": told.tokens}
        )
    vocabulary = {"file": None, "sha256": VOCABULARY.sha256, "n_vocab": 151_851, "eot": 151_643}
    manifest = {"format": 1, "vocabulary": vocabulary, "tokens": {"train": entries, "validation": []}}
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))


def drop_from_cache(paths: list[Path]) -> None:
    """Needs that nothing maps them."""
    gc.collect()
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_through(paths: list[Path]) -> None:
    """Into the page cache, in order."""
    for path in paths:
        with path.open("rb") as file:
            while file.read(1 << 20):
                pass


def measure_rates(folder: Path, batches: int, repeats: int) -> tuple[float, float, float, float]:
    """Best tokens/s of CPU time: our reader, with the check of ids, a bare gather from a map, from memory."""
    everything = read_all(folder)
    everything.tofile(folder / "flat.bin")
    # The kernel maps pages of a file that was just written in one go 16 times as many at a time as those of
    # a file that is read from a disk, which is what training does: so both are read.
    paths = [*sorted((folder / "tokens").iterdir()), folder / "flat.bin"]
    drop_from_cache(paths)
    read_through(paths)
    best = [float("inf")] * 4
    for repeat in range(repeats):  # other rows every time: nothing can profit from the round before
        drawn = [np.arange(BATCH_ROWS) + (repeat * batches + b) * BATCH_ROWS for b in range(batches)]
        # Both maps are new, so that both meet their pages for the first time, as in a run over more data.
        stream = Stream([TokenRows(folder, "train")], [1.0], seed=1)
        flat = np.memmap(folder / "flat.bin", np.int32, "r").reshape(-1, ROW_TOKENS)
        rows = [stream.locate(batch)[2] for batch in drawn]
        stream = Stream([TokenRows(folder, "train")], [1.0], seed=1)
        marks = [time.thread_time()]
        for batch in drawn:
            stream.read(batch)
        marks.append(time.thread_time())
        stream = Stream([TokenRows(folder, "train")], [1.0], seed=1)
        marks.append(time.thread_time())
        for batch in drawn:
            stream.check(batch, stream.read(batch).ids)
        marks.append(time.thread_time())
        for source in (flat, everything):
            for chosen in rows:
                source[chosen]
            marks.append(time.thread_time())
        taken = np.delete(np.diff(marks), 1)  # opening the manifest again
        best = [min(old, new) for old, new in zip(best, taken, strict=True)]
        assert np.array_equal(stream.read(drawn[0]).ids, everything[rows[0]])
    tokens = batches * BATCH_ROWS * ROW_TOKENS
    ours, checked, bare, in_memory = (tokens / seconds for seconds in best)
    return ours, checked, bare, in_memory


def read_all(folder: Path) -> np.ndarray:
    whole = TokenRows(folder, "train")
    return whole.read(np.arange(whole.rows))


def measure_first_batch(folder: Path, sample: int, repeats: int) -> float:
    """Best seconds from nothing to the first batch, opening all that is needed."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        Stream([TokenRows(folder, "train")], [1.0], seed=1).read(np.arange(BATCH_ROWS) + sample)
        best = min(best, time.perf_counter() - start)
    return best


def measure_cold(folder: Path, batches: int) -> float:
    """Tokens/s of wall time with the shards dropped from the page cache: random 8 KiB reads."""
    drop_from_cache(sorted((folder / "tokens").iterdir()))
    stream = Stream([TokenRows(folder, "train")], [1.0], seed=2)
    start = time.perf_counter()
    for batch in range(batches):
        stream.read(np.arange(BATCH_ROWS) + batch * BATCH_ROWS)
    return batches * BATCH_ROWS * ROW_TOKENS / (time.perf_counter() - start)


def private_bytes() -> int:
    """Memory of this process that is not mapped from files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def main() -> None:
    parser = argparse.ArgumentParser(description="The loader against a bare gather.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    # Shards of the size that the pipeline makes; with --quick half as long.
    files, rows, batches, repeats = (2, 32_768, 100, 9) if options.quick else (4, 65_536, 400, 9)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_run(folder, files, rows)
        before = private_bytes()
        stream = Stream([TokenRows(folder, "train")], [1.0], seed=3)
        for batch in range(batches):
            stream.read(np.arange(BATCH_ROWS) + batch * BATCH_ROWS)
        memory = private_bytes() - before
        first, late = measure_first_batch(folder, 0, 15), measure_first_batch(folder, 10**9, 15)
        del stream
        ours, checked, bare, memory_gather = measure_rates(folder, batches, repeats)
        cold = measure_cold(folder, 20)
    told = {
        "rows_tokens_per_s": round(ours),
        "checked_tokens_per_s": round(checked),
        "bare_gather_tokens_per_s": round(bare),
        "vs_bare_gather": round(ours / bare, 3),
        "in_memory_gather_tokens_per_s": round(memory_gather),
        "first_batch_ms": round(first * 1e3, 2),
        "first_batch_at_1e9_ms": round(late * 1e3, 2),
        "first_batch_ratio": round(late / first, 3),
        "cold_tokens_per_s": round(cold),
        "private_mib": round(memory / 2**20, 1),
        "shards_mib": files * rows * ROW_TOKENS * 4 // 2**20,
    }
    if not options.json:
        for key, value in told.items():
            print(f"{key:30s} {value:>15,}")
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    sys.exit(main())
