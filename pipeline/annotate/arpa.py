"""ARPA files, the text form of backoff models that lmplz and other toolkits write, to tables (kernels/lm.py).

A model file of ours is one line of JSON, padded with spaces to 4,096 bytes, and the table as it stands in
memory, so that workers map it and share its pages. The line holds the sha256 of the table: a file that is cut
off or changed is refused before any work starts.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pipeline.kernels.lm import (
    BEGIN,
    BUCKET,
    END,
    MAX_BACKOFF,
    MAX_COST,
    UNKNOWN,
    LanguageModel,
    has_ngrams,
    hash_words,
    insert_ngrams,
    open_table,
)
from pipeline.parts import check_sha256
from pipeline.schema import LM_STEPS

FORMAT = "sluice-lm-1"
UNIT = "words-v1"  # of kernels/lm_text.py; another way to cut text is another unit
_HEADER_BYTES = 4_096
_LOAD = 0.75  # of the table: 10.7 bytes for an n-gram
_MAX_ORDER = 6  # as lmplz is built by default
_SALTS = 32


@dataclass(frozen=True, slots=True)
class TableHeader:
    """What the first line of a model file says."""

    format: str
    unit: str
    language: str
    order: int
    ngrams: tuple[int, ...]  # by order
    steps: int  # of a factor of ten in probability
    salt: int
    clipped: int  # probabilities and backoffs beyond what an entry holds
    buckets: int
    sha256: str  # of the table


@dataclass(frozen=True, slots=True)
class _Ngrams:
    words: np.ndarray  # int32 [n, order], places in the vocabulary
    costs: np.ndarray  # uint16 [n]
    backoffs: np.ndarray  # int16 [n]
    clipped: int


def compile_arpa(arpa: Path, target: Path, *, language: str) -> TableHeader:
    """Writes the table of an ARPA file; ValueError for a file that is none, or that no table can hold."""
    vocabulary, orders = read_arpa(arpa)
    entries = sum(len(ngrams.words) for ngrams in orders)
    buckets = int(entries / _LOAD) // BUCKET + 1
    for salt in range(_SALTS):
        hashes = hash_words(vocabulary, salt=salt)
        table = np.zeros(buckets * BUCKET, np.uint64)
        if not sum(insert_ngrams(table, hashes, n.words, n.costs, n.backoffs) for n in orders):
            break
    else:
        raise ValueError(f"{arpa} has {entries:,} n-grams, too many for 32 bits: give it to KenLM instead")
    for shorter in orders[1:]:
        for part in (shorter.words[:, 1:], shorter.words[:, :-1]):
            if not has_ngrams(table, hashes, part).all():
                raise ValueError(
                    f"{arpa} has n-grams without their beginnings or ends (SRILM prunes so): make a binary "
                    "of it with KenLM's build_binary, and name that in the recipe"
                )
    header = TableHeader(
        FORMAT,
        UNIT,
        language,
        len(orders),
        tuple(len(ngrams.words) for ngrams in orders),
        LM_STEPS,
        salt,
        sum(ngrams.clipped for ngrams in orders),
        buckets,
        hashlib.sha256(table.data).hexdigest(),
    )
    line = json.dumps(asdict(header), sort_keys=True).encode().ljust(_HEADER_BYTES - 1) + b"\n"
    target.write_bytes(line + table.tobytes())
    return header


def read_header(path: Path) -> TableHeader:
    """The first line of a model file, whose table is then known to be whole; ValueError if it is not."""
    with path.open("rb") as file:
        first = file.read(_HEADER_BYTES)
        try:
            tree = json.loads(first)
            header = TableHeader(**{**tree, "ngrams": tuple(tree["ngrams"])})
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path} is no language model of ours ({FORMAT})") from error
        if (header.format, header.unit, header.steps) != (FORMAT, UNIT, LM_STEPS):
            raise ValueError(
                f"{path} is of format {header.format!r} with unit {header.unit!r}, and this version reads "
                f"{FORMAT!r} with {UNIT!r}: train it again"
            )
        size, found = path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
    wanted = _HEADER_BYTES + header.buckets * BUCKET * 8
    if size != wanted or found != header.sha256:
        raise ValueError(
            f"{path} is damaged: {size:,} bytes of {wanted:,}, and its table has sha256 {found}, not "
            f"{header.sha256}"
        )
    return header


@lru_cache(maxsize=8)
def open_model(path: Path, sha256: str) -> LanguageModel:
    """The model of a file whose sha256 is as given, mapped into memory. Raises ValueError if it is not."""
    check_sha256(path, sha256, "language model")
    header = read_header(path)
    table = np.memmap(path, np.uint64, "r", offset=_HEADER_BYTES)
    return open_table(np.asarray(table), order=header.order, salt=header.salt)


# --- reading ARPA -------------------------------------------------------------------------------------------


def read_arpa(path: Path) -> tuple[list[bytes], list[_Ngrams]]:
    """(words, n-grams of order 1, 2, ...), costs in steps; ValueError, which names the line, for what is no
    ARPA file. Takes about 2 s for a million n-grams.
    """
    with path.open("rb") as file:
        lines = _Lines(path, file)
        if lines.next() != b"\\data\\":
            raise lines.error("it does not begin with \\data\\")
        counts = []
        while (line := lines.next()).startswith(b"ngram "):
            counts.append(int(line.partition(b"=")[2]))
        if not 0 < len(counts) <= _MAX_ORDER:
            raise lines.error(f"it has {len(counts)} orders of n-grams, not 1 to {_MAX_ORDER}")
        places: dict[bytes, int] = {}
        orders = []
        for order, count in enumerate(counts, start=1):
            if line != b"\\%d-grams:" % order:
                raise lines.error(f"\\{order}-grams: was expected")
            orders.append(_read_order(lines, order, count, order == len(counts), places))
            line = lines.next()
        if line != b"\\end\\":
            raise lines.error("\\end\\ was expected")
    missing = [mark.decode() for mark in (BEGIN, END, UNKNOWN) if mark not in places]
    if missing:
        raise ValueError(f"{path} has no {' and no '.join(missing)}")
    return list(places), orders


class _Lines:
    """Lines of a file that are not empty, and where they are."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._lines, self._number = path, iter(file), 0

    def next(self) -> bytes:
        """The next line without white space around it; b"" at the end of the file."""
        for line in self._lines:
            self._number += 1
            if line := line.strip(b" \t\r\n"):
                return line
        return b""

    def rows(self, count: int) -> Iterator[list[bytes]]:
        """The fields of the next lines."""
        for _ in range(count):
            yield self.next().split()

    def error(self, why: str) -> ValueError:
        return ValueError(f"{self._path} is no ARPA file: line {self._number:,}: {why}")


def _read_order(lines: _Lines, order: int, count: int, last: bool, places: dict[bytes, int]) -> _Ngrams:
    words = np.empty((count, order), np.int32)
    values = np.zeros((count, 2))
    try:
        for row, fields in enumerate(lines.rows(count)):
            if order == 1:
                places[fields[1]] = row
            if not order + 1 <= len(fields) <= order + 2 - last:
                raise lines.error(f"{len(fields)} fields for an n-gram of {order} words")
            words[row] = [places[word] for word in fields[1 : order + 1]]
            values[row] = float(fields[0]), float(fields[order + 1]) if len(fields) > order + 1 else 0.0
    except (KeyError, IndexError, ValueError) as error:
        raise error if "ARPA" in str(error) else lines.error(f"not understood: {error}") from error
    if order == 1 and len(places) < count:
        raise lines.error("a word comes twice")
    if not np.isfinite(values).all():
        raise lines.error(f"an infinite probability among the {order}-grams")
    steps = np.rint(-values * LM_STEPS)
    if BEGIN in places and order == 1:
        steps[places[BEGIN], 0] = 0  # never predicted; toolkits write -99 or 0
    costs, backoffs = np.clip(steps[:, 0], 0, MAX_COST), np.clip(steps[:, 1], -MAX_BACKOFF, MAX_BACKOFF)
    clipped = int(np.count_nonzero(costs != steps[:, 0]) + np.count_nonzero(backoffs != steps[:, 1]))
    return _Ngrams(words, costs.astype(np.uint16), backoffs.astype(np.int16), clipped)
