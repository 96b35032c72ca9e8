"""Which documents a person looks at: as many of every stratum as there are to go round, by keyed hash.

A stratum is what shares a source, a language or a reason (`--by`). Of each, documents come in the order of
keyed_u64(id, seed, "sample"); the sample of n takes the first of every stratum, then the second of every
stratum, and so on (within a round, in the order of the hash). So strata have equal numbers as far as they go,
small ones are there whole, and a larger n holds every smaller sample. Quarantined records, which have no id,
are drawn by the id that their place would give. What was taken down is never drawn.

Parts are streamed: memory holds the first n of each stratum, 16 bytes each, and one batch of small columns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.annotate.digests import document_ids
from pipeline.config import UsageError, nearest
from pipeline.decide.takedowns import TAKEDOWN
from pipeline.kernels.keyed import keyed_u64
from pipeline.parts import read_batches
from pipeline.phase import Job, need_rows

STAGES = ("documents", "kept", "dropped", "quarantine")
STRATA = ("source", "language", "reason")
_DEFAULT_BY = {"documents": ("source", "language"), "kept": ("source", "language")}
_DEFAULT_BY |= dict.fromkeys(("dropped", "quarantine"), ("source", "reason"))
PLACE = ("source", "path", "offset", "index")

_DRAWN = np.dtype([("draw", "<u8"), ("locator", "<u8")])
_SEPARATOR = "\0"


@dataclass(frozen=True, slots=True)
class Drawn:
    """One chosen document or record; `locator` is its part and its row in documents/ or quarantine/."""

    stratum: tuple[str, ...]
    locator: int


def check_sample(stage: str, by: str | None, n: int) -> tuple[str, ...]:
    """The columns of `--by` as a tuple (a stage has its own default); UsageError names the nearest word."""
    if stage not in STAGES:
        raise UsageError(f"--stage {stage!r} is not one of {', '.join(STAGES)}{nearest(stage, STAGES)}")
    if n < 1:
        raise UsageError(f"--n {n}: at least 1 is needed")
    columns = _DEFAULT_BY[stage] if by is None else tuple(name.strip() for name in by.split(","))
    for name in columns:
        if name not in STRATA:
            raise UsageError(f"--by {name!r} is not one of {', '.join(STRATA)}{nearest(name, STRATA)}")
    if len(set(columns)) < len(columns):
        raise UsageError(f"--by {by} names a column twice")
    if stage == "quarantine" and "language" in columns:
        raise UsageError("--by language: records in quarantine were set aside before they had a language")
    return columns


def draw_sample(job: Job, stage: str, by: Sequence[str], n: int, seed: int) -> list[Drawn]:
    """At most n of a stage, ordered by stratum, then by hash."""
    held: dict[str, np.ndarray] = {}
    for part in range(job.parts):
        batches = _quarantined(job, part) if stage == "quarantine" else _decided(job, part, stage)
        for ids, rows, columns in batches:
            drawn = np.empty(len(ids), _DRAWN)
            drawn["draw"] = keyed_u64(ids, seed=seed, tag="sample")
            drawn["locator"] = np.uint64(schema.locator(part, 0)) + rows.astype(np.uint64)
            strata = _strata([columns[name] for name in by])
            codes = strata.indices.to_numpy()
            for code, name in enumerate(strata.dictionary.to_pylist()):
                merged = np.concatenate([held.get(name, drawn[:0]), drawn[codes == code]])
                held[name] = np.sort(merged, order=("draw", "locator"))[:n]
    rounds = [
        (rank, int(entry["draw"]), int(entry["locator"]), name)
        for name, entries in held.items()
        for rank, entry in enumerate(entries)
    ]
    chosen = sorted(rounds)[:n]
    chosen.sort(key=lambda entry: (entry[3], entry[0]))
    return [Drawn(tuple(name.split(_SEPARATOR)), locator) for _, _, locator, name in chosen]


_Candidates = tuple[pa.Array, np.ndarray, dict[str, pa.Array]]  # ids, rows in the part, columns of strata


def _strata(columns: list[pa.Array]) -> pa.DictionaryArray:
    joined = pc.call_function("binary_join_element_wise", [*columns, pa.scalar(_SEPARATOR)])
    return joined.dictionary_encode()


def _decided(job: Job, part: int, stage: str) -> Iterator[_Candidates]:
    """The documents of a part that are of the stage, batch by batch, without their text."""
    wanted = {"documents": ["id", "source"], "measures": ["language"], "decisions": ["kept", "reason"]}
    steps = [
        read_batches(job.storage(), need_rows(job, step, [part])[0].file(step), columns=columns)
        for step, columns in wanted.items()
    ]
    first = 0
    for documents, measures, decisions in zip(*steps, strict=True):
        kept = decisions["kept"].to_numpy(zero_copy_only=False)
        taken = np.asarray(decisions["reason"].to_pylist(), object) == TAKEDOWN
        of_stage = {"documents": ~taken, "kept": kept, "dropped": ~kept & ~taken}[stage]
        rows = np.flatnonzero(of_stage)
        columns = {
            "source": documents["source"],
            "language": measures["language"],
            "reason": decisions["reason"],
        }
        at = pa.array(rows)
        yield documents["id"].take(at), rows + first, {name: c.take(at) for name, c in columns.items()}
        first += documents.num_rows


def _quarantined(job: Job, part: int) -> Iterator[_Candidates]:
    """The records of a part that were set aside."""
    file = need_rows(job, "documents", [part])[0].file("quarantine")
    first = 0
    for batch in read_batches(job.storage(), file, columns=[*PLACE, "reason"]):
        columns = {"source": batch["source"], "reason": batch["reason"]}
        yield place_ids(batch), np.arange(first, first + batch.num_rows), columns
        first += batch.num_rows


def place_ids(records: pa.RecordBatch) -> pa.FixedSizeBinaryArray:
    """The ids that the places of quarantined records (columns PLACE, one source) give."""
    if not records.num_rows:
        return pa.array([], schema.ID)
    nothing = pa.array([""] * records.num_rows, pa.string())
    source = records["source"][0].as_py()  # a part has one
    return document_ids(
        source, records["path"], offsets=records["offset"], indexes=records["index"], source_ids=nothing
    )
