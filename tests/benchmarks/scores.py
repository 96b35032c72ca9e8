"""Learned scores: `python tests/benchmarks/scores.py DATA [--json] [--quick]`

DATA is a folder with `text/en.jsonl.gz` and `text/zh.jsonl.gz` (records with a field `text`), cut into pages
of 5 kB. `--quick` takes 500 pages of each language instead of 5,000; about 25 seconds of CPU time.

Language models: CPU time of one thread for the whole stage with the packaged models (score_documents: words,
look-ups, sums), best of three passes over the same pages. Against KenLM both read one model, which is made
here from part of the same text (trigrams with absolute discounting, all that occur twice), so that neither
lmplz nor a file is needed. KenLM is called the ordinary way: cc_net's normalisation in Python, a line's words
joined by spaces, Model.score for each line; and once more for lines that are ready, which is KenLM's C++
behind its Python call alone. Perplexities of both are compared page by page.

Classifiers, safety lists and personal data are measured by scores_rest.py beside this file, whose figures are
merged into the one JSON line at the end.
"""

import argparse
import gzip
import importlib
import importlib.util
import json
import math
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # not this folder: pipeline.py is a benchmark here

from pipeline.annotate.arpa import compile_arpa, open_model  # noqa: E402
from pipeline.annotate.perplexity import ModelFile, find_model, plain_text, score_documents  # noqa: E402
from pipeline.kernels.lm import score_lines  # noqa: E402
from pipeline.kernels.lm_text import tokenize_text  # noqa: E402
from pipeline.parts import file_sha256  # noqa: E402
from pipeline.schema import LM_STEPS  # noqa: E402

LANGUAGES = ("en", "zh")
PAGE_BYTES = 5_000
MODEL_BYTES = 4_000_000  # of text, for the model that both read
PASSES = 3
DISCOUNT = 0.5


def read_pages(path: Path, pages: int) -> list[str]:
    """Pages of about 5 kB, cut at lines; from every so-manieth place of the file, so that they vary."""
    found: list[str] = []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            page, size = [], 0
            for text in json.loads(line)["text"].split("\n"):
                page.append(text)
                size += len(text.encode()) + 1
                if size >= PAGE_BYTES:
                    found.append("\n".join(page))
                    page, size = [], 0
    step = max(1, len(found) // pages)
    return found[::step][:pages]


def write_arpa(lines: list[list[str]], path: Path) -> None:
    """Trigrams with absolute discounting, those that occur twice; every part of an n-gram is there."""
    counts: list[Counter[tuple[str, ...]]] = [Counter(), Counter(), Counter()]
    for words in lines:
        padded = ["<s>", *words, "</s>"]
        for order, of_order in enumerate(counts, start=1):
            of_order.update(zip(*(padded[at:] for at in range(order)), strict=False))
    kept: list[dict[tuple[str, ...], int]] = [dict(counts[0])]
    for of_order in counts[1:]:
        kept.append({gram: count for gram, count in of_order.items() if count > 1})
    total = sum(counts[0].values())
    words_of: dict[tuple[str, ...], float] = {
        (word,): max(count - DISCOUNT, DISCOUNT) / total for (word,), count in kept[0].items()
    }
    out = ["\\data\\", f"ngram 1={len(kept[0]) + 1}", *(f"ngram {n}={len(kept[n - 1])}" for n in (2, 3))]
    for order, grams in enumerate(kept, start=1):
        followers: Counter[tuple[str, ...]] = (
            Counter(gram[:-1] for gram in kept[order]) if order < 3 else Counter()
        )
        out += ["", f"\\{order}-grams:", *([f"{math.log10(1 / total):.7f}\t<unk>\t0"] if order == 1 else [])]
        for gram in sorted(grams):
            shared = words_of[gram] if order == 1 else (grams[gram] - DISCOUNT) / kept[order - 2][gram[:-1]]
            line = f"{math.log10(shared):.7f}\t{' '.join(gram)}"
            if order < 3:
                left = max(followers[gram], 1) * DISCOUNT / grams[gram]
                line += f"\t{math.log10(min(left, 1)):.7f}"
            out.append(line)
    path.write_text("\n".join([*out, "", "\\end\\", ""]), encoding="utf-8")


def cpu_ms(call: Callable[[], Any], pages: int) -> float:
    """CPU milliseconds of this thread by page, best of PASSES."""
    best = math.inf
    for _ in range(PASSES):
        start = time.thread_time()
        call()
        best = min(best, time.thread_time() - start)
    return best / pages * 1e3


def lines_of(pages: list[str]) -> list[list[str]]:
    """The lines of each page, tokenized."""
    tokens = tokenize_text(pa.array(pages, pa.large_string()))
    raw, offsets = tokens.bytes.tobytes(), tokens.offsets.tolist()
    return [raw[offsets[at] : offsets[at + 1]].decode().split("\n")[:-1] for at in range(len(pages))]


def measure_language(language: str, pages: list[str], folder: Path) -> dict[str, Any]:
    """Milliseconds a page of both, and how far apart they are."""
    text = pa.array(pages, pa.large_string())
    path = find_model(f"sluice-{language}")
    models, codes = {language: ModelFile(path, file_sha256(path))}, pa.array([language] * len(pages))
    score_documents(text.slice(0, 10), codes.slice(0, 10), models)  # loads and maps
    found: dict[str, Any] = {
        "pages": len(pages),
        "bytes_per_page": round(sum(len(page.encode()) for page in pages) / len(pages)),
        "words_ms": cpu_ms(lambda: tokenize_text(text), len(pages)),
        "packaged_ms": cpu_ms(lambda: score_documents(text, codes, models), len(pages)),
        "packaged_mb": path.stat().st_size / 1e6,
    }
    if importlib.util.find_spec("kenlm") is None:
        return found
    kenlm: Any = importlib.import_module("kenlm")
    ready = lines_of(pages)
    size, sample = 0, []
    for lines in ready[::-1]:
        sample += [line.split(" ") for line in lines]
        size += sum(len(line.encode()) for line in lines)
        if size > MODEL_BYTES:
            break
    arpa, table = folder / f"{language}.arpa", folder / f"{language}.lm"
    write_arpa(sample, arpa)
    compile_arpa(arpa, table, language=language)
    ours, config = open_model(table, file_sha256(table)), kenlm.Config()
    config.show_progress = False
    theirs, rows = kenlm.Model(str(arpa), config), np.arange(len(pages))

    def ordinary() -> None:
        for page, lines in zip(pages, ready, strict=True):
            for line in page.split("\n"):
                plain_text(line)
            for line in lines:
                theirs.score(line)

    costs = score_lines(tokenize_text(text), rows, ours)
    exact = np.array([-math.fsum(map(theirs.score, lines)) for lines in ready])
    words = np.array([sum(line.count(" ") + 2 for line in lines) for lines in ready])
    assert np.array_equal(words, costs[:, 1])
    apart = np.abs(costs[:, 0] / LM_STEPS - exact) / words
    assert apart.max() <= 3 * 0.5 / LM_STEPS, "further apart than rounding explains"
    return found | {
        "ours_ms": cpu_ms(lambda: score_lines(tokenize_text(text), rows, ours), len(pages)),
        "kenlm_ms": cpu_ms(ordinary, len(pages)),
        "kenlm_score_ms": cpu_ms(lambda: [theirs.score(line) for of in ready for line in of], len(pages)),
        "largest_perplexity_difference": float(10 ** apart.max() - 1),
        "table_mb": table.stat().st_size / 1e6,
    }


def measure(data: Path, pages: int) -> dict[str, Any]:
    """Figures of both languages, and the means that the JSON line has."""
    with tempfile.TemporaryDirectory() as folder:
        by_language = {
            language: measure_language(
                language, read_pages(data / "text" / f"{language}.jsonl.gz", pages), Path(folder)
            )
            for language in LANGUAGES
        }
    scale = {language: PAGE_BYTES / found["bytes_per_page"] for language, found in by_language.items()}
    mean = sum(found["packaged_ms"] * scale[language] for language, found in by_language.items()) / len(
        LANGUAGES
    )
    figures: dict[str, Any] = {"lm_ms_per_page": round(mean, 4), "lm": by_language}
    figures["lm_mb"] = round(sum(found["packaged_mb"] for found in by_language.values()), 1)
    for name, theirs in (("lm_vs_kenlm", "kenlm_ms"), ("lm_vs_kenlm_score_alone", "kenlm_score_ms")):
        ratios = [found[theirs] / found["ours_ms"] for found in by_language.values() if theirs in found]
        figures[name] = round(math.exp(sum(map(math.log, ratios)) / len(ratios)), 2) if ratios else None
    return figures


def main() -> None:
    """Prints what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?", default=ROOT.parent / "shared" / "data")
    parser.add_argument("--json", action="store_true", help="the last line is JSON")
    parser.add_argument("--quick", action="store_true", help="fewer pages: under 50 seconds")
    parser.add_argument(
        "--peer", help="a Python that has datatrove: its masking of personal data is timed, too"
    )
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    figures = measure(options.data, 500 if options.quick else 5_000)
    for language, found in figures["lm"].items():
        told = (f"{name} {value:,.4g}" for name, value in found.items())
        print(f"{language}: {', '.join(told)}")
    rest = Path(__file__).with_name("scores_rest.py")
    if rest.is_file():
        spec = importlib.util.spec_from_file_location("scores_rest", rest)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        figures |= module.measure(options.data, quick=options.quick)
        if options.peer:
            figures |= module.measure_peer(options.data, options.peer)
    if options.json:
        print(json.dumps(figures))
    else:
        print("\n".join(f"{name}: {value}" for name, value in figures.items() if name != "lm"))


if __name__ == "__main__":
    main()
