"""A finished run, opened again: its job from plan.json, and single documents out of its parts.

Nothing is listed or scanned: a document is found through the index partition of its key, and its facts by the
few row groups of its own part that hold them. Every function opens at most one file besides commit rows.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config import UsageError
from pipeline.dedup.candidates import FAMILIES
from pipeline.phase import Job, load_plan, need_rows
from pipeline.plan import TAKEDOWNS, Plan
from pipeline.recipe_file import recipe_from_tree
from pipeline.storage import Storage

_LOW_32 = 0xFFFFFFFF


def open_run(output: str) -> Job:
    """The job of a finished run; FileNotFoundError without a run, LookupError where one is not finished."""
    storage = Storage.open(output)
    tree = load_plan(storage)
    manifest = storage.read_json("MANIFEST.json") or {}
    taken = manifest.get("environment", {}).get("files", {}).get(TAKEDOWNS)
    if not is_finished(storage, tree) or taken != tree["hashes"].get(TAKEDOWNS):
        raise UsageError(
            f"the run in {output} is not finished: `sluice run` with the same --output goes on with it"
        )
    return open_planned(output)


def is_finished(storage: Storage, plan: dict[str, Any]) -> bool:
    """Whether a plan was run to its end, whatever has to be taken down since."""
    return _planned(storage.read_json("MANIFEST.json") or {}) == _planned(plan)


def open_planned(output: str) -> Job:
    """The job of a run that has been planned, however far it got; FileNotFoundError without one."""
    tree = load_plan(Storage.open(output))
    splits = tuple(orjson.dumps(split) for split in tree["splits"])
    return Plan(recipe_from_tree(tree["recipe"]), tree["hashes"], (), splits).job(
        output, accept_missing=False
    )


def _planned(tree: dict[str, Any]) -> tuple[Any, list[Any]]:
    """What a plan and the manifest of its finished run have in common."""
    return tree.get("recipe"), [
        (entry["source"], entry["path"], entry["identity"]) for entry in tree.get("inputs", ())
    ]


def read_manifest(job: Job) -> dict[str, Any]:
    """MANIFEST.json of a finished run."""
    return job.storage().read_json("MANIFEST.json") or {}


def split_locator(locator: int) -> tuple[int, int]:
    """(part, row) of a document."""
    return locator >> 32, locator & _LOW_32


def find_locators(job: Job, family: str, key: bytes) -> list[int]:
    """Sorted locators of the documents with a 16-byte key; by one partition of index/id or index/url."""
    partition = (int.from_bytes(key[:8], "big") >> 32) % job.partitions  # as candidates.py deals
    number = FAMILIES.index(family) * job.partitions + partition
    file = need_rows(job, "work/candidates", [number])[0].file(f"index/{family}")
    found: list[int] = []
    with job.storage().open_input(file.name) as source:
        index = pq.ParquetFile(source)
        for group in range(index.num_row_groups):
            limits = index.metadata.row_group(group).column(0).statistics
            if limits is None or not limits.has_min_max or limits.min <= key <= limits.max:
                rows = index.read_row_group(group, use_threads=False)
                found += rows.filter(pc.field("key") == pa.scalar(key, pa.binary(16)))["locator"].to_pylist()
    return sorted(found)


def read_document(job: Job, step: str, locator: int, columns: Sequence[str] | None = None) -> pa.RecordBatch:
    """One row of a per-part step, as a batch of one; only the row group that holds it is read."""
    part, row = split_locator(locator)
    file = need_rows(job, step, [part])[0].file(step)
    with job.storage().open_input(file.name) as source:
        parquet = pq.ParquetFile(source)
        first = 0
        for group in range(parquet.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            if row < first + rows:
                table = parquet.read_row_group(group, columns=columns, use_threads=False)
                return table.slice(row - first, 1).combine_chunks().to_batches()[0]
            first += rows
    raise UsageError(f"{file.name} has {first:,} rows, no row {row:,}: it is damaged")


def encoded_lengths(job: Job, part: int, *, taken: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(rows uint32, lengths int64): the kept rows of a part in order, and the tokens of each; with `taken`,
    also those that were taken down since.
    """
    (encoded,) = need_rows(job, "work/encoded", [part])
    file = encoded.file("work/encoded")
    aside = encoded.notes.get("taken", {}).get("documents", ()) if taken else ()
    rows = [np.array([document[2] for document in aside], np.uint32)]
    lengths = [np.array([document[-1] for document in aside], np.int64)]
    with job.storage().open_input(file.name) as source:
        parquet = pq.ParquetFile(source)
        for group in range(parquet.num_row_groups):
            table = parquet.read_row_group(group, columns=["row", "tokens"], use_threads=False)
            rows.append(table["row"].to_numpy())
            lengths += [chunk.value_lengths().to_numpy().astype(np.int64) for chunk in table["tokens"].chunks]
    whole = np.concatenate(rows)
    order = np.argsort(whole)
    return whole[order], np.concatenate(lengths)[order]
