"""`sluice export`: the kept text with its edits applied and its metadata, one file per part, for other tools.

Parquet has every measure as a column, JSONL (gzip) only what names and places a document. Bytes are a
function of the run alone. A part of which nothing is kept leaves no file. The folder is marked by
`export.json`, which names the run: only an export of the same run is overwritten.
"""

import gzip
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from pipeline.config import UsageError
from pipeline.decide.edits import apply_edits
from pipeline.decide.provenance import licences_of
from pipeline.decide.repeats_step import edits_of_part
from pipeline.parts import file_sha256, read_batches
from pipeline.phase import Job, need_rows
from pipeline.report.explain import find_source
from pipeline.report.run_folder import encoded_lengths, open_run, read_manifest
from pipeline.report.summary import human_bytes
from pipeline.schema import MEASURES, SCORE_STEPS
from pipeline.storage import Storage

MARK = "export.json"
SUFFIXES = {"parquet": ".parquet", "jsonl": ".jsonl.gz"}
_NO_COUNTS = ("language", "language_score", "edits", "test_spans")
COUNTS = [column.name for column in MEASURES if column.name not in _NO_COUNTS]
_DOCUMENTS = ["id", "source", "url", "date", "licence", "title", "text"]
_GZIP_LEVEL = 6

SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # 32 hex digits, as `sluice why --doc` takes it
        ("source", pa.string()),
        ("licence", pa.string()),
        ("url", pa.string()),
        ("date", pa.string()),
        ("title", pa.string()),
        ("language", pa.string()),
        ("language_score", pa.float64()),
        ("text", pa.string()),
        ("tokens", pa.uint32()),  # by the run's vocabulary, without <|endoftext|>
        ("cluster_size", pa.uint32()),
        ("validation", pa.bool_()),
    ]
)


def export_run(output: str, to: str, format: str, console: Console) -> int:
    """Writes the kept documents of a finished run to a folder; returns 0.

    `format` is a key of SUFFIXES. LookupError for a folder that holds anything but an export of the same run
    in the same format.
    """
    job = open_run(output)
    target = Storage.open(to)
    mark = {"content_digest": read_manifest(job)["content_digest"], "format": format}
    _check_target(target, to, mark)
    target.put_bytes(MARK, orjson.dumps({**mark, "whole": False}))  # an interrupted export can be made again
    files = []
    for part in track(range(job.parts), "exporting", console=console, disable=console.quiet):
        written = _export_part(job, part, format, target)
        files += [written] if written else []
    content = {**mark, "whole": True, "documents": sum(file["documents"] for file in files), "files": files}
    target.put_bytes(MARK, orjson.dumps(content, option=orjson.OPT_INDENT_2))
    if target.local_root is not None:
        target.scratch_root().rmdir()
    size = human_bytes(sum(file["bytes"] for file in files))
    told = f"{content['documents']:,} documents in {len(files):,} files, {size}, in {to}"
    console.print(escape(told), highlight=False)
    return 0


def _check_target(target: Storage, to: str, mark: dict[str, str]) -> None:
    names = [name for name in target.names() if not name.startswith(".scratch/")]
    if not names:
        return
    found = target.read_bytes(MARK)
    try:
        told = orjson.loads(found or b"{}")
    except ValueError:
        told = {}
    if not isinstance(told, dict) or {key: told.get(key) for key in mark} != mark:
        raise UsageError(
            f"{to} is not empty, and not a {mark['format']} export of this run: give another --to"
        )


def _export_part(job: Job, part: int, format: str, target: Storage) -> dict[str, Any] | None:
    """Writes the file of a part; None if it keeps no document."""
    batches = _kept_batches(job, part)
    first = next(batches, None)
    if first is None:
        return None
    name = f"part-{part:05d}{SUFFIXES[format]}"
    with target.scratch() as scratch:
        local = scratch / name
        write = _write_parquet if format == "parquet" else _write_jsonl
        documents = write(local, first, batches)
        described = {"file": name, "documents": documents, "bytes": local.stat().st_size}
        described["sha256"] = file_sha256(local)
        target.put_file(local, name)
    return described


def _kept_batches(job: Job, part: int) -> Iterator[pa.RecordBatch]:
    """SCHEMA and all counts of a part's kept documents, in the part's order; never an empty batch."""
    storage = job.storage()
    rows, lengths = encoded_lengths(job, part)
    columns = {
        "documents": _DOCUMENTS,
        "measures": ["language", "language_score", *COUNTS],
        "decisions": ["kept", "validation"],
    }
    parts = [
        read_batches(storage, need_rows(job, step, [part])[0].file(step), columns=names)
        for step, names in columns.items()
    ]
    clusters, edits = _cluster_sizes(job, part), edits_of_part(job, part)
    first = 0
    for documents, measures, decisions in zip(*parts, strict=True):
        end = first + documents.num_rows
        kept = decisions["kept"]
        if kept.true_count:
            here = slice(*np.searchsorted(rows, [first, end]).tolist())
            yield _exported(
                job,
                documents.filter(kept),
                measures.filter(kept),
                edits.slice(first, documents.num_rows).filter(kept),
                decisions["validation"].filter(kept),
                lengths[here],
                clusters[first:end][kept.to_numpy(zero_copy_only=False)],
            )
        first = end


def _cluster_sizes(job: Job, part: int) -> np.ndarray:
    file = need_rows(job, "clusters", [part])[0].file("clusters")
    batches = read_batches(job.storage(), file, columns=["cluster_size"])
    return np.concatenate([np.empty(0, np.uint32), *(batch["cluster_size"].to_numpy() for batch in batches)])


def _exported(
    job: Job,
    documents: pa.RecordBatch,
    measures: pa.RecordBatch,
    edits: pa.ListArray,
    validation: pa.Array,
    tokens: np.ndarray,
    cluster_sizes: np.ndarray,
) -> pa.RecordBatch:
    source = find_source(job, documents["source"][0].as_py())  # a part has one
    arrays = {
        **{name: documents[name] for name in ("source", "url", "date", "title")},
        "id": pa.array([identifier.hex() for identifier in documents["id"].to_pylist()]),
        "licence": pa.array(licences_of(documents, source), pa.string()),
        "language": measures["language"],
        "language_score": pa.array(measures["language_score"].to_numpy() / SCORE_STEPS),
        "text": apply_edits(documents["text"], edits),
        "tokens": pa.array(tokens.astype(np.uint32)),
        "cluster_size": pa.array(cluster_sizes),
        "validation": validation,
    }
    return pa.RecordBatch.from_arrays(
        [arrays[name] for name in SCHEMA.names] + [measures[name] for name in COUNTS],
        names=[*SCHEMA.names, *COUNTS],
    )


def _write_parquet(local: Path, first: pa.RecordBatch, others: Iterator[pa.RecordBatch]) -> int:
    with pq.ParquetWriter(local, first.schema, compression="zstd") as writer:
        rows = 0
        for batch in chain([first], others):
            writer.write_batch(batch, row_group_size=batch.num_rows)
            rows += batch.num_rows
    return rows


def _write_jsonl(local: Path, first: pa.RecordBatch, others: Iterator[pa.RecordBatch]) -> int:
    rows = 0
    # No name and no time in the header: the same documents give the same bytes.
    with local.open("wb") as raw, gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0) as packed:
        for batch in chain([first], others):
            for record in batch.select(SCHEMA.names).to_pylist():
                packed.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
            rows += batch.num_rows
    return rows
