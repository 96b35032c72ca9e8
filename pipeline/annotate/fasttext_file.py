"""The layout of fastText's supervised model files: read as arrays, and written.

As fastText 0.9 has it (FastText::saveModel, Args::save, Dictionary::save, DenseMatrix::save,
QuantMatrix::save, ProductQuantizer::save); all numbers are little-endian. The library is not asked: its
loader believes whatever a file says. Call model_file.read_model_labels first, which walks through a file and
refuses one that is cut off.
"""

import mmap
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.annotate.model_file import LABEL_PREFIX
from pipeline.kernels.buffers import read_only
from pipeline.kernels.jit import kernel

HIERARCHICAL, NEGATIVES, SOFTMAX, ONE_VS_ALL = 1, 2, 3, 4  # loss_name
_MAGIC, _VERSION, _WITHOUT_RUNS = 793_712_314, 12, 11
_ARGUMENTS = struct.Struct("<12id")
_DIMENSIONS, _NGRAMS, _LOSS, _BUCKETS, _LEAST, _MOST = 0, 5, 6, 8, 9, 10  # among the arguments
_DICTIONARY = struct.Struct("<iiiqq")
_ENTRY = struct.Struct("<qb")  # behind a word and its NUL: count, and 1 for a label
_CENTROIDS = 256  # ksub_


@dataclass(frozen=True, slots=True)
class Matrix:
    """float32 `values` [rows, columns]; or, quantised, uint8 `codes` [rows, parts] of `centroids` (float32
    [256, width] for each part), times `norms` [rows] if there are any.
    """

    rows: int
    columns: int
    values: NDArray[np.float32] | None
    codes: NDArray[np.uint8] | None = None
    centroids: tuple[NDArray[np.float32], ...] = ()
    norms: NDArray[np.float32] | None = None

    def times(self, other: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64 [rows, len(other)]: this matrix times `other` [any, columns] transposed, added up in a
        fixed order.
        """
        if self.values is not None:
            return _product(self.values, other)
        assert self.codes is not None
        found, at = np.zeros((self.rows, len(other))), 0
        for part, centroids in enumerate(self.centroids):
            width = centroids.shape[1]
            found += _product(centroids, other[:, at : at + width])[self.codes[:, part]]
            at += width
        return found if self.norms is None else found * self.norms[:, None].astype(np.float64)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """What a file holds. `entries` are words, then labels with their prefix; runs of `least` to `most`
    characters (0: none) and of up to `ngrams` words are hashed into `buckets`; `kept` int32 [any, 2]: bucket
    and row of those that were not pruned, None if none was.
    """

    ngrams: int
    loss: int
    buckets: int
    least: int
    most: int
    words: int
    entries: tuple[bytes, ...]
    label_counts: tuple[int, ...]
    kept: NDArray[np.int32] | None
    input: Matrix
    output: Matrix


def read_model_file(path: Path) -> ModelFile:
    """The model in a whole fastText file; large matrices are mapped, not read.

    ValueError if its parts do not fit together.
    """
    with path.open("rb") as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    _, version = struct.unpack_from("<ii", content)
    arguments = _ARGUMENTS.unpack_from(content, 8)
    at = 8 + _ARGUMENTS.size
    size, words, labels, _, pruned = _DICTIONARY.unpack_from(content, at)
    at += _DICTIONARY.size
    entries, counts, at = _read_entries(content, at, size)
    kept = None
    if pruned >= 0:
        kept = np.frombuffer(content, "<i4", 2 * pruned, at).reshape(-1, 2)
        at += 8 * pruned
    quantised = bool(content[at])
    source, at = _read_matrix(content, at + 1, quantised)
    output, at = _read_matrix(content, at + 1, quantised and bool(content[at]))
    ngrams, loss, buckets = (arguments[place] for place in (_NGRAMS, _LOSS, _BUCKETS))
    if words + labels != size or output.rows != labels or source.columns != output.columns:
        raise ValueError(f"{path} is damaged: its dictionary and its matrices do not fit together")
    if source.rows < words + (buckets if kept is None else pruned):
        raise ValueError(f"{path} is damaged: {source.rows} vectors for {words} words and {buckets} buckets")
    if kept is not None and len(kept):
        low, high = kept.min(axis=0), kept.max(axis=0)
        if low.min() < 0 or high[0] >= buckets or high[1] >= pruned:
            raise ValueError(f"{path} is damaged: it keeps buckets that there are not")
    most = 0 if version == _WITHOUT_RUNS else arguments[_MOST]  # as FastText::loadModel has it
    sizes = (ngrams, loss, buckets, max(arguments[_LEAST], 1), most, words)
    return ModelFile(*sizes, entries, counts[words:], kept, source, output)


def write_model_file(
    path: Path,
    *,
    words: Sequence[tuple[bytes, int]],
    labels: Sequence[tuple[str, int]],
    buckets: int,
    ngrams: int,
    characters: tuple[int, int],
    weights: NDArray[np.float32],
    outputs: NDArray[np.float32],
    epochs: int,
) -> None:
    """A softmax classifier that any fastText of version 0.9 loads: words and labels with their counts,
    `weights` [words + buckets, dimensions], `outputs` [labels, dimensions].
    """
    dimensions = weights.shape[1]
    least, most = characters
    parts = [struct.pack("<ii", _MAGIC, _VERSION)]
    # In the order of Args::save; 3 is the kind of model (supervised), what else is a number is a default.
    numbers = (dimensions, 5, epochs, 1, 5, ngrams, SOFTMAX, 3, buckets, least, most, 100, 0.0)
    parts.append(_ARGUMENTS.pack(*numbers))
    tokens = sum(count for _, count in words)
    parts.append(_DICTIONARY.pack(len(words) + len(labels), len(words), len(labels), tokens, -1))
    parts += [word + b"\0" + _ENTRY.pack(count, 0) for word, count in words]
    parts += [f"{LABEL_PREFIX}{name}".encode() + b"\0" + _ENTRY.pack(count, 1) for name, count in labels]
    for matrix in (weights, outputs):
        parts.append(struct.pack("<?qq", False, *matrix.shape))
        parts.append(np.ascontiguousarray(matrix, "<f4").tobytes())
    path.write_bytes(b"".join(parts))


def _read_entries(content: memoryview, at: int, size: int) -> tuple[tuple[bytes, ...], tuple[int, ...], int]:
    """(entries, counts, where they end)."""
    found = content.obj
    assert isinstance(found, mmap.mmap)
    entries, counts = [], []
    for _ in range(size):
        end = found.find(b"\0", at)
        count, _ = _ENTRY.unpack_from(content, end + 1)
        entries.append(bytes(content[at:end]))
        counts.append(count)
        at = end + 1 + _ENTRY.size
    return tuple(entries), tuple(counts), at


def _read_matrix(content: memoryview, at: int, quantised: bool) -> tuple[Matrix, int]:
    """(matrix, where it ends)."""
    if not quantised:
        rows, columns = struct.unpack_from("<qq", content, at)
        values = np.frombuffer(content, "<f4", rows * columns, at + 16).reshape(rows, columns)
        return Matrix(rows, columns, values), at + 16 + values.nbytes
    with_norms, rows, columns, size = struct.unpack_from("<?qqi", content, at)
    at += struct.calcsize("<?qqi")
    codes = np.frombuffer(content, np.uint8, size, at)
    centroids, at = _read_quantizer(content, at + size)
    norms = None
    if with_norms:
        of_norms = np.frombuffer(content, np.uint8, rows, at)
        (table,), at = _read_quantizer(content, at + rows)
        norms = table[of_norms, 0]
    return Matrix(rows, columns, None, codes.reshape(rows, len(centroids)), centroids, norms), at


def _read_quantizer(content: memoryview, at: int) -> tuple[tuple[NDArray[np.float32], ...], int]:
    """(centroids of each part, where they end)."""
    dimensions, parts, width, last = struct.unpack_from("<4i", content, at)
    values = np.frombuffer(content, "<f4", dimensions * _CENTROIDS, at + 16)
    whole = (parts - 1) * width * _CENTROIDS
    found = [
        values[part * width * _CENTROIDS :][: width * _CENTROIDS].reshape(_CENTROIDS, width)
        for part in range(parts - 1)
    ]
    found.append(values[whole:].reshape(_CENTROIDS, last))
    return tuple(found), at + 16 + values.nbytes


def _product(values: NDArray[np.float32], other: NDArray[np.float64]) -> NDArray[np.float64]:
    found = np.empty((values.shape[0], len(other)))
    _multiply(read_only(np.ascontiguousarray(values)), read_only(np.ascontiguousarray(other)), found)
    return found


@kernel
def _multiply(values, other, found):
    for row in range(values.shape[0]):
        for column in range(other.shape[0]):
            total = 0.0
            for place in range(values.shape[1]):
                total += np.float64(values[row, place]) * other[column, place]
            found[row, column] = total
