"""Earlier runs as an index: their documents take part in finding duplicates, and stay as they are.

A finished run is an index as it lies there: digests in documents/, signatures in work/signatures, clusters
and decisions. Its documents get part numbers behind those of this run (in the order of
`deduplicate.against`), so that a locator names a document of any of them. Nothing is ever written into it.

Every file of an earlier run is checked against the sha256 in its commit row when it is read, because nobody
watches over it any more.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import RecipeError
from pipeline.phase import Job, Row, fingerprint, need_rows
from pipeline.plan import Plan
from pipeline.recipe_file import recipe_from_tree
from pipeline.storage import Storage

STEPS = ("documents", "work/signatures", "clusters", "decisions")
# What may differ between a run and those it is deduplicated against: how components are found, not which.
_FREE = ("components", "rounds", "against")


class DamagedIndex(RuntimeError):
    """A file of an earlier run is not what its commit row says."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """A finished run; its part p is part `first` + p here. `clustered`: parts of its clusters/ (more than its
    own, if it was itself deduplicated against others).
    """

    job: Job
    first: int
    clustered: int
    content: str  # fingerprint of all that is read of it


def earlier_runs(job: Job) -> tuple[Earlier, ...]:
    """The runs that `deduplicate.against` names, in their order."""
    return _open_all(job.recipe.deduplicate.against, job.parts)


@lru_cache(maxsize=8)
def _open_all(folders: tuple[str, ...], parts: int) -> tuple[Earlier, ...]:
    found: list[Earlier] = []
    for folder in folders:
        job = _open(folder)
        rows = {step: need_rows(job, step, range(job.parts)) for step in STEPS}
        clustered = _check_chain(folder, job, [run.job.output for run in found], found)
        rows["clusters"] = need_rows(job, "clusters", range(clustered))
        _check_files(folder, job, rows)
        content = fingerprint([(step, [row.content for row in rows[step]]) for step in STEPS])
        found.append(Earlier(job, parts, clustered, content))
        parts += job.parts
    return tuple(found)


def _open(folder: str) -> Job:
    storage = Storage.open(folder)
    plan, manifest = storage.read_json("plan.json"), storage.read_json("MANIFEST.json")
    if plan is None or manifest is None:
        what = "plan.json" if plan is None else "MANIFEST.json"
        raise RecipeError(f"deduplicate.against: {folder} holds no finished run: there is no {what} in it")
    if manifest.get("recipe") != plan["recipe"] or not manifest.get("balanced"):
        raise RecipeError(f"deduplicate.against: the run in {folder} is not finished, or does not balance")
    splits = tuple(orjson.dumps(split) for split in plan["splits"])
    return Plan(recipe_from_tree(plan["recipe"]), plan["hashes"], (), splits).job(
        folder, accept_missing=False
    )


def _check_chain(folder: str, job: Job, before: list[str], found: list[Earlier]) -> int:
    """Parts of the clusters/ of a run; RecipeError if it knows runs that do not come before it here."""
    against = job.recipe.deduplicate.against
    if missing := [other for other in against if other not in before]:
        raise RecipeError(
            f"deduplicate.against: {folder} was itself deduplicated against {', '.join(missing)}: name that "
            "before it, or its duplicates there would not be known"
        )
    known = {run.job.output: run.job.parts for run in found}
    return job.parts + sum(known[other] for other in against)


def _check_files(folder: str, job: Job, rows: dict[str, list[Row]]) -> None:
    for of_step in rows.values():
        for row in of_step:
            for file in row.files:
                size = job.storage().size(file.name)
                if size != file.bytes:
                    there = "is missing" if size is None else f"has {size:,} bytes instead of {file.bytes:,}"
                    raise RecipeError(
                        f"deduplicate.against: {folder} cannot serve as an index: {file.name} {there}"
                    )


def check_earlier(job: Job) -> None:
    """Raises RecipeError if an earlier run is not finished, not whole, or was made with other parameters."""
    _open_all.cache_clear()  # what lies there now counts
    own = job.recipe
    for run in earlier_runs(job):
        theirs = run.job.recipe
        for table in ("minhash", "deduplicate"):
            ours, other = asdict(getattr(own, table)), asdict(getattr(theirs, table))
            for key, value in ours.items():
                if key not in (*_FREE, "preset") and other[key] != value:
                    raise RecipeError(
                        f"deduplicate.against: {run.job.output} was made with {table}.{key} = "
                        f"{other[key]!r}, this recipe has {value!r}: duplicates between them could not be "
                        "found. Use its value, or run it again with yours"
                    )
        if "tokens" in (own.minhash.unit, theirs.minhash.unit):
            names = [recipe.pack.vocabulary for recipe in (own, theirs)]
            if job.hashes[names[0]] != run.job.hashes[names[1]]:
                raise RecipeError(
                    f"deduplicate.against: {run.job.output} signed tokens of another vocabulary ({names[1]})"
                )


def rows_of_parts(job: Job) -> np.ndarray:
    """int64: documents of every part of this run, then of the earlier ones."""
    jobs = [job, *(run.job for run in earlier_runs(job))]
    rows = [row for one in jobs for row in need_rows(one, "documents", range(one.parts))]
    return np.array([row.file("documents").rows for row in rows], np.int64)


def whose_part(job: Job, part: int) -> tuple[Job, int, int]:
    """(run, its own part number, its rank in time) of a part as it is numbered here; this run is the last."""
    if part < job.parts:
        return job, part, len(job.recipe.deduplicate.against)
    runs = earlier_runs(job)
    for rank, run in enumerate(runs):
        if run.first <= part < run.first + run.job.parts:
            return run.job, part - run.first, rank
    raise IndexError(f"part {part} is in none of the runs")


def all_parts(job: Job) -> range:
    """Numbers of all parts, those of earlier runs last."""
    runs = earlier_runs(job)
    return range(runs[-1].first + runs[-1].job.parts if runs else job.parts)


def renumbered(job: Job, part: int, locators: np.ndarray) -> np.ndarray:
    """Locators as the earlier run of `part` writes them, as this run numbers them."""
    its, _, rank = whose_part(job, part)
    runs = earlier_runs(job)
    first = {run.job.output: run.first for run in runs}
    numbers = [runs[rank].first + np.arange(its.parts)]
    for other in its.recipe.deduplicate.against:
        parts = next(run.job.parts for run in runs if run.job.output == other)
        numbers.append(first[other] + np.arange(parts))
    table = np.concatenate(numbers).astype(np.uint64)
    return table[(locators >> np.uint64(32)).astype(np.int64)] << np.uint64(32) | (
        locators & np.uint64(0xFFFFFFFF)
    )


def part_batches(
    job: Job, part: int, step: str, columns: list[str], *, number: int | None = None
) -> Iterator[pa.RecordBatch]:
    """Row groups of a part of any run, as `read_batches` gives them; an earlier run's file is checked first.

    `number` reads another part of the run that `part` belongs to, as that run numbers it. DamagedIndex if the
    file's sha256 is not that of its commit row.
    """
    with _open_part(job, part, step, number) as parquet:
        for group in range(parquet.num_row_groups):
            yield from _read_group(parquet, group, columns)


def chosen_rows(
    job: Job, part: int, step: str, column: str, rows: np.ndarray
) -> Iterator[tuple[np.ndarray, pa.Array]]:
    """(some of `rows`, their values of a column) by row group; groups without one of them are not read.

    `rows` are numbers within the part, sorted and distinct. Raises as `part_batches` does.
    """
    with _open_part(job, part, step) as parquet:
        start = 0
        for group in range(parquet.num_row_groups):
            stop = start + parquet.metadata.row_group(group).num_rows
            here = rows[slice(*np.searchsorted(rows, [start, stop]))]
            if len(here):
                values = pa.concat_arrays([b[0] for b in _read_group(parquet, group, [column])])
                yield here, values.take(pa.array(here - start))
            start = stop


def _read_group(parquet: pq.ParquetFile, group: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
    table = parquet.read_row_group(group, columns=columns, use_threads=False).combine_chunks()
    yield from table.select(columns).to_batches()


@contextmanager
def _open_part(job: Job, part: int, step: str, number: int | None = None) -> Iterator[pq.ParquetFile]:
    own, own_number, _ = whose_part(job, part)
    file = need_rows(own, step, [own_number if number is None else number])[0].file(step)
    with own.storage().open_input(file.name) as source:
        whole: Any = source
        if own is not job:
            content = source.read()
            if hashlib.sha256(content).hexdigest() != file.sha256:
                raise DamagedIndex(
                    f"{file.name} of the earlier run in {own.output} is damaged: its sha256 is not that of "
                    "its commit row. Restore it, or run that recipe again in its folder"
                )
            whole = pa.BufferReader(content)
        yield pq.ParquetFile(whole)
