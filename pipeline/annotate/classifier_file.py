"""fastText models to compiled classifiers (kernels/classifier.py), kept as Arrow files that workers map.

Any supervised model will do, .bin or quantised .ftz, with softmax, hierarchical softmax, or one sigmoid per
label. The driver compiles a model once and puts the table into the run's folder; workers map that one, so all
of a machine share its memory: 4 bytes per word, bucket and label (one label less with softmax).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.annotate.fasttext_file import HIERARCHICAL, SOFTMAX, ModelFile, read_model_file
from pipeline.annotate.model_file import read_model_labels
from pipeline.kernels.buffers import read_only
from pipeline.kernels.classifier import (
    END,
    FNV_BASIS,
    MAX_WORD_NGRAMS,
    LinearModel,
    add_character_runs,
    hash_byte,
    sum_features,
)
from pipeline.kernels.jit import kernel
from pipeline.kernels.probabilities import (
    ADDED,
    WEIGHT_STEPS,
    mean_logits,
    sigmoid,
    softmax,
    table_sigmoid,
)
from pipeline.storage import Storage

COMPILED_VERSION = 1  # part of fingerprints: a change here is a change of every score
_MAX_LABELS = 1_000


@dataclass(frozen=True, slots=True)
class Classifier:
    """A compiled model; `paths`: by label, its way through a hierarchical softmax as (node, 1 for the right
    branch), else empty.
    """

    labels: tuple[str, ...]
    loss: int
    paths: tuple[tuple[tuple[int, int], ...], ...]
    model: LinearModel

    def probabilities(self, text: pa.Array) -> NDArray[np.float64]:
        """float64 [rows, labels] for a string or large_string array, at most 1, as the library's predict has
        them for that text as one line.
        """
        logits = mean_logits(*sum_features(text, self.model))
        if self.loss == SOFTMAX:
            return np.minimum(softmax(logits) + ADDED, 1)
        if self.loss != HIERARCHICAL:
            return np.minimum(table_sigmoid(logits) + ADDED, 1)
        found = sigmoid(logits)
        turns = [
            [found[:, node] if side else 1 - found[:, node] for node, side in path] for path in self.paths
        ]
        products = [np.prod([turn + ADDED for turn in of_label], axis=0) for of_label in turns]
        return np.minimum(np.stack(products, axis=1), 1)


def compile_classifier(path: Path) -> Classifier:
    """The classifier in a fastText file. ValueError, which says what is wrong, for any other file."""
    labels = read_model_labels(path)
    file = read_model_file(path)
    if not 2 <= len(labels) <= _MAX_LABELS:
        raise ValueError(f"{path} has {len(labels)} labels: a classifier of documents has 2 to {_MAX_LABELS}")
    if not 1 <= file.ngrams <= MAX_WORD_NGRAMS:
        raise ValueError(f"{path} has runs of {file.ngrams} words: only 1 to {MAX_WORD_NGRAMS} can be read")
    if (file.ngrams > 1 or file.most > 0) and file.buckets < 1:
        raise ValueError(f"{path} is damaged: it has runs of words or characters, but no buckets for them")
    outputs = file.output.times(np.eye(file.output.columns))
    paths: tuple[tuple[tuple[int, int], ...], ...] = ()
    if file.loss == SOFTMAX:
        outputs = outputs[:-1] - outputs[-1]
    elif file.loss == HIERARCHICAL:
        outputs, paths = outputs[:-1], _tree(file.label_counts)
    weights = np.rint(file.input.times(outputs) * WEIGHT_STEPS)
    if not (np.abs(weights) <= np.iinfo(np.int32).max).all():  # also if they are no numbers
        raise ValueError(f"{path} is damaged: it has weights that are no numbers, or beyond {1 << 11}")
    return Classifier(labels, file.loss, paths, _index(file, weights.astype(np.int32)))


def _tree(counts: Sequence[int]) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Paths of labels in the Huffman tree of HierarchicalSoftmaxLoss::buildTree; inner nodes from 0."""
    labels = len(counts)
    sizes = [*counts, *[10**15] * (labels - 1)]
    parent: dict[int, tuple[int, int]] = {}
    leaf, node = labels - 1, labels
    for made in range(labels, 2 * labels - 1):
        sizes[made] = 0
        for side in (0, 1):
            if leaf >= 0 and (node >= made or sizes[leaf] < sizes[node]):
                child, leaf = leaf, leaf - 1
            else:
                child, node = node, node + 1
            parent[child] = (made - labels, side)
            sizes[made] += sizes[child]
    paths = []
    for label in range(labels):
        path, at = [], label
        while at in parent:
            path.append(parent[at])
            at = parent[at][0] + labels
        paths.append(tuple(path))
    return tuple(paths)


def dictionary_model(
    words: Sequence[bytes], buckets: int, characters: tuple[int, int], ngrams: int
) -> LinearModel:
    """A model of which only the dictionary is there: what training asks for features."""
    shape = np.array([len(words), buckets, max(characters[0], 1), characters[1], ngrams], np.int64)
    nothing = np.zeros((1, 1), np.int32)
    empty = (nothing.astype(np.int64), np.ones(1, np.int32), nothing, np.zeros(0, np.int32))
    return LinearModel(*(read_only(array) for array in (shape, *_dictionary(words), *empty)))


def _dictionary(entries: Sequence[bytes]) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """(slots, hashes, ends, letters) as in LinearModel."""
    ends = np.cumsum([0, *map(len, entries)]).astype(np.int64)
    letters = np.frombuffer(b"".join(entries), np.uint8)
    hashes = np.empty(len(entries), np.uint32)
    slots = np.full(1 << max(2 * len(entries), 2).bit_length(), -1, np.int32)
    _fill(read_only(ends), read_only(letters), hashes, slots)
    return slots, hashes, ends, letters


def _index(file: ModelFile, weights: NDArray[np.int32]) -> LinearModel:
    """The tables that are searched, and words together with their runs of characters."""
    shape = np.array([file.words, max(file.buckets, 1), file.least, file.most, file.ngrams], np.int64)
    kept = np.zeros(0, np.int32)
    if file.kept is not None:
        kept = np.full(shape[1], -1, np.int32)
        kept[file.kept[:, 0]] = file.kept[:, 1]
    sums, counts = weights[: file.words].astype(np.int64), np.ones(file.words, np.int32)
    rows = weights[file.words :] if len(weights) > file.words else np.zeros((1, weights.shape[1]), np.int32)
    arrays = (shape, *_dictionary(file.entries), sums, counts, np.ascontiguousarray(rows), kept)
    model = LinearModel(*(read_only(array) for array in arrays))
    if file.most > 0:
        _add_runs(model, file.entries.index(END) if END in file.entries else -1, sums, counts)
    return model


@kernel
def _fill(ends, letters, hashes, slots):
    for entry in range(hashes.size):
        hashed = FNV_BASIS
        for at in range(ends[entry], ends[entry + 1]):
            hashed = hash_byte(hashed, np.int64(letters[at]))
        hashes[entry] = hashed
        at = np.int64(hashed) & (slots.size - 1)
        while slots[at] >= 0:
            at = (at + 1) & (slots.size - 1)
        slots[at] = entry


@kernel
def _add_runs(model, without, sums, counts):
    for word in range(counts.size):
        if word != without:
            start, end = model.entry_ends[word], model.entry_ends[word + 1]
            counts[word] += add_character_runs(model.entry_bytes, start, end, model, sums[word])


# --- as files -----------------------------------------------------------------------------------------------


def compiled_name(sha256: str) -> str:
    """Where the compiled form of the model file with that digest lies in a run's folder."""
    return f"work/models/classifier-{sha256[:12]}-v{COMPILED_VERSION}.arrow"


def save_classifier(storage: Storage, path: Path, sha256: str) -> None:
    """Compiles a model file and puts the result into a run's folder, unless it is there."""
    if storage.size(compiled_name(sha256)):
        return
    classifier = compile_classifier(path)
    told = {"labels": classifier.labels, "loss": classifier.loss, "paths": classifier.paths}
    told["shapes"] = [array.shape for array in classifier.model]
    columns = [
        pa.LargeListArray.from_arrays(pa.array([0, array.size], pa.int64()), pa.array(array.ravel()))
        for array in classifier.model
    ]
    schema = pa.schema(
        [pa.field(name, column.type) for name, column in zip(LinearModel._fields, columns, strict=True)],
        metadata={"classifier": json.dumps(told)},
    )
    with storage.scratch() as scratch:
        local = scratch / "classifier.arrow"
        with pa.OSFile(str(local), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
        storage.put_file(local, compiled_name(sha256))


@lru_cache(maxsize=16)
def open_classifier(output: str, sha256: str) -> Classifier:
    """The compiled classifier in a run's folder; on local disk it is mapped. FileNotFoundError if it is
    gone.
    """
    table = pa.ipc.open_file(Storage.open(output).open_input(compiled_name(sha256))).read_all()
    told = json.loads(table.schema.metadata[b"classifier"])
    arrays = [
        read_only(table[name].chunk(0).values.to_numpy().reshape(shape))
        for name, shape in zip(LinearModel._fields, told["shapes"], strict=True)
    ]
    paths = tuple(tuple((node, side) for node, side in path) for path in told["paths"])
    return Classifier(tuple(told["labels"]), told["loss"], paths, LinearModel(*arrays))
