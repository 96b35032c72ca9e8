"""What was taken out of a corpus after the fact (`sluice takedown`): requests by id, URL or domain.

Requests lie in takedown.json in the run's folder and hold for whatever is run there later. A document that
one of them names is decided like any other, and then dropped. So it still stands for its cluster: its
near-duplicates, which say the same, are not promoted, and what was cut out of others because it stood in it
too is not put back. All other documents are packed where they were.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from pipeline.annotate.digests import host_and_rest, url_digests
from pipeline.parts import ContentDigest
from pipeline.phase import Job, Row
from pipeline.plan import TAKEDOWNS
from pipeline.storage import Storage

TAKEDOWN = "takedown"  # the reason in decisions/
NOBODY = -1


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for at one time, each sorted: ids in hex, canonical URLs, domains."""

    ids: tuple[str, ...]
    urls: tuple[str, ...]
    domains: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Named:
    """The number of the first request by what it names."""

    ids: dict[bytes, int]
    urls: dict[bytes, int]  # by their digests
    domains: dict[str, int]


def read_requests(storage: Storage) -> tuple[Request, ...]:
    """The requests in a run's folder, in their order."""
    requests = orjson.loads(storage.read_bytes(TAKEDOWNS) or b"[]")
    return tuple(Request(**{name: tuple(values) for name, values in one.items()}) for one in requests)


def write_requests(storage: Storage, requests: tuple[Request, ...]) -> None:
    """Puts all requests of a run's folder."""
    storage.put_bytes(TAKEDOWNS, orjson.dumps(requests, option=orjson.OPT_INDENT_2))


def has_takedowns(job: Job) -> bool:
    """Whether anything was ever taken down."""
    return TAKEDOWNS in job.hashes


def takedown_columns(job: Job) -> list[str]:
    """The columns of documents/ that `taken_by` looks at, beside the id."""
    return ["url", "url_digest"] if has_takedowns(job) else []


def taken_by(job: Job, documents: pa.RecordBatch) -> np.ndarray:
    """int64 per document: the number of the first request that names it, or NOBODY."""
    taken = np.full(documents.num_rows, NOBODY, np.int64)
    if not has_takedowns(job):
        return taken
    named = _load(job.output, job.hashes[TAKEDOWNS])
    names: list[tuple[dict[Any, int], list[Any]]] = []
    if named.ids:
        names += [(named.ids, [[identifier] for identifier in documents["id"].to_pylist()])]
    if named.urls:
        names += [(named.urls, [[digest] for digest in documents["url_digest"].to_pylist()])]
    if named.domains:
        names += [(named.domains, [domains_of(url or "") for url in documents["url"].to_pylist()])]
    for numbers, of_rows in names:
        for row, keys in enumerate(of_rows):
            for number in [numbers[key] for key in keys if key in numbers]:
                taken[row] = number if taken[row] == NOBODY else min(number, taken[row])
    return taken


def count_taken(job: Job, documents: pa.RecordBatch, counts: Counter[int]) -> None:
    """Adds the documents that are named, by the number of their request."""
    if has_takedowns(job):
        requests = taken_by(job, documents)
        counts.update(requests[requests != NOBODY].tolist())


def domains_of(url: str) -> list[str]:
    """The host of a URL, and every domain that it belongs to."""
    labels = host_and_rest(url)[0].split(".")
    return [".".join(labels[start:]) for start in range(len(labels))]


@lru_cache(maxsize=2)
def _load(output: str, sha256: str) -> _Named:
    storage = Storage.open(output)
    if hashlib.sha256(storage.read_bytes(TAKEDOWNS) or b"").hexdigest() != sha256:
        raise RuntimeError(f"{output}/{TAKEDOWNS} changed while the run was going on: run again")
    named = _Named({}, {}, {})
    for number, request in enumerate(read_requests(storage)):
        for identifier in request.ids:
            named.ids.setdefault(bytes.fromhex(identifier), number)
        for digest in url_digests(pa.array(request.urls, pa.string())).to_pylist():
            named.urls.setdefault(digest, number)
        for domain in request.domains:
            named.domains.setdefault(domain, number)
    return named


# --- what a part of work/encoded remembers of them ----------------------------------------------------------


class Aside:
    """Encoded documents of a part that are not written because they were taken down: of their tokens only the
    number stays, because the dealing of all others rests on it.
    """

    def __init__(self) -> None:
        self._whole = ContentDigest()
        self._source = ""
        self._documents: list[list[Any]] = []

    def set_aside(self, job: Job, documents: pa.RecordBatch, encoded: pa.RecordBatch) -> np.ndarray:
        """bool: which rows of ENCODED stay; `documents`: id, source and `takedown_columns` of the same."""
        if not encoded.num_rows:
            return np.zeros(0, bool)
        self._whole.update(encoded)
        requests = taken_by(job, documents)
        self._source = documents["source"][0].as_py()
        gone = pa.array(requests != NOBODY)
        lengths = encoded["tokens"].value_lengths().filter(gone).to_pylist()
        rows = encoded.select(["id", "row", "validation", "factor", "language"]).filter(gone).to_pylist()
        for row, length, request in zip(rows, lengths, requests[requests != NOBODY].tolist(), strict=True):
            facts = {**row, "id": row["id"].hex()}
            self._documents.append([request, *facts.values(), length])
        return requests == NOBODY

    def notes(self) -> dict[str, Any]:
        """{"taken": {"source", "whole", "documents"}} for the commit row; nothing if nothing was taken."""
        if not self._documents:
            return {}
        whole = self._whole.hexdigest()
        return {"taken": {"source": self._source, "whole": whole, "documents": self._documents}}


def content_before(row: Row) -> str:
    """Content digest of a part of work/encoded as it would be if nothing had been taken down."""
    return row.notes["taken"]["whole"] if "taken" in row.notes else row.file("work/encoded").content
