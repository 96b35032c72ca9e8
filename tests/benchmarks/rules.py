"""Rules, decontamination, language: `python tests/benchmarks/rules.py [--quick] [--peer PYTHON] [--json]`

Speed of the counts that rules compare, on English and Chinese pages of about 5 kB cut from the shared texts:
MB/s (10^6 bytes of UTF-8) of CPU time on one core, best of three passes over distinct pages. "default" is
what every run counts (text and scripts); "all" adds the groups of all named sets (pipeline/rule_sets.py).

--peer names a Python with datatrove (by default this one, if it has it): its four filters on the same pages
of real web text (peer_rules.py), times and decisions side by side. A decision is ours where all rules of the
set of that name hold.

Disagreement: for sets that go by one name, which share of the pool's pages (main text by resiliparse) each
drops, and which share is judged differently.

Decontamination: 13-grams of 20 evaluation sets, of which the real ones are taken where they are, the others
cut from texts that are no pages here; milliseconds per page, and the memory of the index.

Language: mean accuracy by sentences (language.py). What data is missing is said and left out.
--quick: fewer pages, no disagreement; below 50 seconds.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from fastwarc.warc import ArchiveIterator, WarcRecordType

ROOT = Path(__file__).resolve().parents[2]
sys.path[:1] = [str(ROOT), str(Path(__file__).parent)]  # here, pipeline.py would be taken for the package

from kernels import read_pages, seconds  # noqa: E402
from language import (  # noqa: E402
    SHOWN,
    describe_processor,
    find_language_model,
    load_language_model,
    measure_accuracy,
    read_model_labels,
    read_sentences,
)

from pipeline.annotate.charset import decode_page  # noqa: E402
from pipeline.annotate.decontaminate import find_overlaps, index_sets  # noqa: E402
from pipeline.annotate.extract.engines import extract_with_resiliparse  # noqa: E402
from pipeline.annotate.language import PACKAGED_MODEL, PACKAGED_MODEL_SHA256  # noqa: E402
from pipeline.annotate.measure import measure_documents  # noqa: E402
from pipeline.annotate.normalize import normalize_text  # noqa: E402
from pipeline.annotate.perplexity import score_documents  # noqa: E402
from pipeline.annotate.splits import InputFile  # noqa: E402
from pipeline.config import Decontaminate, EvaluationSet, Thresholds  # noqa: E402
from pipeline.counts import MEASURE_GROUPS  # noqa: E402
from pipeline.decide.thresholds import failing_rules  # noqa: E402
from pipeline.rule_sets import SETS  # noqa: E402
from pipeline.rules import SCORED_GROUPS  # noqa: E402
from pipeline.schema import LANGUAGES  # noqa: E402

DATA = (ROOT / "../shared/data").resolve()
LANGUAGES_SHOWN = ("en", "zh")
SPEED_BYTES = {False: 40_000_000, True: 2_500_000}  # by --quick; there are 21 MB of English
PEER_PAGES = {False: 1_200, True: 150}
EVALUATION_SETS, QUESTIONS, QUESTION_CHARACTERS = 20, 1_500, {"en": 320, "zh": 60}
SAME_NAME = ("gopher_quality", "gopher_repetition", "c4", "fineweb")
PEER_GROUPS = ("c4", "spacy")
GROUPS = tuple(group for group in MEASURE_GROUPS if group not in SCORED_GROUPS)  # the others need models


def cut_pages(language: str, size: int) -> tuple[list[str], list[str]]:
    """Pages of about 5 kB, `size` bytes of them, and some of what comes after them."""
    pages = read_pages(DATA / "text" / f"{language}.jsonl.gz")
    taken: list[str] = []
    while size > 0 and (page := next(pages, None)) is not None:
        taken.append(page)
        size -= len(page.encode())
    rest = list(islice(pages, 400))
    return (taken, rest) if rest else (taken[:-200], taken[-200:])


def pool_texts(language: str) -> list[str]:
    """The main texts of the pool's pages that have one of 200 characters or more."""
    texts = []
    with (DATA / "warc" / f"pool-{language}.warc.gz").open("rb") as file:
        for record in ArchiveIterator(file, record_types=WarcRecordType.response, parse_http=True):
            decoded = decode_page(record.reader.read(), header_charset=record.http_charset or "")
            if decoded is not None:
                texts.append(normalize_text(extract_with_resiliparse(decoded[0], "")[0]))
    return [text for text in texts if len(text) >= 200]


def measure(text: pa.Array, language: str, groups: tuple[str, ...]) -> pa.RecordBatch:
    """MEASURES of texts of one language."""
    said = {"language": language, "language_score": 65_535}
    rows = len(text)
    urls = pa.repeat(pa.scalar("https://example.org/a/page-1.html?b=2"), rows)
    columns = [pa.repeat(pa.scalar(said.get(c.name, 0), c.type), rows) for c in LANGUAGES]
    batch = pa.RecordBatch.from_arrays(
        [text, urls, *columns], names=["text", "url", *(c.name for c in LANGUAGES)]
    )
    return measure_documents(
        batch,
        groups=groups,
        scorers={},
        mask_personal_data=False,
        overlaps=find_overlaps(text, None),
        scores=score_documents(text, batch["language"], {}),
    )


def passes(measures: pa.RecordBatch, name: str) -> np.ndarray:
    """bool per document: whether it fails no rule of a set."""
    thresholds = replace(Thresholds(), **SETS[name])
    return np.asarray(~failing_rules(measures, "web", {"web": {"default": thresholds}}).any(axis=1), bool)


def measure_speed(pages: list[str], language: str) -> dict[str, float]:
    """MB/s of what every run counts, of that with each group, and of all of it."""
    batches = [pa.array(pages[at : at + 1_000], pa.large_string()) for at in range(0, len(pages), 1_000)]
    size = sum(len(page.encode()) for page in pages)
    forms = {"default": (), "all": GROUPS, **{group: (group,) for group in GROUPS}}
    found = {}
    for name, groups in forms.items():
        measure(batches[0][:1], language, groups)  # compiles
        found[name] = (
            size / seconds(lambda text, groups=groups: measure(text, language, groups), batches) / 1e6
        )
    return found


def compare(pages: list[str], peer: str) -> dict[str, Any]:
    """Times and decisions of the peer's filters and of the sets of their names, on the same pages."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "texts.jsonl")
        file.write_text("".join(json.dumps(page) + "\n" for page in pages), "utf-8")
        command = [peer, str(Path(__file__).parent / "peer_rules.py"), str(file)]
        answer = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    found = json.loads(answer.splitlines()[-1])
    peers = found.pop("datatrove")
    text = pa.array(pages, pa.large_string())

    def judge(text: pa.Array) -> dict[str, np.ndarray]:
        measures = measure(text, "en", PEER_GROUPS)
        return {name: passes(measures, name) for name in found}

    decided = judge(text)
    ours = seconds(lambda text: judge(text), [text]) / len(pages) * 1e3
    theirs = sum(of_filter["ms"] for of_filter in found.values())
    print(f"datatrove {peers}: {theirs:.2f} ms a page, ours {ours:.3f} ms with decisions")
    same = {}
    for name, of_filter in found.items():
        mine, peers = decided[name], np.array(of_filter["kept"])
        same[name] = float((mine == peers).mean())
        only = f"only ours drops {(~mine & peers).sum()}, only theirs {(mine & ~peers).sum()}"
        told = f"both {(~mine & ~peers).sum()}, {only}"
        print(f"  {name:<28} {of_filter['ms']:6.2f} ms, {same[name]:6.1%} of verdicts the same ({told})")
    print(f"  {theirs / ours:.0f} times as fast on {len(pages)} pages of the pool")
    return {"ratio": theirs / ours, "same": same}


def print_disagreement(texts: list[str], language: str) -> None:
    """A table for every name that several peers use."""
    measures = measure(pa.array(texts, pa.large_string()), language, GROUPS)
    print(f"pool-{language}: {len(texts)} pages with 200 characters or more")
    for common in SAME_NAME:
        names = [name for name in SETS if name == common or name.startswith(f"{common}.")]
        kept = {name: passes(measures, name) for name in names}
        print(
            f"  {common}: " + ", ".join(f"{name} drops {(~stay).mean():.1%}" for name, stay in kept.items())
        )
        for one, other in combinations(names, 2):
            print(f"    {one} and {other} differ on {(kept[one] != kept[other]).mean():.1%}")


def measure_decontamination(pages: dict[str, list[str]], rests: dict[str, list[str]]) -> dict[str, Any]:
    """ms per page against EVALUATION_SETS sets, half of them English, and what their index takes."""
    with tempfile.TemporaryDirectory() as folder:
        sets, files = [], {}
        for number in range(EVALUATION_SETS):
            language = LANGUAGES_SHOWN[number % 2]
            questions = cut_questions(rests[language], QUESTION_CHARACTERS[language], number // 2)
            path = Path(folder, f"set-{number}.jsonl")
            path.write_text("".join(json.dumps({"q": q}) + "\n" for q in questions), "utf-8")
            sets.append(EvaluationSet(f"set-{number}", (str(path),), "jsonl", ("q",)))
            files[f"set-{number}"] = [InputFile(folder, path.name, path.stat().st_size, "")]
        index = index_sets(Decontaminate(sets=tuple(sets)), files)
    arrays = [*index.ngrams, *index[1:]]
    size = sum(array.nbytes for array in arrays)
    found: dict[str, Any] = {
        "ngrams": int(len(index.examples_from) - 1),
        "index_mb": size / 1e6,
        "ms_per_page": {},
    }
    for language, texts in pages.items():
        batches = [pa.array(texts[at : at + 1_000], pa.large_string()) for at in range(0, len(texts), 1_000)]
        find_overlaps(batches[0][:1], index)  # compiles
        spent = seconds(lambda text: find_overlaps(text, index), batches)
        found["ms_per_page"][language] = spent * 5e6 / sum(len(text.encode()) for text in texts)
    return found


def cut_questions(texts: list[str], characters: int, part: int) -> list[str]:
    """QUESTIONS pieces of texts, every tenth of all pieces, from piece `part` on."""
    pieces = [text[at : at + characters] for text in texts for at in range(0, len(text), characters)]
    return pieces[part::10][:QUESTIONS]


def measure_languages(quick: bool) -> dict[str, float]:
    """Mean accuracy, and that of English and Chinese, by sentences joined."""
    path = find_language_model(PACKAGED_MODEL)
    model = load_language_model(path, PACKAGED_MODEL_SHA256)
    sentences = read_sentences(DATA / "langid.tar.gz")
    if quick:
        sentences = {name: lines[:300] for name, lines in sentences.items()}
    shares = measure_accuracy(model, set(read_model_labels(path)), sentences)["shares"]
    figures = {}
    for joined, by_language in shares.items():
        figures[f"mean_{joined}"] = sum(by_language.values()) / len(by_language)
        figures |= {f"{code}_{joined}": by_language[code] for code in SHOWN[:8] if code in by_language}
    return figures


def main() -> None:
    """Measure and print; with --json, the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    own = sys.executable if importlib.util.find_spec("datatrove") else None
    parser.add_argument("--peer", default=own, help="a Python that has datatrove[processing] and spacy")
    options = parser.parse_args()
    begun = time.perf_counter()
    versions = f"Python {sys.version.split()[0]}, pyarrow {pa.__version__}"
    print(f"{describe_processor()}, {os.cpu_count()} cores, {versions}")
    if not DATA.exists():
        sys.exit(f"there is no {DATA}: this benchmark reads real text only")
    cut = {language: cut_pages(language, SPEED_BYTES[options.quick]) for language in LANGUAGES_SHOWN}
    pages, rests = ({language: both[part] for language, both in cut.items()} for part in (0, 1))
    speeds = {language: measure_speed(texts, language) for language, texts in pages.items()}
    for language, texts in pages.items():
        size = sum(len(text.encode()) for text in texts)
        print(f"{language}: {len(texts)} pages, {size / 1e6:.1f} MB; MB/s of counting on one core:")
        print("  " + ", ".join(f"{name} {speed:.0f}" for name, speed in speeds[language].items()))
    tests = measure_decontamination(pages, rests)
    size = f"{tests['ngrams']:,} 13-grams, index {tests['index_mb']:.1f} MB"
    print(f"decontamination: {EVALUATION_SETS} sets, {size}")
    print("  " + ", ".join(f"{code} {ms:.3f} ms a page of 5 kB" for code, ms in tests["ms_per_page"].items()))
    accuracy = measure_languages(options.quick)
    print(
        "language: " + ", ".join(f"{name} {share:.1%}" for name, share in accuracy.items() if "mean" in name)
    )
    peer = None
    if options.peer:
        peer = compare(pool_texts("en")[: PEER_PAGES[options.quick]], options.peer)
    else:
        print("datatrove is not installed here: name a Python that has it with --peer")
    if not options.quick:
        for language in LANGUAGES_SHOWN:
            print_disagreement(pool_texts(language), language)
    print(f"{time.perf_counter() - begun:.0f} s")
    if options.json:
        figures = {
            "rules_mb_per_s": {language: round(speed["default"], 1) for language, speed in speeds.items()},
            "all_variants_mb_per_s": {language: round(speed["all"], 1) for language, speed in speeds.items()},
            "vs_datatrove_rules": peer and round(peer["ratio"], 1),
            "decisions_same": peer and {name: round(share, 4) for name, share in peer["same"].items()},
            "decontamination_ms_per_page": {c: round(ms, 4) for c, ms in tests["ms_per_page"].items()},
            "decontamination_index_mb": round(tests["index_mb"], 1),
            "language_accuracy": {name: round(share, 4) for name, share in accuracy.items()},
        }
        print(json.dumps(figures))


if __name__ == "__main__":
    pa.set_cpu_count(1)
    main()
