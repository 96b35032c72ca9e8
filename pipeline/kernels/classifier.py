"""A fastText classifier as one number per feature: scores a page in 0.05 to 0.15 ms, whatever its vectors.

fastText averages a vector per feature (word, run of words, run of characters) and multiplies the mean by one
vector per label. Both steps are linear, so each feature's vector is multiplied by the labels' vectors once,
when the model is compiled (annotate/classifier_file.py), and what is looked up for a feature is one number
per label, in steps of 2^-20. A file of 2.4 GB becomes a table of 24 MB, and the sums are of integers: the
same on every machine and in any order. The mean is exact to half a step, a millionth; the library itself adds
up floats of 24 bits, which is coarser.

Features are those of fastText 0.9 (dictionary.cc: readWord, getLine, addSubwords, addWordNgrams): words are
what stands between ASCII white space and NUL, a text is one line (its newlines are spaces) with `</s>` behind
it, what begins with `__label__` is left out, hashes are FNV-1a over signed bytes.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.kernels.buffers import text_buffers
from pipeline.kernels.jit import kernel

MAX_WORD_NGRAMS = 16
END = b"</s>"
LABEL = b"__label__"

FNV_BASIS, FNV_PRIME = np.uint32(2166136261), np.uint32(16777619)
_NGRAM_FACTOR = np.uint64(116049371)  # Dictionary::addWordNgrams
_BEGIN_WORD, _END_WORD = 0x3C, 0x3E  # BOW "<", EOW ">"
_LABEL_BYTES = np.frombuffer(LABEL, np.uint8)
_END_BYTES = np.frombuffer(END, np.uint8)


class LinearModel(NamedTuple):
    """A compiled classifier of `columns` numbers per feature; all arrays are read-only.

    `shape` int64 [5]: words, buckets, least and most characters of a run (0: none), words of a run. `slots`
    int32 [power of two]: entry by hash, -1 if empty; entries are words, then labels: `entry_hashes` uint32,
    `entry_ends` int64 [entries + 1], `entry_bytes` uint8. `word_sums` int64 [words, columns], `word_counts`
    int32 [words]: a word with its runs of characters. `rows` int32 [buckets or kept ones, columns];
    `kept` int32 [buckets]: the row of a bucket, -1 if it was pruned; empty if none was.
    """

    shape: NDArray[np.int64]
    slots: NDArray[np.int32]
    entry_hashes: NDArray[np.uint32]
    entry_ends: NDArray[np.int64]
    entry_bytes: NDArray[np.uint8]
    word_sums: NDArray[np.int64]
    word_counts: NDArray[np.int32]
    rows: NDArray[np.int32]
    kept: NDArray[np.int32]


def sum_features(text: pa.Array, model: LinearModel) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(sums of steps int64 [rows, columns], features int64 [rows]) of a string or large_string array."""
    buffers = text_buffers(text)
    sums = np.zeros((len(text), model.rows.shape[1]), np.int64)
    counts = np.zeros(len(text), np.int64)
    partial = np.empty(MAX_WORD_NGRAMS, np.uint64)
    _sum_documents(buffers.offsets, buffers.bytes, model, _LABEL_BYTES, _END_BYTES, partial, sums, counts)
    return sums, counts


@kernel
def hash_byte(hashed, byte):
    """FNV-1a with bytes taken as signed, as fastText does."""
    extended = np.uint32(byte) | np.uint32(0xFFFFFF00) if byte & 0x80 else np.uint32(byte)
    return np.uint32(np.uint32(hashed ^ extended) * FNV_PRIME)


@kernel
def find_entry(text, start, end, hashed, model):
    """The dictionary's entry for the bytes [start, end) of that hash, or -1."""
    mask = model.slots.size - 1
    at = np.int64(hashed) & mask
    while True:
        entry = np.int64(model.slots[at])
        if entry < 0:
            return entry
        if model.entry_hashes[entry] == hashed:
            first = model.entry_ends[entry]
            size = model.entry_ends[entry + 1] - first
            same = size == end - start
            place = np.int64(0)
            while same and place < size:
                same = text[start + place] == model.entry_bytes[first + place]
                place += 1
            if same:
                return entry
        at = (at + 1) & mask


@kernel
def bucket_row(bucket, model):
    """The row of `rows` for a bucket; -1 if it was pruned."""
    return bucket if model.kept.size == 0 else np.int64(model.kept[bucket])


@kernel
def is_label(text, start, end, label):
    """Whether a word begins with the prefix of labels."""
    if end - start < label.size:
        return False
    return _same(text, start, label)


@kernel
def is_white(byte):
    """ASCII white space or NUL: what fastText ends words at."""
    return byte == 0x20 or 0x09 <= byte <= 0x0D or byte == 0


@kernel
def bracketed(text, start, size, at):
    """Byte `at` of a word of `size` bytes with the brackets about it; the word begins at `start`."""
    return _BEGIN_WORD if at == 0 else _END_WORD if at == size - 1 else np.int64(text[start + at - 1])


@kernel
def extend_run(text, start, size, at, hashed):
    """A run of characters with the character at byte `at` of the bracketed word: (its hash, its end)."""
    hashed = hash_byte(hashed, bracketed(text, start, size, at))
    at += 1
    while at < size - 1 and text[start + at - 1] & 0xC0 == 0x80:
        hashed = hash_byte(hashed, np.int64(text[start + at - 1]))
        at += 1
    return hashed, at


@kernel
def is_feature(characters, first, end, size, least):
    """Whether a run from byte `first` to `end` is long enough, and more than a bracket."""
    return characters >= least and not (characters == 1 and (first == 0 or end == size))


@kernel
def add_character_runs(text, start, end, model, sums):
    """Adds the runs of characters of one word with its brackets (Dictionary::computeSubwords)."""
    bucket, least, most = model.shape[1], model.shape[2], model.shape[3]
    count = np.int64(0)
    size = end - start + 2
    for first in range(size):
        if bracketed(text, start, size, first) & 0xC0 == 0x80:
            continue
        hashed, at, characters = FNV_BASIS, first, np.int64(1)
        while at < size and characters <= most:
            hashed, at = extend_run(text, start, size, at, hashed)
            if is_feature(characters, first, at, size, least):
                row = bucket_row(np.int64(hashed) % bucket, model)
                if row >= 0:
                    count += 1
                    for column in range(sums.size):
                        sums[column] += model.rows[row, column]
            characters += 1
    return count


@kernel
def _sum_documents(offsets, text, model, label, end_bytes, partial, sums, counts):
    for document in range(offsets.size - 1):
        at, stop = offsets[document], offsets[document + 1]
        held = np.int64(0)  # hashes of runs of words that are not complete
        found = sums[document]
        ended = False
        while not ended:
            while at < stop and is_white(text[at]):
                at += 1
            start, hashed = at, FNV_BASIS
            while at < stop and not is_white(text[at]):
                hashed = hash_byte(hashed, np.int64(text[at]))
                at += 1
            if start == at:
                ended = True
                for byte in end_bytes:
                    hashed = hash_byte(hashed, np.int64(byte))
                count, held = _add_word(
                    end_bytes, 0, end_bytes.size, hashed, model, label, partial, held, found
                )
            else:
                count, held = _add_word(text, start, at, hashed, model, label, partial, held, found)
                ended = at - start == end_bytes.size and _same(text, start, end_bytes)
            counts[document] += count


@kernel
def _same(text, start, letters):
    same = True
    for place in range(letters.size):
        same &= text[start + place] == letters[place]
    return same


@kernel
def _add_word(text, start, end, hashed, model, label, partial, held, sums):
    """Adds a word, its runs of characters and the runs of words that it ends: (features, held runs)."""
    words, bucket, most, width = model.shape[0], model.shape[1], model.shape[3], model.shape[4]
    entry = find_entry(text, start, end, hashed, model)
    if entry >= words or (entry < 0 and is_label(text, start, end, label)):
        return np.int64(0), held
    count = np.int64(0)
    if entry >= 0:
        count += model.word_counts[entry]
        for column in range(sums.size):
            sums[column] += model.word_sums[entry, column]
    elif most > 0:
        count += add_character_runs(text, start, end, model, sums)
    if width > 1:
        signed = np.uint64(np.int64(np.int32(hashed)))
        for run in range(held):
            partial[run] = partial[run] * _NGRAM_FACTOR + signed
            row = bucket_row(np.int64(partial[run] % np.uint64(bucket)), model)
            if row >= 0:
                count += 1
                for column in range(sums.size):
                    sums[column] += model.rows[row, column]
        if held == width - 1:  # the oldest run is complete
            for run in range(held - 1):
                partial[run] = partial[run + 1]
            held -= 1
        partial[held] = signed
        held += 1
    return count, held
