"""What is told about each document of a sample: where it is from, what was decided and why, its text before
and after its edits.

Only the row groups that hold a chosen document are read. Text before its edits is not masked: files are
made for their owner alone.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import schema
from pipeline.config import UsageError
from pipeline.decide.edits import apply_edits
from pipeline.decide.provenance import licences_of
from pipeline.decide.repeats_step import edits_of_part
from pipeline.decide.thresholds import cuts_questions
from pipeline.parts import PartFile
from pipeline.phase import Job, need_rows
from pipeline.report.explain import explain_rules, find_source
from pipeline.report.export import COUNTS
from pipeline.report.run_folder import split_locator
from pipeline.report.sample import Drawn, place_ids

EDITED = ("before", "after", "both")
_EXCERPT_BYTES = 16_000  # of a quarantined record, decoded
_NO_TEXT = 0.25  # share of characters that are none, above which bytes are shown as such
_SHOWN_BYTES = 32

_RULE = pa.struct([(name, pa.string()) for name in ("rule", "of", "value", "threshold")])
_DOCUMENT = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "source", "language", "url", "licence")),
        ("language_score", pa.float64()),
        ("kept", pa.bool_()),
        ("validation", pa.bool_()),
        ("reason", pa.string()),
        ("failing", pa.list_(_RULE)),  # all failing rules; value = "numerator/denominator" or words
        ("measures", pa.struct([(name, pa.uint32()) for name in COUNTS])),
        ("cluster_size", pa.uint32()),
        ("text", pa.string()),  # before its edits
        ("edited", pa.string()),  # after them
    ]
)
_QUARANTINED = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "source", "path", "url")),
        ("offset", pa.uint64()),
        ("index", pa.uint32()),
        ("kept", pa.bool_()),
        *((name, pa.string()) for name in ("stage", "reason", "detail", "media", "text")),
    ]
)


def read_sample(job: Job, stage: str, drawn: Sequence[Drawn], edited: str) -> list[dict[str, Any]]:
    """A row per chosen document, in their order; `edited` (of EDITED) says which texts it has."""
    if edited not in EDITED:
        raise UsageError(f"--edited {edited!r} is not one of {', '.join(EDITED)}")
    rows: dict[int, list[int]] = defaultdict(list)
    for one in drawn:
        part, row = split_locator(one.locator)
        rows[part].append(row)
    found: dict[int, dict[str, Any]] = {}
    for part, of_part in sorted(rows.items()):
        wanted = sorted(of_part)
        told = _quarantined(job, part, wanted) if stage == "quarantine" else _documents(job, part, wanted)
        for row, one in zip(wanted, told, strict=True):
            for text, left_out in (("text", "after"), ("edited", "before")):
                if edited == left_out and stage != "quarantine":
                    one.pop(text)
            found[schema.locator(part, row)] = one
    return [found[one.locator] for one in drawn]


def _documents(job: Job, part: int, rows: list[int]) -> Iterator[dict[str, Any]]:
    steps = ("documents", "measures", "decisions", "clusters")
    documents, measures, decisions, clusters = (
        _take_rows(job, need_rows(job, step, [part])[0].file(step), rows) for step in steps
    )
    edits = measures["edits"]
    if job.recipe.decide.repeated != "none" or cuts_questions(job.recipe.decontaminate):
        edits = edits_of_part(job, part).take(pa.array(rows))
    edited = apply_edits(documents["text"], edits).to_pylist()
    source = find_source(job, documents["source"][0].as_py())
    licences = licences_of(documents, source)
    for at in range(len(rows)):
        document, measure = documents.slice(at, 1).to_pylist()[0], measures.slice(at, 1)
        counts, decision = measure.to_pylist()[0], decisions.slice(at, 1).to_pylist()[0]
        rules = explain_rules(job, source, documents.slice(at, 1), measure)
        yield {
            "id": document["id"].hex(),
            "source": document["source"],
            "language": counts["language"],
            "url": document["url"],
            "licence": licences[at],
            "language_score": counts["language_score"] / schema.SCORE_STEPS,
            **{name: decision[name] for name in ("kept", "validation", "reason")},
            "failing": [_failing(rule) for rule in rules if not rule["passes"]],
            "measures": {name: counts[name] for name in COUNTS},
            "cluster_size": clusters["cluster_size"][at].as_py(),
            "text": document["text"],
            "edited": edited[at],
        }


def _failing(rule: dict[str, Any]) -> dict[str, str]:
    """The exact value and the threshold as the recipe writes it."""
    value, limit = rule["value"], rule["threshold"]
    return {
        "rule": rule["rule"],
        "of": rule["of"],
        "value": value if isinstance(value, str) else f"{value[0]}/{value[1]}",
        "threshold": ", ".join(limit) if isinstance(limit, list) else str(limit),
    }


def _quarantined(job: Job, part: int, rows: list[int]) -> Iterator[dict[str, Any]]:
    records = _take_rows(job, need_rows(job, "documents", [part])[0].file("quarantine"), rows)
    for identifier, record in zip(place_ids(records).to_pylist(), records.to_pylist(), strict=True):
        text = decode_excerpt(record["raw"])
        row = {**record, "id": identifier.hex(), "kept": False, "text": text}
        yield {name: row[name] for name in _QUARANTINED.names}


def decode_excerpt(raw: bytes) -> str:
    """The beginning of a record as text, or, where it is none, how many bytes it has and the first ones."""
    text = raw[:_EXCERPT_BYTES].decode("utf-8", "replace")
    strange = sum(
        character == "\ufffd" or (character < " " and character not in "\t\r\n") for character in text
    )
    if strange > _NO_TEXT * len(text):
        return f"{len(raw):,} bytes that are no text: {raw[:_SHOWN_BYTES].hex(' ')}"
    return text


def _take_rows(job: Job, file: PartFile, rows: list[int]) -> pa.RecordBatch:
    """These rows (ascending) of a part as one batch."""
    found, first = [], 0
    with job.storage().open_input(file.name) as source:
        parquet = pq.ParquetFile(source)
        for group in range(parquet.num_row_groups):
            end = first + parquet.metadata.row_group(group).num_rows
            here = [row - first for row in rows if first <= row < end]
            if here:
                found.append(parquet.read_row_group(group, use_threads=False).take(pa.array(here)))
            first = end
    return pa.concat_tables(found).combine_chunks().to_batches()[0]


def write_sample(path: Path, rows: list[dict[str, Any]], stage: str, format: str) -> None:
    """Writes JSONL or Parquet, readable for its owner alone (mode 0600) from its first byte on."""
    whole = _QUARANTINED if stage == "quarantine" else _DOCUMENT
    names = [name for name in whole.names if not rows or name in rows[0]]
    with open_private(path) as file:
        if format == "parquet":
            table = pa.Table.from_pylist(rows, pa.schema([whole.field(name) for name in names]))
            pq.write_table(table, file, compression="zstd")
        else:
            for row in rows:
                file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))


def open_private(path: Path) -> Any:
    """A file for writing bytes, emptied, with mode 0600 even if it was there with another."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except IsADirectoryError as error:
        raise UsageError(f"--output {path} is a folder: give a file") from error
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "wb")


def as_printed(row: dict[str, Any]) -> str:
    """One line of JSON in ASCII: nothing in it can steer a terminal."""
    return json.dumps(row, ensure_ascii=True)
