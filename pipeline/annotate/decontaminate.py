"""Test questions in documents: n-grams that a document shares with the recipe's evaluation sets.

GPT-3 (Brown et al. 2020, appendix C) and the Qwen report take 13-grams of words without case and punctuation.
What differs from Brown et al.: nothing around a match is cut with it (they cut 200 characters), and n-grams
that very many documents share are not told from leaked questions (they spare those in more than 10
documents): the report names the examples that most documents hit, where boilerplate is seen.

Each text of an example (a field, or a choice in a list) has n-grams of its own, since what stands between
question and answer differs from page to page. A text with fewer words than an n-gram is matched as a whole,
or, by default, not at all: eight Chinese characters are a phrase. Examples of which no text can be matched
are counted as too short.

The index is made once, by the driver, and lies in the run's folder; workers map it into memory.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import schema
from pipeline.annotate.evaluation_files import Example, read_examples
from pipeline.annotate.splits import InputFile
from pipeline.config import Decontaminate
from pipeline.kernels.buffers import read_only
from pipeline.kernels.ngrams import NgramIndex, build_index, find_ngrams, list_ngrams
from pipeline.storage import Storage

HASH_NAME = "decontaminate.sets"  # of the index among a job's hashes
_INDEX_VERSION = 1
_EXAMPLES_AT_ONCE = 10_000
_PLACE_BITS = np.int64(33)  # offsets are uint32


class EvaluationIndex(NamedTuple):
    """The n-grams of all sets and whose they are: n-gram i stands in the examples
    `examples[examples_from[i]:examples_from[i + 1]]`. Examples are numbered through all sets; each has its
    set, the number of its file in it, and its line. `set_ngrams`, `set_short`: by set, distinct n-grams, and
    examples without any.
    """

    ngrams: NgramIndex
    examples_from: NDArray[np.uint32]
    examples: NDArray[np.uint32]
    set_of: NDArray[np.uint16]
    file_of: NDArray[np.uint32]
    line_of: NDArray[np.uint32]
    set_ngrams: NDArray[np.int64]
    set_short: NDArray[np.int64]


class Overlaps(NamedTuple):
    """What a batch shares with the sets: `hits` (uint32) and `spans` (schema.TEST_SPANS) of each document,
    and `found`: (row in the batch, key) of every n-gram (schema.OVERLAPS).
    """

    hits: pa.Array
    spans: pa.Array
    found: pa.RecordBatch


# --- the index ----------------------------------------------------------------------------------------------


def index_sets(decontaminate: Decontaminate, files: Mapping[str, Sequence[InputFile]]) -> EvaluationIndex:
    """The index of all sets, from their files by the name of the set; RecipeError for what cannot be read."""
    keys, words, examples = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    columns: tuple[list[int], ...] = ([], [], [])
    for number, of_set in enumerate(decontaminate.sets):
        read = read_examples(of_set, files[of_set.name])
        while chunk := list(islice(read, _EXAMPLES_AT_ONCE)):
            first = len(columns[0])
            for column, values in zip(columns, _columns(number, chunk), strict=True):
                column += values
            owners = np.repeat(np.arange(first, first + len(chunk)), [len(e.texts) for e in chunk])
            texts = pa.array([text for example in chunk for text in example.texts], pa.large_string())
            rows, lengths, found = list_ngrams(
                texts, width=decontaminate.ngram, whole_from=decontaminate.whole_from
            )
            keys.append(found)
            words.append(lengths)
            examples.append(owners[rows])
    joined = np.concatenate(keys), np.concatenate(words), np.concatenate(examples)
    return _join_sets(*joined, np.array(columns[0], np.uint16), columns[1], columns[2])


def _columns(number: int, chunk: Sequence[Example]) -> tuple[list[int], ...]:
    return [number] * len(chunk), [example.file for example in chunk], [example.line for example in chunk]


def _join_sets(
    keys: np.ndarray,
    words: np.ndarray,
    examples: np.ndarray,
    set_of: np.ndarray,
    file_of: Sequence[int],
    line_of: Sequence[int],
) -> EvaluationIndex:
    order = np.lexsort((examples, keys))
    keys, words, examples = keys[order], words[order], examples[order]
    distinct = _changes(keys, examples)  # an n-gram that an example has twice counts once
    keys, words, examples = keys[distinct], words[distinct], examples[distinct]
    firsts = np.flatnonzero(_changes(keys))
    sets = int(set_of.max(initial=0)) + 1
    in_set = np.flatnonzero(_changes(keys, set_of[examples]))  # examples of a set lie side by side
    found = np.unique(examples)
    arrays = (
        np.append(firsts, len(keys)).astype(np.uint32),
        examples.astype(np.uint32),
        set_of,
        np.array(file_of, np.uint32),
        np.array(line_of, np.uint32),
        np.bincount(set_of[examples[in_set]], minlength=sets),
        np.bincount(set_of, minlength=sets) - np.bincount(set_of[found], minlength=sets),
    )
    ngrams = build_index(keys[firsts], words[firsts])
    return EvaluationIndex(ngrams, *(read_only(array) for array in arrays))


def _changes(*columns: np.ndarray) -> np.ndarray:
    """bool: where a row differs from the one before it; the first does."""
    differs = np.ones(len(columns[0]), bool)
    differs[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return differs


def index_digest(index: EvaluationIndex) -> str:
    """sha256 hex over all arrays of an index."""
    digest = hashlib.sha256(f"evaluation index {_INDEX_VERSION}".encode())
    for name, array in _arrays(index):
        digest.update(f"{name} {array.dtype.str} {len(array)}\0".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def index_name(digest: str) -> str:
    """Where the index of that digest lies in the run's folder."""
    return f"work/evaluation/index-{digest[:12]}.arrow"


def save_index(storage: Storage, index: EvaluationIndex, digest: str) -> None:
    """Puts the index, unless it is there in full size."""
    columns, names = [], []
    for name, array in _arrays(index):
        columns.append(pa.LargeListArray.from_arrays(pa.array([0, len(array)], pa.int64()), pa.array(array)))
        names.append(name)
    table = pa.table(columns, names=names)
    with storage.scratch() as scratch:
        local = scratch / Path(index_name(digest)).name
        with pa.OSFile(str(local), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        if storage.size(index_name(digest)) != local.stat().st_size:
            storage.put_file(local, index_name(digest))


@lru_cache(maxsize=2)
def open_index(output: str, digest: str) -> EvaluationIndex:
    """The index in a run's folder; on local disk it is mapped, not read. FileNotFoundError if it is gone."""
    table = pa.ipc.open_file(Storage.open(output).open_input(index_name(digest))).read_all()
    arrays = {name: read_only(table[name].chunk(0).values.to_numpy()) for name in table.column_names}
    ngrams = NgramIndex(*(arrays.pop(name) for name in NgramIndex._fields))
    return EvaluationIndex(ngrams, **arrays)


def _arrays(index: EvaluationIndex) -> Iterator[tuple[str, np.ndarray]]:
    yield from index.ngrams._asdict().items()
    yield from ((name, array) for name, array in index._asdict().items() if name != "ngrams")


# --- documents ----------------------------------------------------------------------------------------------


def find_overlaps(text: pa.Array, index: EvaluationIndex | None) -> Overlaps:
    """What each document of a batch shares with the sets; without an index, nothing."""
    if index is None:
        none = pa.array(np.zeros(len(text), np.uint32))
        return Overlaps(none, _empty_spans(len(text)), pa.RecordBatch.from_pylist([], schema.OVERLAPS))
    found = find_ngrams(text, index.ngrams)
    hits = np.bincount(found.document, minlength=len(text)).astype(np.uint32)
    order = np.argsort(found.document, kind="stable")
    rows = found.document[order].astype(np.uint32)
    overlaps = pa.record_batch([pa.array(rows), pa.array(found.key[order])], schema=schema.OVERLAPS)
    which, examples = examples_of(index, found.key)
    sets = index.set_of[examples].astype(np.int64)
    spans = _merge(found.document[which], sets, found.start[which], found.end[which], len(text))
    return Overlaps(pa.array(hits), spans, overlaps)


def examples_of(index: EvaluationIndex, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(position in `keys`, example) of every example of every key; all keys must be in the index."""
    at = np.searchsorted(index.ngrams.keys, keys)
    counts = index.examples_from[at + 1].astype(np.int64) - index.examples_from[at]
    which = np.repeat(np.arange(len(keys)), counts)
    inside = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    return which, index.examples[index.examples_from[at][which] + inside].astype(np.int64)


def _merge(
    document: np.ndarray, sets: np.ndarray, start: np.ndarray, end: np.ndarray, documents: int
) -> pa.ListArray:
    """Overlapping n-grams of one document and set become one span; spans by start, then set."""
    if not len(document):
        return _empty_spans(documents)
    group = (document * (int(sets.max()) + 1) + sets) << _PLACE_BITS
    order = np.lexsort((end, group + start))
    document, sets, start, end, group = (a[order] for a in (document, sets, start, end, group))
    starts, reach = group + start, np.maximum.accumulate(group + end)
    opens = np.ones(len(document), bool)
    opens[1:] = starts[1:] >= reach[:-1]  # n-grams that share a word share bytes
    first = np.flatnonzero(opens)
    last = np.append(first[1:], len(document)) - 1
    document, sets, start, end = document[first], sets[first], start[first], (reach - group)[last]
    order = np.lexsort((sets, start, document))
    bounds = np.searchsorted(document[order], np.arange(documents + 1)).astype(np.int32)
    columns = [
        pa.array(column[order].astype(kind))
        for column, kind in ((start, np.uint32), (end, np.uint32), (sets, np.uint16))
    ]
    spans = pa.StructArray.from_arrays(columns, fields=list(schema.TEST_SPANS.value_type))
    return pa.ListArray.from_arrays(pa.array(bounds), spans, type=schema.TEST_SPANS)


def _empty_spans(documents: int) -> pa.ListArray:
    return pa.array([[]] * documents, schema.TEST_SPANS)
