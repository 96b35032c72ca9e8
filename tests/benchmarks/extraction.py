"""Main-text extraction: `python tests/benchmarks/extraction.py DATA [--quick] [--json]`

DATA is a folder with `extraction.tar.gz` (and its neighbours: training/pages.py says what is read). Three
sets have a truth there: "articles" (Mozilla's Readability test pages against the text their authors expect),
"docs-zh" and "docs-en" (documentation against the Markdown it was made from, code and links' targets taken
out; where that holds text the page does not show, no tool reaches 1). "mixed" are pages of shops, news,
forums and companies in 15 European languages, drawn at random and judged by reading
(training/hand_labels.py): up to SNIPPETS pieces of main text that must be in the output, and as many of its
surroundings that must not be. The Markdown of docs-en leaves out the code listings that its book includes
from files, and an engine that keeps them, as ours does, loses precision there. "prose-en" are the same pages
with <pre> and <figure> taken out of the page that every engine gets, and code out of the Markdown.

F1 of 4-word shingles (a Chinese character is a word; of snippets in "mixed"), mean over pages, as Zyte's
article-extraction-benchmark counts it; milliseconds of one thread's CPU time per page, from decoded text to
main text; for the fast engines the best of three passes, for trafilatura one. All engines get the same pages
in one run.

Our packaged models learned from these very pages. So a page that they have seen is judged by the models of
`extraction_folds.npz`, which saw no page of its site; the packaged ones judge only pages that are new to
them. "main_text+fallback" is ours with trafilatura for pages of doubt. --quick takes every fourth page: 40
seconds.
"""

import argparse
import hashlib
import json
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # not this folder: pipeline.py is a benchmark here

from pipeline.annotate.extract.blocks import find_blocks  # noqa: E402
from pipeline.annotate.extract.engines import extract_with_resiliparse, extract_with_trafilatura  # noqa: E402
from pipeline.annotate.extract.main_text import extract_page, load_models, models_from  # noqa: E402
from pipeline.annotate.extract.training.hand_labels import label_by_hand, read_hand_labels  # noqa: E402
from pipeline.annotate.extract.training.labels import squeeze, strip_markdown  # noqa: E402
from pipeline.annotate.extract.training.pages import LabelledPage, read_pages  # noqa: E402
from pipeline.annotate.extract.training.train import FOLDS, page_digest  # noqa: E402
from pipeline.kernels.trees import load_arrays  # noqa: E402

FOLD_MODELS = Path(__file__).with_name("extraction_folds.npz")
SHINGLE = 4
FALLBACK_DOUBT = 0.2
SNIPPETS = 6  # of each sort from one page
SNIPPET_CHARACTERS = (20, 60)  # from, to; white space not counted
_TOKEN = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+"
)
_TAGS = re.compile(r"<(?:script|style)\b.*?</(?:script|style)>|<[^>]+>", re.DOTALL | re.IGNORECASE)

_LISTINGS = re.compile(r"<(pre|figure)\b.*?</\1>", re.DOTALL | re.IGNORECASE)
_CODE = re.compile(r"^```.*?^```|^<Listing[^>]*>|^</Listing>", re.DOTALL | re.MULTILINE)


class Snippets(NamedTuple):
    """What the text of a page must hold and must not hold, without white space."""

    kept: list[str]
    dropped: list[str]


class Judged(NamedTuple):
    """One page with its truth."""

    kind: str
    page: LabelledPage  # as it is
    html: str  # what the engines get of it
    expected: str | Snippets


def read_judged(data: Path) -> list[Judged]:
    """All pages with a truth, set by set."""
    judged = []
    by_hand = {name: labels for name, labels in read_hand_labels().items() if labels.drawn == "random"}
    for page in read_pages(data, archives=("extraction.tar.gz", "extraction-pages.tar.gz")):
        if page.kind == "readability" and page.truth:
            judged.append(Judged("articles", page, page.html, _strip_tags(page.truth)))
        elif page.kind == "markdown" and page.truth:
            language = "zh" if "/zh/" in page.name else "en"
            judged.append(Judged(f"docs-{language}", page, page.html, strip_markdown(page.truth)))
            if language == "en":
                prose = strip_markdown(_CODE.sub("", page.truth))
                judged.append(Judged("prose-en", page, _LISTINGS.sub("", page.html), prose))
        elif page.name in by_hand:
            texts = find_blocks(page.html.encode("utf-8", "replace")).page.block_texts()
            labels = label_by_hand(texts, by_hand[page.name])
            judged.append(Judged("mixed", page, page.html, choose_snippets(texts, labels)))
    return sorted(judged, key=lambda one: one.kind)


def choose_snippets(texts: list[str], labels: np.ndarray) -> Snippets:
    """Beginnings of blocks, drawn by their digests; nothing that is main text too must be missing."""
    least, most = SNIPPET_CHARACTERS
    squeezed = [squeeze(text) for text in texts]
    whole = "\n".join(text for text, label in zip(squeezed, labels, strict=True) if label != 0)

    def draw(wanted: float) -> list[str]:
        pieces = {
            text[:most] for text, label in zip(squeezed, labels, strict=True)
            if label == wanted and len(text) >= least and (wanted or text[:most] not in whole)
        }  # fmt: skip
        return sorted(pieces, key=lambda piece: hashlib.sha256(piece.encode()).digest())[:SNIPPETS]

    return Snippets(draw(1), draw(0))


def _strip_tags(truth: str) -> str:
    import html

    return html.unescape(_TAGS.sub(" ", truth))


def shingles(text: str) -> Counter[tuple[str, ...]]:
    """How often each run of SHINGLE tokens occurs; a shorter text is one run."""
    tokens = _TOKEN.findall(text.lower())
    return Counter(
        tuple(tokens[at : at + SHINGLE]) for at in range(max(len(tokens) - SHINGLE + 1, min(len(tokens), 1)))
    )


def f1(found: str, expected: str) -> tuple[float, float, float]:
    """(precision, recall, F1) of shingles; an empty answer to an empty page is right."""
    ours, truth = shingles(found), shingles(expected)
    if not ours and not truth:
        return 1.0, 1.0, 1.0
    right = sum((ours & truth).values())
    precision, recall = right / max(sum(ours.values()), 1), right / max(sum(truth.values()), 1)
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-9)


def score(found: str, expected: str | Snippets) -> tuple[float, float, float]:
    """(precision, recall, F1) of a page's text."""
    if isinstance(expected, str):
        return f1(found, expected)
    text = squeeze(found)
    right = sum(piece in text for piece in expected.kept)
    wrong = sum(piece in text for piece in expected.dropped)
    precision, recall = right / max(right + wrong, 1), right / max(len(expected.kept), 1)
    return precision, recall, 2 * right / max(right + wrong + len(expected.kept), 1)


class Ours:
    """Our engine with, for each page, models that have not seen its site."""

    def __init__(self, doubt: float | None) -> None:
        arrays = load_arrays(FOLD_MODELS)
        self._models = [load_models(), *(models_from(arrays, f"fold{fold}_") for fold in range(FOLDS))]
        self._fold = {int(d): int(f) for d, f in zip(arrays["digests"], arrays["folds"], strict=True)}
        self._doubt = doubt
        self.fallbacks: set[str] = set()

    def choose(self, html: str) -> Callable[[str, str], str]:
        """The engine for a page; choosing is not part of the time."""
        fold = self._fold.get(int(page_digest(html), 16), -1)
        models = self._models[fold + 1]

        def extract(html: str, name: str) -> str:
            own = extract_page(html, models)
            if self._doubt is None or not own.is_unsure(self._doubt):
                return own.text
            self.fallbacks.add(name)
            return extract_with_trafilatura(html, "")[0] or own.text

        return extract


def trafilatura_fast(html: str, url: str) -> str:
    """trafilatura without its fallbacks on readability and jusText."""
    import trafilatura

    return trafilatura.extract(html, fast=True, include_comments=False, deduplicate=False) or ""


def measure(judged: list[Judged], choose: Callable[[str], Callable], passes: int) -> dict[str, Any]:
    """F1 and milliseconds per page by set, and F1 by page."""
    scores: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    seconds: Counter[str] = Counter()
    by_page = {}
    for kind, page, html, expected in judged:
        extract = choose(page.html)
        taken = []
        text = ""
        for _ in range(passes):
            start = time.thread_time()
            text = extract(html, page.name)
            taken.append(time.thread_time() - start)
        seconds[kind] += min(taken)
        judgement = score(text, expected)
        scores[kind].append(judgement)
        by_page[f"{kind} {page.name}"] = judgement[2]
    return {
        "f1": {kind: round(float(np.mean(values, axis=0)[2]), 4) for kind, values in scores.items()},
        "precision": {kind: round(float(np.mean(values, axis=0)[0]), 4) for kind, values in scores.items()},
        "recall": {kind: round(float(np.mean(values, axis=0)[1]), 4) for kind, values in scores.items()},
        "ms_per_page": {
            kind: round(1000 * seconds[kind] / len(values), 3) for kind, values in scores.items()
        },
        "by_page": by_page,
    }


def main() -> None:
    """Measure all engines, print the table, the sites and perhaps one JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--quick", action="store_true", help="every fourth page, no table of sites")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()
    judged = read_judged(options.data)[:: 4 if options.quick else 1]
    sure, unsure = Ours(None), Ours(FALLBACK_DOUBT)
    sure.choose("<p>warm")("<p>warm</p>", "")
    engines: dict[str, tuple[Callable[[str], Callable], int]] = {
        "main_text": (sure.choose, 3),
        "main_text+fallback": (unsure.choose, 1),
        "resiliparse": (lambda _: lambda html, url: extract_with_resiliparse(html, url)[0], 3),
        "trafilatura": (lambda _: lambda html, url: extract_with_trafilatura(html, "")[0], 1),
        "trafilatura-fast": (lambda _: trafilatura_fast, 1),
    }
    results = {name: measure(judged, choose, passes) for name, (choose, passes) in engines.items()}
    sizes = Counter(kind for kind, *_ in judged)
    print(f"trafilatura {version('trafilatura')}, resiliparse {version('resiliparse')}; pages: {dict(sizes)}")
    print(f"{'engine':20}" + "".join(f"{kind:>34}" for kind in sizes))
    for name, result in results.items():
        cells = (
            f"F1 {result['f1'][kind]:.3f} P {result['precision'][kind]:.3f} R {result['recall'][kind]:.3f} "
            f"{result['ms_per_page'][kind]:6.2f} ms"
            for kind in sizes
        )
        print(f"{name:20}" + "".join(f"{cell:>34}" for cell in cells))
    share = round(len(unsure.fallbacks) / max(len(judged), 1), 4)
    print(f"fallback at doubt {FALLBACK_DOUBT}: {share:.1%} of pages")
    if not options.quick:
        print_sites(judged, results)
    if options.json:
        by_engine = {
            name: {key: result[key] for key in ("f1", "ms_per_page")} for name, result in results.items()
        }
        by_engine["main_text"]["fallback_share"] = 0.0
        by_engine["main_text+fallback"]["fallback_share"] = share
        print(json.dumps({"pages": dict(sizes), "engines": by_engine}))


def print_sites(judged: list[Judged], results: dict[str, dict[str, Any]]) -> None:
    """Mean F1 by site, worst of ours first."""
    sites: dict[str, list[str]] = defaultdict(list)
    for kind, page, *_ in judged:
        sites[page.site].append(f"{kind} {page.name}")
    print(f"\n{'site':32}{'pages':>6}" + "".join(f"{name:>20}" for name in results))
    means = {
        site: [float(np.mean([result["by_page"][name] for name in names])) for result in results.values()]
        for site, names in sites.items()
    }
    for site in sorted(means, key=lambda site: means[site][0]):
        print(f"{site[:31]:32}{len(sites[site]):>6}" + "".join(f"{mean:>20.3f}" for mean in means[site]))


if __name__ == "__main__":
    main()
