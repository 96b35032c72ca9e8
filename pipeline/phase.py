"""From a piece of work to a committed part: fingerprint, scratch, put, commit row; and skipping what is done.

A part is a pure function of its input. Its files are finished in scratch, put once under names that hold a
hash of their content, and then its commit row (`work/rows/STEP/00017.json`) is put. The row is the commit:
readers open only what rows name, a rerun skips what has a row with the right fingerprint, everything else in
the folder is an orphan.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pipeline.config import Recipe
from pipeline.ledger import Count, Entry
from pipeline.parts import FinishedFile, PartFile
from pipeline.storage import Storage

_READERS = 32  # parallel reads of small rows: an object store answers in 20 ms
_FEW = 64  # rows on local disk that are read one after the other: starting a thread takes as long as a row


@dataclass(frozen=True, slots=True)
class Job:
    """What every piece of work of a run knows; travels to the workers."""

    output: str
    recipe: Recipe
    hashes: Mapping[str, str]  # sha256 of model and vocabulary files, by their name in the recipe
    parts: int  # number of splits in the plan = number of parts of every per-part step
    partitions: int  # of each packed shuffle
    accept_missing: bool = False  # unreadable splits become empty parts, with a reason in the ledger

    def storage(self) -> Storage:
        return _open_storage(self.output)


@lru_cache(maxsize=4)
def _open_storage(output: str) -> Storage:
    return Storage.open(output)


@dataclass(frozen=True, slots=True)
class Row:
    """A commit row; `number` is the part, partition or shard within its step."""

    step: str
    number: int
    fingerprint: str
    files: tuple[PartFile, ...]
    ledger: tuple[Entry, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)  # small facts that later steps read

    @property
    def content(self) -> str:
        """Digest of the content of all files and notes: what downstream fingerprints are made of."""
        return fingerprint(*(file.content for file in self.files), notes=self.notes)

    def file(self, folder: str) -> PartFile:
        """The one file of this row that lies in a folder."""
        return next(file for file in self.files if file.name.startswith(f"{folder}/"))


# A keyed function over packed rows, the only shape of work that a runner sees: (job, key, payload, blocks of
# rows). `payload` is what the plan (or `keys`) gave for the key, b"" if nothing.
Scatter = Callable[[Job, int, bytes, Iterable[bytes]], Iterator[tuple[int, bytes]]]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a phase. `plan` yields the work that is left, as (key, payload), at run time on a worker.

    With `scatters`, packed rows go through one shuffle per function before `finish`, and `keys` yields (key,
    payload) for every key that must be finished, also those that no row reaches. `finish` commits.
    """

    name: str
    plan: Callable[[Job], Iterable[tuple[int, bytes]]]
    finish: Callable[[Job, int, bytes, Iterable[bytes]], None]
    scatters: tuple[Scatter, ...] = ()
    keys: Callable[[Job], Iterable[tuple[int, bytes]]] | None = None


def fingerprint(*values: Any, **named: Any) -> str:
    """128-bit digest of JSON-able values; dataclasses count by their fields."""
    text = json.dumps(
        [values, named], sort_keys=True, default=_plain, ensure_ascii=True, separators=(",", ":")
    )
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"cannot fingerprint {type(value).__name__}")


def load_plan(storage: Storage) -> dict[str, Any]:
    """plan.json of a run; FileNotFoundError if there was none."""
    plan = storage.read_json("plan.json")
    if plan is None:
        raise FileNotFoundError(f"{storage.root} holds no run: there is no plan.json in it")
    return plan


def row_name(step: str, number: int) -> str:
    """Where a commit row lies."""
    return f"{step}/part-{number:05d}.json"


def read_row(job: Job, step: str, number: int) -> Row | None:
    """The commit row of a part; None if there is none or its put was interrupted."""
    text = job.storage().read_bytes(row_name(step, number))
    if text is None:
        return None
    try:
        tree = json.loads(text)
        if tree.pop("check") != fingerprint(tree):
            return None
        tree["files"] = tuple(PartFile(**file) for file in tree["files"])
        tree["ledger"] = tuple(Entry(**entry) for entry in tree["ledger"])
        return Row(**tree)
    except (ValueError, KeyError, TypeError):
        return None  # half a row is no row: the part is made again


def read_rows(job: Job, step: str, numbers: Iterable[int]) -> list[Row | None]:
    """Commit rows of many parts, read in parallel, in the order asked for."""
    numbers = list(numbers)
    if len(numbers) <= _FEW and job.storage().local_root is not None:
        return [read_row(job, step, number) for number in numbers]
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(lambda number: read_row(job, step, number), numbers))


class Incomplete(RuntimeError):
    """A step was asked for before the steps that it builds on have committed everything."""


def need_rows(job: Job, step: str, numbers: Iterable[int]) -> list[Row]:
    """As read_rows, where a missing row means that an earlier step did not finish."""
    numbers = list(numbers)
    rows = read_rows(job, step, numbers)
    missing = [number for number, row in zip(numbers, rows, strict=True) if row is None]
    if missing:
        raise Incomplete(f"step {step} is not complete: no commit row for parts {missing[:10]}; run it first")
    return [row for row in rows if row is not None]


def is_done(job: Job, row: Row | None, wanted: str) -> bool:
    """True if a row has the wanted fingerprint and its files are there in full size."""
    return (
        row is not None
        and row.fingerprint == wanted
        and all(job.storage().size(file.name) == file.bytes for file in row.files)
    )


def commit(
    job: Job,
    step: str,
    number: int,
    *,
    made_of: str,
    files: Sequence[FinishedFile],
    count: Count,
    notes: Mapping[str, Any] | None = None,
) -> Row:
    """Puts the finished files of a part, then its row with the fingerprint `made_of`; doing it twice changes
    nothing.
    """
    storage = job.storage()
    for file in files:
        storage.put_file(file.local, file.part.name)
    parts = tuple(file.part for file in files)
    row = Row(step, number, made_of, parts, count.entries(), notes or {})
    write_row(job, row)
    return row


def write_row(job: Job, row: Row) -> None:
    """Puts a commit row; its own digest tells a whole row from an interrupted put."""
    tree = json.loads(json.dumps(dataclasses.asdict(row), default=_plain))
    tree["check"] = fingerprint(tree)
    job.storage().put_bytes(
        row_name(row.step, row.number), json.dumps(tree, indent=1, sort_keys=True).encode()
    )
