"""The tokenizer against its peers: `python tests/benchmarks/tokenizer.py DATA [--json] [--quick]`

DATA is a folder with `text/LANGUAGE.jsonl.gz`; code is this machine's Python standard library.

Encoding: distinct documents of about 4 kB, 60 MB in all (12 with --quick), each encoded once by each, in
slices by turns, so that other work on the machine hits all alike. CPU time of one thread: for tiktoken,
riptoken and Hugging Face tokenizers with the making of their Python lists of ids, which are their result; for
ours with the check that the column is UTF-8. Every id of every document is compared. (Hugging Face
tokenizers, ten times as slow as the others, gets the first of six slices.)

Two threads: wall time of ours for all slices at once, the best of some by turns. What the machine has to give
stands beside it: the same halves in two processes that share nothing, and a loop over a few numbers in two
processes. On a busy machine all three say nothing.

Training and compression: see tokenizer_training.py, which runs alone too.
"""

import argparse
import gzip
import json
import os
import platform
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # not this folder: pipeline.py is a benchmark here

from tests.benchmarks.tokenizer_training import compression_figures, training_figures  # noqa: E402
from tokenizer_build.export import to_tokenizer_json  # noqa: E402
from tokenizer_build.tokenizer import Tokenizer  # noqa: E402
from tokenizer_build.vocabulary import find_vocabulary, load_ranks  # noqa: E402

DOCUMENT_BYTES = 4_000
SLICES = 6
REPEATS = 5  # of what is measured in wall time
PEERS = ("tiktoken", "riptoken", "tokenizers")
MULTILINGUAL = ("de", "fr", "es", "pt", "pl", "it", "ru", "ja", "th", "ko", "ar", "vi", "id", "tr", "he")
VOCABULARIES = ("qwen", "sluice-152k", "cl100k_base", "sluice-32k")  # the first that is here

Encode = Callable[[list[str]], list[list[int]]]


# --- texts --------------------------------------------------------------------------------


def cut(text: str) -> Iterator[str]:
    """A text in documents of whole lines, about DOCUMENT_BYTES each."""
    lines: list[str] = []
    size = 0
    for line in text.splitlines(keepends=True):
        length = len(line.encode())
        if lines and size + length > DOCUMENT_BYTES:
            yield "".join(lines)
            lines, size = [], 0
        lines.append(line)
        size += length
    if lines:
        yield "".join(lines)


def read_language(data: Path, language: str) -> Iterator[str]:
    with gzip.open(data / "text" / f"{language}.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            yield from cut(json.loads(line)["text"])


def read_code() -> Iterator[str]:
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        try:
            yield from cut(path.read_text("utf-8"))
        except UnicodeDecodeError:
            continue


def take(documents: Iterator[str], most_bytes: float) -> list[str]:
    """Distinct documents from the front, up to a size."""
    taken: dict[str, None] = {}
    size = 0
    for document in documents:
        if size >= most_bytes:
            break
        if document not in taken:
            taken[document] = None
            size += len(document.encode())
    return list(taken)


def read_kinds(data: Path, most_bytes: float) -> dict[str, list[str]]:
    """Documents by kind of text."""
    mixed = [take(read_language(data, name), most_bytes / len(MULTILINGUAL)) for name in MULTILINGUAL]
    return {
        "zh": take(read_language(data, "zh"), most_bytes),
        "en": take(read_language(data, "en"), most_bytes),
        "code": take(read_code(), most_bytes),
        "multi": [document for documents in mixed for document in documents],
    }


# --- encoding -----------------------------------------------------------------------------


def load_peers(name: str, tokenizer: Tokenizer) -> dict[str, Encode]:
    """Peers that are installed, with the same vocabulary and pattern."""
    _, ranks = load_ranks(find_vocabulary(name), sha256=None)
    peers: dict[str, Encode] = {}
    if installed("tiktoken"):
        import tiktoken

        openai = tiktoken.Encoding(name, pat_str=tokenizer.pattern, mergeable_ranks=ranks, special_tokens={})
        peers["tiktoken"] = lambda texts: [openai.encode_ordinary(text) for text in texts]
    if installed("riptoken"):
        from riptoken import CoreBPE  # pyright: ignore[reportMissingImports]

        core = CoreBPE(ranks, {}, tokenizer.pattern)
        peers["riptoken"] = lambda texts: [core.encode_ordinary(text) for text in texts]
    if installed("tokenizers"):
        from tokenizers import Tokenizer as HuggingFace

        theirs = HuggingFace.from_str(json.dumps(to_tokenizer_json(name, nfc=False)))
        theirs.encode_special_tokens = True
        peers["tokenizers"] = lambda texts: [theirs.encode(text).ids for text in texts]
    return peers


def installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def measure_kind(tokenizer: Tokenizer, peers: dict[str, Encode], documents: list[str]) -> dict[str, Any]:
    """CPU seconds and bytes by encoder, documents with other ids by peer, wall seconds of 1 and 2 threads."""
    slices = [documents[number::SLICES] for number in range(SLICES)]
    sizes = [sum(len(text.encode()) for text in texts) for texts in slices]
    encoded_bytes = dict.fromkeys(("ours", *peers), sum(sizes))
    seconds = dict.fromkeys(("ours", *peers), 0.0)
    different: dict[str, int] = dict.fromkeys(peers, 0)
    ids = 0
    for number, texts in enumerate(slices):
        column = pa.array(texts, pa.large_string())
        begun = time.thread_time()
        encoded = tokenizer.encode_batch(column)
        seconds["ours"] += time.thread_time() - begun
        ids += len(encoded.values)
        for peer, encode in peers.items():
            if peer == "tokenizers" and number:
                encoded_bytes[peer] = sizes[0]  # one slice: it is ten times as slow as the others
                continue
            begun = time.thread_time()
            lists = encode(texts)
            seconds[peer] += time.thread_time() - begun
            expected = pa.array((np.array(found, np.int32) for found in lists), pa.list_(pa.int32()))
            if not encoded.equals(expected):
                different[peer] += sum(
                    a != b for a, b in zip(encoded.to_pylist(), expected.to_pylist(), strict=True)
                )
    column = pa.array(documents, pa.large_string())
    middle = len(column) // 2
    halves = [lambda half=half: tokenizer.encode_batch(half) for half in (column[:middle], column[middle:])]
    walls: dict[str, list[float]] = {"one": [], "threads": [], "processes": []}
    for _ in range(REPEATS):
        begun = time.perf_counter()
        alone = tokenizer.encode_batch(column)
        walls["one"].append(time.perf_counter() - begun)
        begun = time.perf_counter()
        both = tokenizer.encode_batch(column, threads=2)
        walls["threads"].append(time.perf_counter() - begun)
        walls["processes"].append(in_processes(halves))
        if not both.equals(alone):
            raise SystemExit("two threads give other ids than one")
    wall = {name: min(seconds) for name, seconds in walls.items()}
    return {"bytes": encoded_bytes, "ids": ids, "seconds": seconds, "different": different, "wall": wall}


def in_processes(calls: list[Callable[[], Any]]) -> float:
    """Wall seconds of calls, each in a copy of this process; each is called once before."""
    started, go = os.pipe(), os.pipe()
    children = []
    for call in calls:
        if not (child := os.fork()):
            try:
                call()
                os.write(started[1], b".")
                os.read(go[0], 1)
                call()
            finally:
                os._exit(0)
        children.append(child)
    for _ in calls:
        os.read(started[0], 1)
    begun = time.perf_counter()
    os.write(go[1], b"." * len(calls))
    for child in children:
        os.waitpid(child, 0)
    seconds = time.perf_counter() - begun
    for end in (*started, *go):
        os.close(end)
    return seconds


def count_up() -> int:
    """A computation that needs no memory."""
    value = 1
    for _ in range(2_000_000):
        value = value * 1_103_515_245 % 2_147_483_647
    return value


def measure_encoding(data: Path, vocabulary: str, most_bytes: float) -> dict[str, Any]:
    """Print the table, return its figures."""
    begun = time.process_time()
    Tokenizer.load("sluice-32k").encode("compiles the kernels, or loads them")
    compiled = time.process_time() - begun
    begun = time.process_time()
    tokenizer = Tokenizer.load(vocabulary)
    loaded = time.process_time() - begun
    print(f"encoding with {vocabulary}: loaded in {loaded:.1f} s, machine code in {compiled:.1f} s")
    peers = load_peers(vocabulary, tokenizer)
    encode_figures: dict[str, Any] = {"encode_mb_per_s": {}, "two_threads": {}, "two_processes": {}}
    alone, both = (min(in_processes([count_up] * n) for _ in range(REPEATS)) for n in (1, 2))
    encode_figures["two_processes_of_arithmetic"] = round(2 * alone / both, 2)
    print(f"  a loop over a few numbers in two processes: {2 * alone / both:.2f} x one")
    for kind, documents in read_kinds(data, most_bytes).items():
        found = measure_kind(tokenizer, peers, documents)
        speed = {name: found["bytes"][name] / taken / 1e6 for name, taken in found["seconds"].items()}
        ratios = {name: speed["ours"] / speed[name] for name in peers}
        encode_figures["encode_mb_per_s"][kind] = round(speed["ours"], 1)
        wall = found["wall"]
        encode_figures["two_threads"][kind] = round(wall["one"] / wall["threads"], 2)
        encode_figures["two_processes"][kind] = round(wall["one"] / wall["processes"], 2)
        for name, ratio in ratios.items():
            encode_figures.setdefault(f"vs_{name}", {})[kind] = round(ratio, 2)
        print(
            f"  {kind:<5} {len(documents):>6} documents {found['bytes']['ours'] / 1e6:5.1f} MB"
            f"  ours {speed['ours']:6.1f} MB/s"
            + "".join(f"  {name} {speed[name]:5.1f} ({ratios[name]:.1f} x)" for name in peers)
            + f"  2 threads {wall['one'] / wall['threads']:.2f} x"
            + f" (2 processes {wall['one'] / wall['processes']:.2f} x)"
        )
        for name, count in found["different"].items():
            if count:
                raise SystemExit(f"{kind}: {count} documents have other ids than with {name}")
    print("  all ids equal on every document")
    return encode_figures


def main() -> None:
    """Measure and print; with --json, the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a fifth of the text")
    parser.add_argument("--vocabulary", help=f"default: the first of {', '.join(VOCABULARIES)} that is here")
    options = parser.parse_args()
    begun = time.perf_counter()
    print(
        f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}, {platform.python_version()}"
    )
    print("  " + ", ".join(f"{name} {version(name) if installed(name) else 'not here'}" for name in PEERS))
    figures = measure_encoding(
        options.data, options.vocabulary or first_vocabulary(), 3e6 if options.quick else 15e6
    )
    figures |= training_figures(options.data / "text", quick=options.quick)
    figures["bytes_per_token"] = compression_figures(options.data / "text", quick=options.quick)
    print(f"{time.perf_counter() - begun:.0f} s")
    if options.json:
        print(json.dumps(figures))


def first_vocabulary() -> str:
    for name in VOCABULARIES:
        try:
            find_vocabulary(name)
        except FileNotFoundError:
            continue
        return name
    raise SystemExit(f"none of the vocabularies {', '.join(VOCABULARIES)} is here")


if __name__ == "__main__":
    pa.set_cpu_count(1)
    main()
