"""Trains the packaged classifiers: `python tests/benchmarks/train_score_models.py DATA [quality] [toxicity]`

DATA is a folder with text/, warc/, safety.tar.gz and extraction.tar.gz. Same data, same files, bit by bit.

Quality. Good are books, articles and the main text of pages; bad is what surrounds the main text (menus,
lists of links, forms, footers), and all text of pages that are forms (log-in, search, registration). Sites
whose hash says so (a sixth) are kept out of training, and measured as "other sites". What the models tell is
running text from what is not; they do not know whether a text is true, or worth reading.

Toxicity. English: tweets by Davidson et al. 2017, hate and offensive against neither. Chinese: the
development part of COLD (Deng et al. 2022), offensive posts on race, region and gender. Clean running text
stands with the harmless ones, so that pages that are no posts are not taken for offensive.
"""

import csv
import gzip
import hashlib
import json
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding
from warcio.archiveiterator import ArchiveIterator

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # not this folder: pipeline.py is a benchmark here

import numpy as np  # noqa: E402

from pipeline.annotate.classifier_file import compile_classifier  # noqa: E402
from pipeline.annotate.classifier_training import (  # noqa: E402
    Training,
    measure_classifier,
    train_classifier,
)
from pipeline.annotate.language import (  # noqa: E402
    PACKAGED_MODEL,
    PACKAGED_MODEL_SHA256,
    find_language_model,
    identify_languages,
    load_language_model,
)
from pipeline.annotate.normalize import normalize_text  # noqa: E402

MODELS = ROOT / "pipeline" / "annotate" / "models"
PIECE, PIECES_PER_TEXT, LEAST = 3_000, 12, 200  # characters
LANGUAGES = ("en", "zh")
# Texts of free licences only: that of ruanyf_weekly asks for no derivatives.
GOOD_TEXTS = {"en": {"eltec_eng"}, "zh": {"lctt", "d2l_zh", "wangdoc_js", "classical_modern"}}
OTHER_SITES = 6  # one of so many sites is kept out of training
Text = tuple[str, str, str]  # site, label, text


def pieces(text: str) -> list[str]:
    """Parts of a text of PIECE characters, spread over it."""
    text = normalize_text(text)
    cut = [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
    cut = [piece for piece in cut if len(piece) >= LEAST]
    return cut[:: -(-len(cut) // PIECES_PER_TEXT) or 1]


def of_page(html: str, site: str) -> Iterator[Text]:
    """The main text of a page, and the lines around it."""
    whole = extract_plain_text(html, main_content=False, alt_texts=False)
    main = extract_plain_text(html, main_content=True, alt_texts=False)
    inside = set(main.splitlines())
    around = "\n".join(line for line in whole.splitlines() if line not in inside)
    yield from ((site, "positive", piece) for piece in pieces(main))
    yield from ((site, "negative", piece) for piece in pieces(around)[:2])


def quality_texts(data: Path, unpacked: Path) -> Iterator[Text]:
    """All texts of both languages, not yet told apart."""
    for language in LANGUAGES:
        with gzip.open(data / "text" / f"{language}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                if record["source"] in GOOD_TEXTS[language]:
                    site = f"{record['source']}/{record['id']}"
                    yield from ((site, "positive", piece) for piece in pieces(record["text"]))
        with (data / "warc" / f"pool-{language}.warc.gz").open("rb") as file:
            for record in ArchiveIterator(file):
                if record.rec_type == "response":
                    content = record.content_stream().read()
                    site = urlsplit(record.rec_headers.get_header("WARC-Target-URI")).netloc
                    yield from of_page(bytes_to_str(content, detect_encoding(content) or "utf-8"), site)
    for path in sorted(unpacked.rglob("formasaurus_pages/**/*.html")):
        content = path.read_bytes()
        html = bytes_to_str(content, detect_encoding(content) or "utf-8")
        text = extract_plain_text(html, main_content=False)
        yield from ((path.stem, "negative", piece) for piece in pieces(text)[:3])
    for path in sorted(unpacked.rglob("mozilla_readability/**/expected.html")):
        text = extract_plain_text(path.read_text(encoding="utf-8"), main_content=False)
        yield from ((path.parent.name, "positive", piece) for piece in pieces(text))


def at_most(texts: list[str], count: int) -> list[str]:
    """So many of the texts, by their hashes."""
    return sorted(texts, key=lambda text: hashlib.blake2b(text.encode()).digest())[:count]


def is_other(site: str) -> bool:
    """Whether a site is kept out of training."""
    return hashlib.blake2b(site.encode()).digest()[0] % OTHER_SITES == 0


def train_quality(data: Path, unpacked: Path) -> None:
    """quality-en and quality-zh."""
    detect = load_language_model(find_language_model(PACKAGED_MODEL), PACKAGED_MODEL_SHA256)
    texts = list(quality_texts(data, unpacked))
    languages = np.array(identify_languages(detect, [text for _, _, text in texts])[0])
    for language in LANGUAGES:
        mine = [texts[row] for row in np.flatnonzero(languages == language)]
        sides: dict[bool, dict[str, list[str]]] = {
            side: {"positive": [], "negative": []} for side in (False, True)
        }
        for site, label, text in mine:
            sides[is_other(site)][label].append(text)
        sides[False]["positive"] = at_most(sides[False]["positive"], 2 * len(sides[False]["negative"]))
        sources = {
            "positive": "main text of crawled pages, expected texts of mozilla_readability, "
            + ", ".join(sorted(GOOD_TEXTS[language])),
            "negative": "text around the main text of crawled pages; pages of the Formasaurus collection",
        }
        training = Training(characters=3 if language == "zh" else 0, words=30_000)
        path = MODELS / f"quality-{language}.bin"
        card = train_classifier(sides[False], path, training, sources)
        card["other_sites"] = measure(path, sides[True])
        finish(path, card)


def toxic_texts(unpacked: Path) -> dict[str, dict[str, list[str]]]:
    """By language and label."""
    found: dict[str, dict[str, list[str]]] = {code: {"positive": [], "negative": []} for code in LANGUAGES}
    path = next(unpacked.rglob("labeled_data.csv"))
    for row in csv.DictReader(path.open(encoding="utf-8")):
        found["en"]["negative" if row["class"] == "2" else "positive"].append(row["tweet"])
    path = next(unpacked.rglob("COLDataset/dev.csv"))
    for row in csv.DictReader(path.open(encoding="utf-8-sig")):
        found["zh"]["positive" if row["label"] == "1" else "negative"].append(row["TEXT"])
    return found


def train_toxicity(data: Path, unpacked: Path) -> None:
    """toxicity-en and toxicity-zh."""
    found = toxic_texts(unpacked)
    detect = load_language_model(find_language_model(PACKAGED_MODEL), PACKAGED_MODEL_SHA256)
    clean = [text for text in quality_texts(data, unpacked) if text[1] == "positive"]
    languages = np.array(identify_languages(detect, [text for _, _, text in clean])[0])
    names = {"en": "davidson_hate_en (MIT): hate, offensive", "zh": "cold_zh, development part: offensive"}
    for language in LANGUAGES:
        mine = [clean[row] for row in np.flatnonzero(languages == language)]
        posts = found[language]
        pages = [text for site, _, text in mine if not is_other(site)]
        pages = at_most(pages, len(posts["negative"]) // 3)
        texts = {"positive": posts["positive"], "negative": posts["negative"] + pages}
        sources = {
            "positive": names[language],
            "negative": f"the others of that set ({len(posts['negative'])}), and running text as for quality "
            f"({len(pages)})",
        }
        training = Training(characters=3 if language == "zh" else 0, words=30_000, held_out=0.2)
        path = MODELS / f"toxicity-{language}.bin"
        card = train_classifier(texts, path, training, sources)
        others = [text for site, _, text in mine if is_other(site)]
        found_there = compile_classifier(path).probabilities(pa.array(others))[:, 0]
        card["clean_pages_of_other_sites"] = {
            "texts": len(others),
            "share_above_0.5": round(float((found_there >= 0.5).mean()), 4),
        }
        card["held_out_posts"] = held_out_posts(path, posts, training)
        finish(path, card)


def held_out_posts(path: Path, posts: dict[str, list[str]], training: Training) -> dict[str, Any]:
    """The posts alone: without the clean pages, which are easy."""
    from pipeline.annotate.classifier_training import held_out_texts

    texts, of = held_out_texts(posts, ["positive", "negative"], training)
    return measure_classifier(compile_classifier(path), texts, of, ["positive", "negative"])


def measure(path: Path, texts: dict[str, list[str]]) -> dict[str, Any]:
    """What a model makes of texts that it has not seen."""
    labels = ["positive", "negative"]
    of = np.repeat([0, 1], [len(texts[label]) for label in labels])
    pool = pa.array([text for label in labels for text in texts[label]], pa.large_string())
    counts = {label: len(texts[label]) for label in labels}
    return {"texts": counts, **measure_classifier(compile_classifier(path), pool, of, labels)}


def finish(path: Path, card: dict[str, Any]) -> None:
    """Writes the card again, and says how the model does."""
    path.with_suffix(".json").write_text(
        json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    for name in ("held_out", "held_out_posts", "other_sites"):
        if name in card:
            print(path.stem, name, card[name]["accuracy"], card[name]["labels"])
    print(path.stem, card["bytes"], "bytes", card.get("clean_pages_of_other_sites", ""), card["texts"])


def main() -> None:
    data, wanted = Path(sys.argv[1]), sys.argv[2:] or ["quality", "toxicity"]
    MODELS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("safety", "extraction", "extraction-pages"):
            with tarfile.open(data / f"{name}.tar.gz") as archive:
                archive.extractall(folder, filter="data")
        if "quality" in wanted:
            train_quality(data, Path(folder))
        if "toxicity" in wanted:
            train_toxicity(data, Path(folder))


if __name__ == "__main__":
    main()
