"""Sums of a classifier's features to probabilities, the same bits on every machine: sums, products and
divisions alone, where a library's exponential differs from host to host.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.jit import kernel

WEIGHT_STEPS = 1 << 20  # steps of a weight of 1
# The library's sigmoid of single labels is a table (loss.cc: SIGMOID_TABLE_SIZE, MAX_SIGMOID), and to every
# probability it adds what keeps its logarithm finite (std_log): thresholds that people use are of these.
_SIGMOID_STEPS, _SIGMOID_LIMIT = 512, 8.0
ADDED = 1e-5
_LOG_2 = 0.6931471805599453
_TERMS = 14  # of the exponential's series: within [-ln 2 / 2, ln 2 / 2] the next one is below 2^-56


def mean_logits(sums: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64 [rows, columns]; 0 for a text without any feature."""
    return sums / (np.maximum(counts, 1) * np.float64(WEIGHT_STEPS))[:, None]


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities [rows, columns + 1] where the last label's logit is 0; the same bits on every machine."""
    found = np.empty((logits.shape[0], logits.shape[1] + 1))
    _softmax(np.ascontiguousarray(logits), found)
    return found


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)) of every logit; the same bits on every machine."""
    found = np.empty(logits.shape)
    _sigmoid(np.ascontiguousarray(logits), found)
    return found


def table_sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same by the library's table of 512 steps from -8 to 8, for models of one sigmoid per label."""
    steps = np.floor(
        (np.clip(logits, -_SIGMOID_LIMIT, _SIGMOID_LIMIT) + _SIGMOID_LIMIT) * _SIGMOID_STEPS / 16
    )
    found = sigmoid(steps * 16 / _SIGMOID_STEPS - _SIGMOID_LIMIT)
    return np.where(logits < -_SIGMOID_LIMIT, 0.0, np.where(logits > _SIGMOID_LIMIT, 1.0, found))


@kernel
def exponential(value):
    """e^value by sums and products alone, the same on every machine; 0 and infinity beyond +-700."""
    if value < -700.0:
        return 0.0
    if value > 700.0:
        return np.inf
    power = np.int64(np.floor(value / _LOG_2 + 0.5))
    rest = value - power * _LOG_2
    total = 1.0
    for term in range(_TERMS, 0, -1):
        total = 1.0 + total * rest / term
    base = 2.0 if power > 0 else 0.5
    for _ in range(abs(power)):
        total *= base
    return total


@kernel
def _softmax(logits, found):
    for row in range(logits.shape[0]):
        highest = 0.0
        for column in range(logits.shape[1]):
            highest = max(highest, logits[row, column])
        last = exponential(-highest)
        total = last
        for column in range(logits.shape[1]):
            found[row, column] = exponential(logits[row, column] - highest)
            total += found[row, column]
        found[row, logits.shape[1]] = last
        for column in range(logits.shape[1] + 1):
            found[row, column] /= total


@kernel
def _sigmoid(logits, found):
    for row in range(logits.shape[0]):
        for column in range(logits.shape[1]):
            found[row, column] = 1.0 / (1.0 + exponential(-logits[row, column]))
