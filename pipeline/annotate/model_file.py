"""What a fastText file says of itself, read without loading it: its labels, and whether all of it is there.

fastText's loader stops at a wrong first word and otherwise believes what it reads: a file that is cut off
brings it down or keeps it busy for ever (both were seen). So the file is walked through here before any work
starts. The layout is that of fastText 0.9 (FastText::saveModel, Dictionary::save, DenseMatrix::save,
QuantMatrix::save, ProductQuantizer::save); all numbers are little-endian.
"""

import struct
from pathlib import Path
from typing import BinaryIO

LABEL_PREFIX = "__label__"
_MAGIC, _NEWEST_VERSION = 793_712_314, 12  # FASTTEXT_FILEFORMAT_MAGIC_INT32, FASTTEXT_VERSION
_SUPERVISED = 3  # model_name::sup; the others (cbow, skip-gram) are word vectors without labels
_MODEL = 7  # which of the 12 whole numbers among the arguments says so
_CENTROIDS = 256  # ksub_
_ENTRY_REST = 9  # after a word and its NUL: count (int64), kind (int8; 1 = label)
_BLOCK = 1 << 20


def read_model_labels(path: Path) -> tuple[str, ...]:
    """The labels of a supervised fastText model, without their prefix, in the file's order.

    ValueError, which says what is wrong, for any other file and for one that is cut off; OSError if it cannot
    be read. Takes about 1 s for a million words; vectors are skipped, not read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            magic, version = _read(file, "<ii")
            if magic != _MAGIC or not 0 < version <= _NEWEST_VERSION:
                raise ValueError(
                    f"{path} is no fastText model of format {_NEWEST_VERSION} or older (.bin or .ftz)"
                )
            if _read(file, "<12id")[_MODEL] != _SUPERVISED:
                raise ValueError(f"{path} holds word vectors, not a classifier: it has no languages to tell")
            labels = _read_labels(file)
            (quantised,) = _read(file, "<?")
            _skip_matrix(file, quantised)
            (quantised_output,) = _read(file, "<?")
            _skip_matrix(file, quantised and quantised_output)
        except (struct.error, EOFError, OverflowError) as error:
            raise ValueError(f"{path} is damaged: it ends before the model does") from error
        if file.tell() > size:
            raise ValueError(f"{path} is damaged: {size} bytes of {file.tell()}")
    if not labels:
        raise ValueError(f"{path} has no labels")
    return labels


def _read(file: BinaryIO, form: str) -> tuple:
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _read_labels(file: BinaryIO) -> tuple[str, ...]:
    """The words whose kind is label; leaves the file at the end of the dictionary."""
    entries, _, _, _, pruned = _read(file, "<iiiqq")
    start, buffer, at = file.tell(), b"", 0
    labels = []
    for _ in range(entries):
        while (end := buffer.find(b"\0", at)) < 0 or end + _ENTRY_REST >= len(buffer):
            start, buffer = start + at, buffer[at:]
            at = 0
            if not (more := file.read(_BLOCK)):
                raise EOFError
            buffer += more
        if buffer[end + _ENTRY_REST] == 1:
            labels.append(buffer[at:end].decode("utf-8", "replace").removeprefix(LABEL_PREFIX))
        at = end + 1 + _ENTRY_REST
    file.seek(start + at + max(pruned, 0) * 8)
    return tuple(labels)


def _skip_matrix(file: BinaryIO, quantised: bool) -> None:
    if not quantised:
        rows, columns = _read(file, "<qq")
        _skip(file, rows * columns * 4)
        return
    norms, rows, _, codes = _read(file, "<?qqi")
    _skip(file, codes)
    _skip_quantizer(file)
    if norms:
        _skip(file, rows)
        _skip_quantizer(file)


def _skip_quantizer(file: BinaryIO) -> None:
    dimensions, _, _, _ = _read(file, "<4i")
    _skip(file, dimensions * _CENTROIDS * 4)


def _skip(file: BinaryIO, count: int) -> None:
    if count < 0:
        raise EOFError
    file.seek(count, 1)
