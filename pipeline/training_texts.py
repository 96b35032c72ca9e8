"""Text to train a model on: the kept documents of finished runs, and files of records or plain text."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.annotate.splits import list_input_files
from pipeline.config import UsageError
from pipeline.decide.edits import apply_edits
from pipeline.decide.repeats_step import edits_of_part
from pipeline.parts import read_batches
from pipeline.phase import Job, need_rows
from pipeline.report.run_folder import read_manifest
from pipeline.storage import open_filesystem

_BATCH = 500  # documents
_BLOCK = 1 << 20  # bytes


def kept_texts(job: Job, language: str) -> Iterator[str]:
    """The kept documents of a run in a language, with their edits, in the run's order."""
    steps = {"documents": ["text"], "measures": ["language"], "decisions": ["kept"]}
    for part in range(job.parts):
        edits = edits_of_part(job, part)
        files = [need_rows(job, step, [part])[0].file(step) for step in steps]
        batches = [
            read_batches(job.storage(), file, columns=columns)
            for file, columns in zip(files, steps.values(), strict=True)
        ]
        first = 0
        for documents, measures, decisions in zip(*batches, strict=True):
            same = np.array([code == language for code in measures["language"].to_pylist()], bool)
            wanted = pa.array(same & decisions["kept"].to_numpy(zero_copy_only=False))
            here = edits.slice(first, documents.num_rows).filter(wanted)
            yield from apply_edits(documents["text"].filter(wanted), here).to_pylist()
            first += documents.num_rows


def list_texts(patterns: Sequence[str]) -> list[tuple[str, str]]:
    """(name, full path) of files, sorted."""
    try:
        found = list_input_files(patterns) if patterns else []
    except ValueError as error:
        raise UsageError(f"--text: {error}") from error
    return [(file.path, f"{file.root}/{file.path}") for file in found]


def read_texts(path: str) -> Iterator[str | None]:
    """The field `text` of every record of a .jsonl (.gz, .zst) or .parquet file, None where it is no text;
    any other file is one text.
    """
    filesystem, name = open_filesystem(path)
    plain = path.lower().removesuffix(".gz").removesuffix(".zst")
    if plain.endswith(".parquet"):
        with filesystem.open_input_file(name) as source:
            for batch in pq.ParquetFile(source).iter_batches(_BATCH, columns=["text"]):
                yield from batch["text"].to_pylist()
        return
    with filesystem.open_input_stream(name, compression="detect") as stream:
        if not plain.endswith(".jsonl"):
            yield stream.read().decode("utf-8", "replace")
            return
        for line in filter(bytes.strip, _lines(stream)):
            try:
                text = orjson.loads(line)["text"]
            except (ValueError, KeyError, TypeError):
                text = None
            yield text if isinstance(text, str) else None


def _lines(stream: Any) -> Iterator[bytes]:
    tail = b""
    while block := stream.read(_BLOCK):
        *lines, tail = (tail + block).split(b"\n")
        yield from lines
    yield tail


def describe_run(job: Job) -> dict[str, Any]:
    """For a card: which run, by what it says."""
    manifest = read_manifest(job)
    licences = sorted({source.licence for source in job.recipe.sources})
    return {"run": job.recipe.name, "content_digest": manifest["content_digest"], "licences": licences}


def describe_file(name: str, path: str) -> dict[str, Any]:
    """For a card: which file, by its bytes."""
    filesystem, inside = open_filesystem(path)
    with filesystem.open_input_stream(inside, compression=None) as source:
        digest, size = hashlib.sha256(), 0
        while block := source.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return {"file": name, "bytes": size, "sha256": digest.hexdigest()}
