"""`sluice train-classifier`: a classifier from texts that are good and texts that are not, and its card.

Texts come from files (JSONL, also as .gz or .zst, Parquet, plain text, a file being one text) or from a
source of a finished run: what the run stores is what will be scored, extracted and normalised alike.
"""

import gzip
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from rich.console import Console
from rich.table import Table

from pipeline.annotate.classifier_training import Training, train_classifier
from pipeline.annotate.normalize import normalize_text
from pipeline.config import UsageError
from pipeline.parts import file_sha256, read_batches
from pipeline.phase import need_rows
from pipeline.report.run_folder import open_run

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet", ".txt")


def train(
    output: str,
    classes: Mapping[str, Sequence[str]],
    console: Console,
    *,
    field: str,
    most: int,
    training: Training,
) -> int:
    """Trains on the sources of each label, writes `output` and its card, prints how it does; returns 0.

    `most`: texts that are read per label. UsageError for sources that cannot be read or hold too little.
    """
    path = Path(output)
    if path.suffix != ".bin":
        raise UsageError(f"--output {output}: a fastText model's name ends in .bin")
    if not 1 <= training.buckets <= 1 << 26 or not 0 < training.held_out < 1:
        raise UsageError("--buckets must lie between 1 and 67108864, --held-out between 0 and 1")
    texts, sources = {}, {}
    for label, names in classes.items():
        if not label or any(character.isspace() for character in label):
            raise UsageError(f"a label must be a word, not {label!r}")
        texts[label], sources[label] = [], []
        for name in names:
            found = list(islice(_read(name, field), most - len(texts[label])))
            texts[label] += found
            sources[label].append({**_describe(name), "texts": len(found)})
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        card = train_classifier(texts, path, training, sources)
    except ValueError as error:
        raise UsageError(str(error)) from error
    _print(console, path, card)
    return 0


def _read(name: str, field: str) -> Iterator[str]:
    """The texts of RUN:SOURCE, of a file, or of all files of a glob, in the order of their names."""
    run, colon, source = name.rpartition(":")
    if colon and Path(run, "plan.json").is_file():
        yield from _read_run(run, source)
        return
    for path in _files(name):
        for text in _read_file(path, field):
            if text := normalize_text(text):
                yield text


def _files(name: str) -> list[Path]:
    whole = Path(name)
    anchor = Path(whole.anchor)
    found = [whole] if whole.is_file() else anchor.glob(str(whole.relative_to(anchor)))
    paths = sorted(path for path in found if path.is_file())
    if not paths:
        raise UsageError(f"no file {name}, and no run of which it names a source (RUN:SOURCE)")
    return paths


def _describe(name: str) -> dict[str, Any]:
    """What a card says of a source: names without folders, and contents."""
    run, colon, source = name.rpartition(":")
    if colon and Path(run, "plan.json").is_file():
        return {"source": source, "run": open_run(run).recipe.name}
    return {"files": [{"name": path.name, "sha256": file_sha256(path)} for path in _files(name)]}


def _read_run(run: str, source: str) -> Iterator[str]:
    job = open_run(run)
    if source not in {one.name for one in job.recipe.sources}:
        known = ", ".join(one.name for one in job.recipe.sources)
        raise UsageError(f"{run} has no source {source!r}, only {known}")
    for row in need_rows(job, "documents", range(job.parts)):
        for batch in read_batches(job.storage(), row.file("documents"), columns=["source", "text"]):
            for of, text in zip(batch["source"].to_pylist(), batch["text"].to_pylist(), strict=True):
                if of == source and text:
                    yield text


def _read_file(path: Path, field: str) -> Iterator[str]:
    if not path.name.endswith(SUFFIXES):
        raise UsageError(f"{path}: a file of texts ends in {', '.join(SUFFIXES)}")
    try:
        if path.suffix == ".txt":
            yield path.read_text(encoding="utf-8")
        elif path.suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(columns=[field]):
                    yield from (text for text in batch[field].to_pylist() if text)
        else:
            with _open_lines(path) as lines:
                for number, line in enumerate(lines, start=1):
                    yield _field_of(line, field, f"{path}, line {number}")
    except (OSError, KeyError, UnicodeDecodeError, zstandard.ZstdError, pa.ArrowException) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def _field_of(line: str, field: str, place: str) -> str:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"{place} is no JSON: {error}") from error
    if not isinstance(record, dict) or not isinstance(record.get(field), str):
        raise UsageError(f"{place} has no text in the field {field!r}: name another with --field")
    return record[field]


def _open_lines(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    if path.suffix == ".zst":
        return io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(path.open("rb")), encoding="utf-8")
    return path.open(encoding="utf-8")


def _print(console: Console, path: Path, card: Mapping[str, Any]) -> None:
    told = ", ".join(f"{label} {n['train']:,} + {n['held_out']:,}" for label, n in card["texts"].items())
    console.print(f"{path} ({card['bytes']:,} bytes, sha256 {card['sha256'][:12]}...), card {path.stem}.json")
    console.print(f"texts, trained on + held out: {told}; accuracy {card['held_out']['accuracy']:.4f}")
    table = Table("", "precision", "recall", "F1", title="On held-out texts", title_justify="left", box=None)
    rows = [(label, of) for label, of in card["held_out"]["labels"].items()]
    first = card["labels"][0]
    rows += [(f"{first} >= {limit}", of) for limit, of in card["held_out"]["thresholds"].items()]
    for name, of in rows:
        table.add_row(name, *(f"{of[key]:.4f}" for key in ("precision", "recall", "f1")))
    console.print(table)
