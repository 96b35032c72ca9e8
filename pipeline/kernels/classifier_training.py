"""Training of a classifier whose features are fastText's (classifier.py), one number per feature and label.

Without a hidden layer the model is a logistic regression on the mean of its features, which is all that a
fastText classifier with two labels can express, too. It is trained with AdaGrad (Duchi et al. 2011), one text
at a time, in an order that hangs on the seed alone, with sums and square roots that are the same on every
machine: the same texts give the same file, bit by bit. Rare features get no weight.

A text is cut after `MAX_BYTES`. Cost: about 0.1 ms per text of 5 kB and pass.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.buffers import TextBuffers, read_only
from pipeline.kernels.classifier import (
    END,
    FNV_BASIS,
    LABEL,
    LinearModel,
    bracketed,
    extend_run,
    find_entry,
    hash_byte,
    is_feature,
    is_label,
    is_white,
)
from pipeline.kernels.jit import kernel
from pipeline.kernels.probabilities import exponential

MAX_BYTES = 20_000
_NGRAM_FACTOR = np.uint64(116049371)  # Dictionary::addWordNgrams
_SMALL = 1e-12  # keeps the first step's division finite
_END_BYTES = read_only(np.frombuffer(END, np.uint8))
_LABEL_BYTES = read_only(np.frombuffer(LABEL, np.uint8))


def count_documents(texts: TextBuffers, model: LinearModel) -> NDArray[np.int32]:
    """int32 [words + buckets]: in how many texts each feature occurs."""
    found = np.zeros(int(model.shape[0] + model.shape[1]), np.int32)
    seen = np.full(len(found), -1, np.int32)
    _count_documents(texts.offsets, texts.bytes, model, _scratch(model), seen, found)
    return found


def train_weights(
    texts: TextBuffers,
    labels: NDArray[np.int64],
    orders: NDArray[np.int64],
    model: LinearModel,
    usable: NDArray[np.bool_],
    *,
    columns: int,
    rate: float,
) -> NDArray[np.float64]:
    """float64 [words + buckets, columns]: weights for labels 0 to `columns` - 1; those of the last label,
    number `columns`, are 0. `orders` [passes, texts]; the rate falls to 0 in equal steps.
    """
    weights = np.zeros((int(model.shape[0] + model.shape[1]), columns))
    squares = np.zeros_like(weights)
    logits = np.zeros(columns)
    arguments = (read_only(labels), read_only(orders), model, read_only(usable))
    _train(texts.offsets, texts.bytes, *arguments, rate, _scratch(model), weights, squares, logits)
    return weights


def _scratch(model: LinearModel) -> NDArray[np.int64]:
    """Room for the features of a text: each byte begins at most a word, its runs, and runs of characters."""
    return np.empty((MAX_BYTES + 8) * int(model.shape[3] + model.shape[4] + 1), np.int64)


@kernel
def _list_runs(text, start, end, model, features, count):
    """The runs of characters of one word with its brackets, as classifier.add_character_runs has them."""
    words, bucket, least, most = model.shape[0], model.shape[1], model.shape[2], model.shape[3]
    size = end - start + 2
    for first in range(size):
        if bracketed(text, start, size, first) & 0xC0 == 0x80:
            continue
        hashed, at, characters = FNV_BASIS, first, np.int64(1)
        while at < size and characters <= most:
            hashed, at = extend_run(text, start, size, at, hashed)
            if is_feature(characters, first, at, size, least):
                features[count] = words + np.int64(hashed) % bucket
                count += 1
            characters += 1
    return count


@kernel
def _list_features(text, at, stop, model, features):
    """Writes the features of a text, `</s>` last; returns how many. Words of the dictionary are listed
    without their runs of characters.
    """
    words, bucket, most, width = model.shape[0], model.shape[1], model.shape[3], model.shape[4]
    count, before, has_before = np.int64(0), np.uint64(0), False
    while True:
        while at < stop and is_white(text[at]):
            at += 1
        start, hashed = at, FNV_BASIS
        while at < stop and not is_white(text[at]):
            hashed = hash_byte(hashed, np.int64(text[at]))
            at += 1
        ended = start == at
        entry = np.int64(-1)
        if ended:
            for byte in _END_BYTES:
                hashed = hash_byte(hashed, np.int64(byte))
            entry = find_entry(_END_BYTES, 0, _END_BYTES.size, hashed, model)
        elif is_label(text, start, at, _LABEL_BYTES):
            continue
        else:
            entry = find_entry(text, start, at, hashed, model)
        if entry >= 0:
            features[count] = entry
            count += 1
        elif most > 0:
            count = _list_runs(text, start, at, model, features, count)
        signed = np.uint64(np.int64(np.int32(hashed)))
        if width > 1 and has_before:
            features[count] = words + np.int64((before * _NGRAM_FACTOR + signed) % np.uint64(bucket))
            count += 1
        before, has_before = signed, True
        if ended:
            return count


@kernel
def _cut(text, start, stop):
    """Where a text is cut: after MAX_BYTES or less, between two characters."""
    if stop - start <= MAX_BYTES:
        return stop
    stop = start + MAX_BYTES
    while stop > start and text[stop] & 0xC0 == 0x80:
        stop -= 1
    return stop


@kernel
def _count_documents(offsets, text, model, features, seen, found):
    for document in range(offsets.size - 1):
        stop = _cut(text, offsets[document], offsets[document + 1])
        count = _list_features(text, offsets[document], stop, model, features)
        for place in range(count):
            feature = features[place]
            if seen[feature] != document:
                seen[feature] = document
                found[feature] += 1


@kernel
def _train(offsets, text, labels, orders, model, usable, rate, features, weights, squares, logits):
    steps = orders.shape[0] * orders.shape[1]
    step = np.int64(0)
    for turn in range(orders.shape[0]):
        for place in range(orders.shape[1]):
            document = orders[turn, place]
            stop = _cut(text, offsets[document], offsets[document + 1])
            count = _list_features(text, offsets[document], stop, model, features)
            logits[:] = 0.0
            for at in range(count):
                for column in range(logits.size):
                    logits[column] += weights[features[at], column]
            highest = 0.0
            for column in range(logits.size):
                logits[column] /= count
                highest = max(highest, logits[column])
            total = exponential(-highest)
            for column in range(logits.size):
                logits[column] = exponential(logits[column] - highest)
                total += logits[column]
            now = rate * (steps - step) / steps
            for column in range(logits.size):
                slope = (logits[column] / total - (1.0 if labels[document] == column else 0.0)) / count
                for at in range(count):
                    feature = features[at]
                    if usable[feature]:
                        squares[feature, column] += slope * slope
                        weights[feature, column] -= now * slope / np.sqrt(squares[feature, column] + _SMALL)
            step += 1
