"""Classifiers, word lists, personal data: `scores_rest.py [DATA] [--json] [--quick]`

DATA (default: ../shared/data beside the project) has text/en.jsonl.gz, text/zh.jsonl.gz and safety.tar.gz.

Speed: CPU time of one thread for pages of 5 kB of distinct real text, half of them English, half Chinese;
best of three passes, kernels compiled and models mapped before. Classifiers are the packaged ones for quality
and toxicity, ours against fastText's own code called the ordinary way: one predict per text, newlines out.
--peer names a Python with datatrove, whose masking of personal data is timed on some of the same pages.

Quality: F1 on texts that no training has seen. `safety_f1` of classifiers is on the posts held out of the
labelled sets; of the packaged word lists (a post with any listed word is taken for offensive) on all posts.
`quality_f1` is that of bad text in sites that were kept out of training, from the cards: there is much more
good text, whose F1 is above 0.98.
"""

import argparse
import csv
import gzip
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # not this folder: pipeline.py is a benchmark here

from pipeline.annotate.classifier_file import Classifier, compile_classifier  # noqa: E402
from pipeline.annotate.classifier_training import (  # noqa: E402
    Training,
    held_out_texts,
    precision_recall,
)
from pipeline.annotate.personal_data import mask_personal_data  # noqa: E402
from pipeline.annotate.score_models import find_classifier  # noqa: E402
from pipeline.annotate.word_lists import count_flagged, read_word_lists, table_of  # noqa: E402
from pipeline.score_model import packaged_lists  # noqa: E402

DATA = (ROOT / "../shared/data").resolve()
LANGUAGES = ("en", "zh")
PAGE_BYTES = 5_000
PAGES, QUICK_PAGES = 6_000, 1_500  # per language: 60 MB, 15 MB
LIBRARY_PAGES = 400  # per language, for the library: it is slower


def read_pages(data: Path, language: str, count: int) -> pa.Array:
    """Different pieces of real text of about PAGE_BYTES bytes each."""
    pages: list[str] = []
    with gzip.open(data / "text" / f"{language}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            content = json.loads(line)["text"].encode()
            pages += [
                content[at : at + PAGE_BYTES].decode("utf-8", "ignore")
                for at in range(0, len(content) - PAGE_BYTES // 2, PAGE_BYTES)
            ]
            if len(pages) >= count:
                break
    return pa.array(pages[:count])


def milliseconds(work: Callable[[], object], pages: int) -> float:
    """CPU time of this thread per page, best of three passes."""
    passes = []
    for _ in range(3):
        start = time.thread_time()
        work()
        passes.append(time.thread_time() - start)
    return min(passes) / pages * 1e3


def library_milliseconds(path: Path, pages: list[str]) -> float:
    """fastText's predict on one text after the other."""
    import fasttext_pybind

    model = fasttext_pybind.fasttext()
    model.loadModel(str(path))
    return milliseconds(
        lambda: [model.predict(page.replace("\n", " ") + "\n", 1, 0.0, "strict") for page in pages],
        len(pages),
    )


def measure_speed(data: Path, count: int) -> dict[str, float]:
    """Means over both languages, in ms per page."""
    found: dict[str, list[float]] = {}
    lists = read_word_lists(packaged_lists())
    for language in LANGUAGES:
        pages, table = read_pages(data, language, count), table_of(lists[language])
        few = pages[:LIBRARY_PAGES].to_pylist()
        ours = theirs = 0.0
        for kind in ("quality", "toxicity"):
            path = find_classifier(f"{kind}-{language}")
            classifier = compile_classifier(path)
            classifier.probabilities(pages[:2])
            ours += milliseconds(lambda c=classifier, p=pages: c.probabilities(p), len(pages))
            theirs += library_milliseconds(path, few)
        count_flagged(pages[:2], table)
        mask_personal_data(pages[:2])
        times = {
            "classifiers": ours,
            "library": theirs,
            "lists": milliseconds(lambda p=pages, t=table: count_flagged(p, t), len(pages)),
            "personal_data": milliseconds(lambda p=pages: mask_personal_data(p), len(pages)),
        }
        for name, value in times.items():
            found.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


def measure_peer(data: Path, peer: str) -> dict[str, float]:
    """datatrove's masking of personal data beside ours, both in ms per page of the same pages."""
    pages = [page for code in LANGUAGES for page in read_pages(data, code, LIBRARY_PAGES).to_pylist()]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "texts.jsonl")
        file.write_text("".join(json.dumps(page) + "\n" for page in pages), "utf-8")
        command = [peer, str(Path(__file__).with_name("peer_personal_data.py")), str(file)]
        answer = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    theirs, batch = json.loads(answer.splitlines()[-1]), pa.array(pages)
    mask_personal_data(batch[:2])
    ours = milliseconds(lambda: mask_personal_data(batch), len(pages))
    changed = sum(len(edits) > 0 for edits in mask_personal_data(batch))
    return {
        "pii_datatrove_ms_per_page": round(theirs["ms"], 4),
        "pii_vs_datatrove": round(theirs["ms"] / ours, 1),
        "pii_pages_changed": changed,
        "pii_pages_changed_by_datatrove": theirs["changed"],
    }


def read_posts(data: Path) -> dict[str, dict[str, list[str]]]:
    """The labelled posts, by language and label (train_score_models.py)."""
    posts: dict[str, dict[str, list[str]]] = {code: {"positive": [], "negative": []} for code in LANGUAGES}
    with tarfile.open(data / "safety.tar.gz") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.name.endswith(".csv") else None
            if content and member.name.endswith("labeled_data.csv"):
                for row in csv.DictReader(io.TextIOWrapper(content, encoding="utf-8")):
                    posts["en"]["negative" if row["class"] == "2" else "positive"].append(row["tweet"])
            elif content and member.name.endswith("COLDataset/dev.csv"):
                for row in csv.DictReader(io.TextIOWrapper(content, encoding="utf-8-sig")):
                    posts["zh"]["positive" if row["label"] == "1" else "negative"].append(row["TEXT"])
    return posts


def measure_safety(data: Path) -> dict[str, float]:
    """F1 of offensive posts, by language, of classifiers (held-out posts) and of word lists (all)."""
    posts, lists, found = read_posts(data), read_word_lists(packaged_lists()), {}
    for language in LANGUAGES:
        classifier: Classifier = compile_classifier(find_classifier(f"toxicity-{language}"))
        texts, of = held_out_texts(posts[language], ["positive", "negative"], Training(held_out=0.2))
        said = classifier.probabilities(texts)[:, classifier.labels.index("positive")] >= 0.5
        found[f"classifier_{language}"] = precision_recall(said, of == 0)["f1"]
        pool = pa.array([*posts[language]["positive"], *posts[language]["negative"]])
        flagged = count_flagged(pool, table_of(lists[language]))[:, 0] > 0
        offensive = np.arange(len(pool)) < len(posts[language]["positive"])
        found[f"lists_{language}"] = precision_recall(flagged, offensive)["f1"]
    return found


def quality_cards() -> dict[str, float]:
    """F1 of bad text in other sites, by language."""
    cards = {code: find_classifier(f"quality-{code}").with_suffix(".json") for code in LANGUAGES}
    return {
        code: json.loads(card.read_text(encoding="utf-8"))["other_sites"]["labels"]["negative"]["f1"]
        for code, card in cards.items()
    }


def measure(data: Path = DATA, *, quick: bool = True) -> dict[str, object]:
    """All figures; `quick`: of a quarter of the pages, in half a minute."""
    speed = measure_speed(data, QUICK_PAGES if quick else PAGES)
    return {
        "classifiers_ms_per_page": round(speed["classifiers"], 4),
        "classifiers_vs_fasttext": round(speed["library"] / speed["classifiers"], 2),
        "pii_safety_ms_per_page": round(speed["lists"] + speed["personal_data"], 4),
        "lists_ms_per_page": round(speed["lists"], 4),
        "pii_ms_per_page": round(speed["personal_data"], 4),
        "safety_f1": measure_safety(data),
        "quality_f1": quality_cards(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="?", type=Path, default=DATA)
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    parser.add_argument("--quick", action="store_true", help="a quarter of the pages")
    parser.add_argument("--peer", help="a Python that has datatrove")
    options: Any = parser.parse_args()
    figures = measure(options.data, quick=options.quick)
    if options.peer:
        figures |= measure_peer(options.data, options.peer)
    if not options.json:
        for name, value in figures.items():
            print(f"{name:28} {value}")
    else:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
