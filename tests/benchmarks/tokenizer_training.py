"""Training and compression: our trainer against rustbpe and Hugging Face tokenizers in one run, and how well
the packaged vocabularies compress (bytes per token; in brackets tokens relative to qwen's).

    python tests/benchmarks/tokenizer_training.py [--quick] [--json] [--data ../shared/data/text]

Text: Chinese (lctt, ruanyf_weekly, d2l_zh) and English novels (eltec_eng) of the data folder in documents of
at most 20,000 characters, 60.6 MB; --quick takes every sixth document. Every trainer gets the same documents
and the same pattern and makes 32,000 tokens from bytes; ours and rustbpe's must be equal byte for byte.
Seconds are wall clock, with processor seconds beside them: rustbpe and tokenizers use all cores, ours one.
Ours runs once before, on the same text, so that compiling is told apart.
"""

import argparse
import gzip
import json
import re
import sys
import tarfile
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # not this folder: pipeline.py is a benchmark here

from tokenizer_build.bpe_train import lay_out, train_merges
from tokenizer_build.build_recipe import load_build_recipe
from tokenizer_build.compare import as_table, load_compared, measure, total
from tokenizer_build.documents import read_documents as build_documents
from tokenizer_build.merge_table import byte_merges
from tokenizer_build.piece_counts import PieceCounter
from tokenizer_build.vocabulary import PATTERNS, QWEN_PATTERN

DATA = (Path(__file__).resolve().parents[2] / "../shared/data/text").resolve()
SOURCES = {"zh": {"lctt", "ruanyf_weekly", "d2l_zh"}, "en": {"eltec_eng"}}
TOKENS = 32_000
OTHER_CODE = {  # where this machine may have it
    "other: C": ("/usr/include", "*.h"),
    "other: Perl": ("/usr/share/perl", "*.p[lm]"),
    "other: JavaScript": ("/usr/lib/node_modules", "*.js"),
}
OTHER_BYTES = 6_000_000  # of each
DOCUMENT_CHARACTERS = 20_000


def main() -> int:
    """Run, print a table, and end with one JSON line if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--quick", action="store_true", help="every sixth document, no Hugging Face trainer")
    parser.add_argument("--json", action="store_true", help="end with one line of figures")
    options = parser.parse_args()
    figures = training_figures(options.data, quick=options.quick)
    figures["bytes_per_token"] = compression_figures(options.data, quick=options.quick)
    if options.json:
        print(json.dumps(figures))
    return 0


def training_figures(data: Path, *, quick: bool) -> dict[str, Any]:
    """train_s, vs_rustbpe, vs_hf and what they were made of; prints a line per trainer."""
    documents = read_documents(data)[:: 6 if quick else 1]
    size = sum(len(document.encode()) for document in documents)
    print(f"training {TOKENS:,} tokens from {size / 1e6:.1f} MB in {len(documents):,} documents")
    array = pa.array(documents, pa.large_string())
    _, first_s, _ = timed(lambda: train(array))
    tokens, ours_s, ours_cpu_s = min((timed(lambda: train(array)) for _ in range(2)), key=lambda run: run[1])
    figures: dict[str, Any] = {
        "train_mb": round(size / 1e6, 1),
        "train_s": round(ours_s, 2),
        "train_cpu_s": round(ours_cpu_s, 2),
        "train_first_s": round(first_s, 2),
    }
    print(f"  sluice      {ours_s:6.2f} s, processor {ours_cpu_s:6.2f} s (first call {first_s:.2f} s)")
    theirs, rust_s, rust_cpu_s = timed(lambda: train_rustbpe(documents))
    figures |= {"vs_rustbpe": round(rust_s / ours_s, 2), "vs_rustbpe_cpu": round(rust_cpu_s / ours_cpu_s, 2)}
    figures["same_as_rustbpe"] = tokens == theirs
    print(f"  rustbpe     {rust_s:6.2f} s, processor {rust_cpu_s:6.2f} s, equal: {tokens == theirs}")
    if not quick:
        _, hf_s, hf_cpu_s = timed(lambda: train_hf(documents))
        figures |= {"vs_hf": round(hf_s / ours_s, 2), "vs_hf_cpu": round(hf_cpu_s / ours_cpu_s, 2)}
        print(f"  tokenizers  {hf_s:6.2f} s, processor {hf_cpu_s:6.2f} s")
    return figures


def compression_figures(data: Path, *, quick: bool) -> dict[str, dict[str, float]]:
    """Bytes per token by text and vocabulary: what the build of sluice-152k held back, and other kinds.

    "code" is this Python's library and packages, of which the build held back the same documents if they are
    the same; what is called other is on no recipe.
    """
    names = ["sluice-152k", "sluice-32k", "qwen", "cl100k_base"]
    compared = []
    for name in names:
        try:
            compared.append(load_compared(name))
        except FileNotFoundError as error:
            print(f"  {name} left out: {error}")
    texts = {name: found[: 20 if quick else len(found)] for name, found in held_back_texts(data).items()}
    kinds = {name: found[: 20 if quick else len(found)] for name, found in other_texts(data.parent).items()}
    measures = measure(compared, texts | kinds)
    measures += total(measures, [name for name in texts if name != "code"], "all languages")
    table = as_table(measures, "qwen" if "qwen" in [each.name for each in compared] else compared[0].name)
    for text, row in table.items():
        values = "  ".join(
            f"{name} {value:.2f} ({row['relative_tokens'].get(name, 1):.3f})"
            for name, value in row["bytes_per_token"].items()
        )
        print(f"  {text:16} {row['bytes'] / 1e6:6.2f} MB  {values}")
    return {text: row["bytes_per_token"] for text, row in table.items()}


def held_back_texts(data: Path) -> dict[str, list[str]]:
    """By language, and "code": the documents that the build of sluice-152k keeps out."""
    recipe = load_build_recipe("sluice-152k")
    texts: dict[str, list[str]] = {}
    for text in recipe.texts:
        found = build_documents(text, data, recipe.held_back)
        texts.setdefault(text.language, []).extend(each.text for each in found if each.held_back)
    return texts


def other_texts(data: Path) -> dict[str, list[str]]:
    """Code in other languages, as far as it is on this machine, and sentences of many languages."""
    texts: dict[str, list[str]] = {}
    for name, (folder, pattern) in OTHER_CODE.items():
        size = 0
        for path in sorted(Path(folder).rglob(pattern)):
            if path.is_file() and size < OTHER_BYTES:
                text = path.read_bytes().decode(errors="ignore")
                size += len(text)
                texts.setdefault(name, []).append(unicodedata.normalize("NFC", text))
    if (data / "langid.tar.gz").is_file():
        texts["other: sentences"] = read_sentences(data / "langid.tar.gz")
    return texts


def read_sentences(archive: Path) -> list[str]:
    """The Tatoeba sentences of all languages but English, a document per language."""
    with tarfile.open(archive) as tar:
        return [
            unicodedata.normalize("NFC", file.read().decode())
            for member in sorted(tar.getmembers(), key=lambda each: each.name)
            if re.search(r"/tatoeba\.(\w+)-eng\.\1$", member.name) and (file := tar.extractfile(member))
        ]


def read_documents(data: Path) -> list[str]:
    """The texts to train on, cut into documents of DOCUMENT_CHARACTERS at most."""
    documents = []
    for language, sources in SOURCES.items():
        with gzip.open(data / f"{language}.jsonl.gz") as lines:
            for line in lines:
                record = orjson.loads(line)
                if record["source"] in sources:
                    text = record["text"]
                    for at in range(0, len(text), DOCUMENT_CHARACTERS):
                        documents.append(text[at : at + DOCUMENT_CHARACTERS])
    return documents


def train(documents: pa.Array) -> list[bytes]:
    """Documents to a vocabulary of TOKENS, from bytes: counting, layout and merges."""
    counter = PieceCounter(PATTERNS[QWEN_PATTERN], memory_bytes=1 << 27)
    counter.add(documents)
    merges = byte_merges()
    words = lay_out(counter.table(), merges.byte_ids())
    return merges.extended(train_merges(words, np.ones(256, np.int32), TOKENS - 256)).tokens


def train_rustbpe(documents: list[str]) -> list[bytes]:
    """rustbpe's vocabulary in the order of its ranks."""
    import rustbpe

    trainer = rustbpe.Tokenizer()  # pyright: ignore[reportAttributeAccessIssue]
    trainer.train_from_iterator(iter(documents), TOKENS, pattern=QWEN_PATTERN)
    return [bytes(token) for token, _ in sorted(trainer.get_mergeable_ranks(), key=lambda entry: entry[1])]


def train_hf(documents: list[str]) -> int:
    """The size of the vocabulary that Hugging Face tokenizers makes; its ties differ from ours."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[assignment]
        [
            pre_tokenizers.Split(Regex(QWEN_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer.get_vocab_size()


def timed(call: Callable[[], Any]) -> tuple[Any, float, float]:
    """What a call returns, its wall clock seconds and its processor seconds over all threads."""
    wall, processor = time.perf_counter(), time.process_time()
    result = call()
    return result, time.perf_counter() - wall, time.process_time() - processor


if __name__ == "__main__":
    sys.exit(main())
