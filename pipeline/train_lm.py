"""`sluice train-lm`: a language model for annotate.perplexity, from kept text of finished runs or from files.

The text is cut into the words that scoring reads (kernels/lm_text.py), lmplz estimates modified Kneser-Ney
n-grams from it (Heafield et al. 2013), and its ARPA file becomes a table that workers map into memory
(annotate/arpa.py). Beside the model lies its card, FILE.json: what it was made of, by name and digest, every
setting, and its perplexity on the documents that were kept out (1 of 100, by a hash of their text).

The same text and settings give the same bytes. Takes about a minute for 20 million words; lmplz sorts on disk
what does not fit into `memory`.
"""

import hashlib
import json
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.markup import escape

from pipeline.annotate.arpa import compile_arpa, open_model
from pipeline.annotate.perplexity import perplexity
from pipeline.config import UsageError
from pipeline.kernels.lm import LanguageModel, has_ngrams, hash_words, score_lines
from pipeline.kernels.lm_text import tokenize_text
from pipeline.parts import file_sha256
from pipeline.report.run_folder import open_run
from pipeline.report.summary import human_bytes
from pipeline.training_texts import describe_file, describe_run, kept_texts, list_texts, read_texts

_BATCH = 500  # documents
_HELD_OUT = 100  # one document of so many
_NO_LMPLZ = """lmplz, which counts the n-grams, is not at {name!r}. It comes with KenLM's own source and needs
cmake, a C++ compiler and Boost (program_options, system, thread, test):
  pip download --no-deps --no-binary kenlm kenlm && tar xzf kenlm-*.tar.gz && rm kenlm-*.tar.gz
  cmake -S kenlm-* -B kenlm-build -DCMAKE_BUILD_TYPE=Release && cmake --build kenlm-build --target lmplz
Then put kenlm-build/bin on the PATH, or give --lmplz kenlm-build/bin/lmplz."""


@dataclass(frozen=True, slots=True)
class Training:
    """What a model is made with."""

    language: str
    order: int = 3
    prune: tuple[int, ...] = (0, 1, 2)  # n-grams of each order that occur so often at most are left out
    words: int = 50_000  # of the vocabulary, the most frequent ones
    lmplz: str = "lmplz"
    memory: str = "1G"  # that lmplz may take
    about: str = ""  # a sentence for the card


@dataclass(slots=True)
class _Corpus:
    """What was read, while it is read."""

    tokens: Path
    counts: Counter[bytes]
    held_out: list[str]
    documents: int = 0
    characters: int = 0
    unusable: int = 0  # records that hold no text


def train_lm(to: str, runs: Sequence[str], files: Sequence[str], training: Training, console: Console) -> int:
    """Writes the model `to` and its card; returns 0. UsageError for what cannot be trained on."""
    target = Path(to)
    _check(target, runs, files, training)
    lmplz = find_lmplz(training.lmplz)
    jobs = [open_run(run) for run in runs]
    inputs = list_texts(files)
    with tempfile.TemporaryDirectory(prefix="sluice-lm-", dir=_existing(target.parent)) as scratch:
        corpus = _Corpus(Path(scratch, "tokens"), Counter(), [])
        with corpus.tokens.open("wb") as sink:
            for job in jobs:
                _add(corpus, sink, kept_texts(job, training.language))
            for _, path in inputs:
                _add(corpus, sink, read_texts(path))
        if len(corpus.counts) < training.order:
            raise UsageError(
                f"{corpus.documents:,} documents of {training.language!r}: too little to train on"
            )
        console.print(f"{corpus.documents:,} documents, {corpus.counts.total():,} words", highlight=False)
        arpa = _run_lmplz(lmplz, corpus, training, Path(scratch))
        header = compile_arpa(arpa, Path(scratch, "model"), language=training.language)
        shutil.move(Path(scratch, "model"), target)
    held_out = measure_held_out(target, corpus.held_out)
    card = {
        "format": header.format,
        "unit": header.unit,
        "language": training.language,
        "about": training.about,
        "made_of": [describe_run(job) for job in jobs] + [describe_file(name, path) for name, path in inputs],
        "documents": corpus.documents,
        "characters": corpus.characters,
        "words": corpus.counts.total(),
        "unusable_records": corpus.unusable,
        "settings": {k: v for k, v in asdict(training).items() if k in ("order", "prune", "words")},
        "smoothing": "modified Kneser-Ney, interpolated, fallback discounts (KenLM's lmplz)",
        "ngrams": header.ngrams,
        "clipped": header.clipped,
        "held_out": held_out,
        "bytes": target.stat().st_size,
        "sha256": file_sha256(target),
    }
    target.with_suffix(".json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", "utf-8")
    grams = " + ".join(f"{count:,}" for count in header.ngrams)
    told = f"{target}: {grams} n-grams, {human_bytes(card['bytes'])}, perplexity {held_out['perplexity']} on "
    told += (
        f"{held_out['documents']:,} documents that were kept out, {held_out['unknown_share']:.1%} of whose "
    )
    console.print(escape(told + f"words it does not know\nsha256 {card['sha256']}"), highlight=False)
    return 0


def compile_given(to: str, arpa: str, language: str, console: Console) -> int:
    """Makes a model of an ARPA file that another tool has made from words of kernels/lm_text.py."""
    try:
        header = compile_arpa(Path(arpa), Path(to), language=language)
    except ValueError as error:
        raise UsageError(str(error)) from error
    grams = " + ".join(f"{count:,}" for count in header.ngrams)
    console.print(escape(f"{to}: {grams} n-grams, sha256 {file_sha256(Path(to))}"), highlight=False)
    return 0


def find_lmplz(name: str) -> str:
    """Where lmplz is; UsageError, which says how to get it, if it is not there."""
    found = shutil.which(name)
    if found is None:
        raise UsageError(_NO_LMPLZ.format(name=name))
    return found


def _check(target: Path, runs: Sequence[str], files: Sequence[str], training: Training) -> None:
    if not runs and not files:
        raise UsageError("nothing to train on: give --run FOLDER or --text FILE, as often as there are any")
    if not 1 <= training.order <= 6:
        raise UsageError(f"--order {training.order}: lmplz makes models of 1 to 6 words")
    prune = training.prune
    if not 0 < len(prune) <= training.order or list(prune) != sorted(prune) or prune[0] < 0:
        given = " ".join(map(str, prune))
        raise UsageError(f"--prune {given}: at most one number for each order, and none below the one before")
    if training.words < 1:
        raise UsageError(f"--words {training.words}: a vocabulary has at least one word")
    if target.suffix == ".json":
        raise UsageError(
            f"--to {target}: the model's card will have that name; call the model {target.stem}.lm"
        )
    _existing(target.parent)


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder} to write to")
    return folder


def _add(corpus: _Corpus, sink: BinaryIO, texts: Iterable[str | None]) -> None:
    """Writes the words of texts, but of those that are held out, and counts them."""
    texts = iter(texts)
    while batch := list(islice(texts, _BATCH)):
        chosen = []
        for text in batch:
            if text is None:
                corpus.unusable += 1
                continue
            digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
            held_out = int.from_bytes(digest, "big") % _HELD_OUT == 0
            (corpus.held_out if held_out else chosen).append(text)
        words = tokenize_text(pa.array(chosen, pa.large_string())).bytes.tobytes()
        sink.write(words)
        corpus.counts.update(words.split())
        corpus.documents += len(chosen)
        corpus.characters += sum(map(len, chosen))


def _run_lmplz(lmplz: str, corpus: _Corpus, training: Training, scratch: Path) -> Path:
    """The ARPA file."""
    arpa, vocabulary = scratch / "model.arpa", scratch / "vocabulary"
    frequent = sorted(corpus.counts.items(), key=lambda word: (-word[1], word[0]))[: training.words]
    vocabulary.write_bytes(b"\n".join(word for word, _ in frequent) + b"\n")
    command = [lmplz, "-o", str(training.order), "-S", training.memory, "-T", str(scratch / "sort")]
    command += ["--discount_fallback", "--limit_vocab_file", str(vocabulary)]
    command += ["--prune", *map(str, training.prune)]
    with corpus.tokens.open("rb") as source, arpa.open("wb") as sink:
        ran = subprocess.run(command, stdin=source, stdout=sink, stderr=subprocess.PIPE, check=False)
    if ran.returncode:
        said = ran.stderr.decode("utf-8", "replace").strip().splitlines()[-3:]
        raise UsageError(f"lmplz failed (exit code {ran.returncode}): {' '.join(said)}")
    return arpa


def measure_held_out(model: Path, texts: Sequence[str]) -> dict[str, Any]:
    """Perplexity over all texts together, and the share of words that are unknown."""
    opened = open_model(model.absolute(), file_sha256(model))
    tokens = tokenize_text(pa.array(texts, pa.large_string()))
    cost, words = score_lines(tokens, np.arange(len(texts)), opened).sum(axis=0).tolist()
    found = perplexity(cost, words)
    unknown = count_unknown(tokens.bytes.tobytes().split(), opened)
    return {
        "documents": len(texts),
        "words": words,
        "perplexity": None if found is None else round(found, 1),
        "unknown_share": round(unknown / words, 4) if words else 0.0,
    }


def count_unknown(words: Sequence[bytes], model: LanguageModel) -> int:
    """How many of the words the model does not know."""
    counts = Counter(words)
    distinct = list(counts)
    hashes = hash_words(distinct, salt=model.salt)
    places = np.arange(len(distinct), dtype=np.int32).reshape(-1, 1)
    known = has_ngrams(model.table, hashes, places)
    return sum(counts[word] for word, there in zip(distinct, known.tolist(), strict=True) if not there)
