"""Speed of the text kernels on real text: `python tests/benchmarks/kernels.py TEXT.jsonl.gz ...`

Each file is cut into pages of about 5 kB at paragraph ends; a pass reads every page once, so no cache profits
from repetition. Prints milliseconds per page and MB/s (10^6 bytes of UTF-8) on one core, and the ratio to
datasketch's MinHash (the same shingles, NumPy permutations) on the first 200 pages. Start-up is shown apart.
"""

import gzip
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
from datasketch import MinHash

sys.path[0] = str(Path(__file__).resolve().parents[2])  # not this folder: pipeline.py is a benchmark here

from pipeline.annotate.digests import text_digests  # noqa: E402
from pipeline.kernels.fold import fold_text  # noqa: E402
from pipeline.kernels.minhash import minhash_signatures  # noqa: E402
from pipeline.kernels.shingles import Shingling  # noqa: E402
from pipeline.kernels.text import measure_text  # noqa: E402

PAGE_BYTES = 5_000
BATCH_PAGES = 1_000


def read_pages(path: Path) -> Iterator[str]:
    """Pages of at least PAGE_BYTES, cut at paragraph ends."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            page, size = [], 0
            for paragraph in json.loads(line)["text"].split("\n\n"):
                page.append(paragraph)
                size += len(paragraph.encode())
                if size >= PAGE_BYTES:
                    yield "\n\n".join(page)
                    page, size = [], 0
            if page:
                yield "\n\n".join(page)


def sign(text: pa.Array) -> object:
    """FineWeb's configuration: word 5-grams, 112 permutations."""
    return minhash_signatures(text, Shingling("words", 5, 500_000), permutations=112, seed=1)


def sign_by_datasketch(text: pa.Array) -> None:
    """The peer, on words split at white space (characters where there is hardly any)."""
    for page in text.to_pylist():
        words = page.split() if page.count(" ") > len(page) / 20 else list(page)
        shingles = {" ".join(words[at : at + 5]).encode() for at in range(max(1, len(words) - 4))}
        MinHash(num_perm=112).update_batch(shingles)


def seconds(work: Callable[[pa.Array], object], batches: list[pa.Array]) -> float:
    """CPU time of `work` over all batches, best of three passes: other work on the machine only adds."""
    passes = []
    for _ in range(3):
        start = time.process_time()
        for batch in batches:
            work(batch)
        passes.append(time.process_time() - start)
    return min(passes)


def main(paths: list[str]) -> None:
    """Measure every kernel on every file."""
    kernels = {
        "measure_text": measure_text,
        "fold_text": fold_text,
        "text_digests": text_digests,
        "minhash": sign,
    }
    for name, work in kernels.items():
        start = time.perf_counter()
        work(pa.array(["a"]))
        print(f"start-up of {name}: {time.perf_counter() - start:.2f} s")
    for path in paths:
        pages = list(read_pages(Path(path)))
        batches = [pa.array(pages[at : at + BATCH_PAGES]) for at in range(0, len(pages), BATCH_PAGES)]
        size = sum(len(page.encode()) for page in pages)
        print(f"{path}: {len(pages)} pages, {size / 1e6:.1f} MB, {size / len(pages):.0f} bytes a page")
        for name, work in kernels.items():
            taken = seconds(work, batches)
            print(f"  {name:14s} {taken * 5e6 / size:8.4f} ms per 5 kB  {size / taken / 1e6:7.0f} MB/s")
        few = pa.array(pages[:200])
        ratio = seconds(sign_by_datasketch, [few]) / seconds(sign, [few])
        print(f"  minhash is {ratio:.0f} times as fast as datasketch on 200 pages")


if __name__ == "__main__":
    main(sys.argv[1:])
