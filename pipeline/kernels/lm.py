"""N-gram language models with backoff, scored in integers straight from tokenized text.

A model is one table of 64-byte buckets, eight entries each, so that one look-up costs one cache line. An
entry is a uint64: 32 bits that tell n-grams of a bucket apart, the cost of the n-gram's last word (uint16)
and what backing off from it costs (int16 + 32,768), both -log10 of a probability in steps of 1/4,000. Entries
fill a bucket from its front; a full one runs over into the next; 0 is no entry.

The key of an n-gram is made from its last word leftwards, so that the longest match is found by extending a
shorter one, and a word costs at most as many look-ups as the model has orders. The words themselves are not
stored. Two n-grams of a model never share their 32 bits where they could meet (`salt` is chosen so that none
do); an n-gram that the model does not have is taken for one that it has once in about 10^9 look-ups.

Costs are added as integers, so the sum of a document is the same wherever it is computed. Against KenLM,
whose logarithms are float32, a word differs by at most half a step for each probability and backoff in it.
Cost: 60 to 170 ns a word.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.buffers import TextBuffers, read_only
from pipeline.kernels.jit import kernel
from pipeline.kernels.words import HASH_BASIS, HASH_FACTOR, mix_bits

MAX_COST, MAX_BACKOFF = 65_535, 32_767  # 16.4 and 8.2 decades
BUCKET = 8
BEGIN, END, UNKNOWN = b"<s>", b"</s>", b"<unk>"
_LOW = np.uint64(0xFFFFFFFF)
_WIDE, _SHORT, _BACKOFF_ZERO = np.uint64(32), np.uint64(16), np.int64(32_768)
_LOW_16 = np.uint64(0xFFFF)
_ONE = np.uint64(1)
_SPACE, _NEWLINE = 0x20, 0x0A


class LanguageModel(NamedTuple):
    """`table`: uint64 [buckets * 8]; the rest are hashes of <s>, </s> and <unk> under `salt`."""

    table: NDArray[np.uint64]
    order: int
    salt: int
    begin: int
    end: int
    unknown: int


def open_table(table: NDArray[np.uint64], *, order: int, salt: int) -> LanguageModel:
    """The model of a filled table."""
    marks = (int(hash_words([mark], salt=salt)[0]) for mark in (BEGIN, END, UNKNOWN))
    return LanguageModel(read_only(table), order, salt, *marks)


def score_lines(tokens: TextBuffers, rows: NDArray[np.int64], model: LanguageModel) -> NDArray[np.int64]:
    """int64 [len(rows), 2]: cost in 1/4,000, and words with line ends, of those documents of `tokens`
    (lm_text.tokenize_text). Each line is a sentence from <s> to </s>.
    """
    found = np.zeros((len(rows), 2), np.int64)
    scratch = np.zeros((3, model.order + 1), np.uint64)
    marks = np.array([model.begin, model.end, model.unknown, model.salt], np.uint64)
    rows = read_only(np.ascontiguousarray(rows, np.int64))
    _score_documents(tokens.offsets, tokens.bytes, rows, model.table, read_only(marks), scratch, found)
    return found


@kernel
def _score_documents(offsets, text, rows, table, marks, scratch, found):
    begin, end, unknown, salt = marks[0], marks[1], marks[2], marks[3]
    for row in range(rows.size):
        at, stop = offsets[rows[row]], offsets[rows[row] + 1]
        cost, words = np.int64(0), np.int64(0)
        have = _start_line(table, begin, scratch)
        while at < stop:
            hashed = HASH_BASIS ^ salt
            while text[at] > _SPACE:  # a line ends with a newline, so this stops
                hashed = (hashed ^ np.uint64(text[at])) * HASH_FACTOR
                at += 1
            word_cost, have = _score_word(table, mix_bits(hashed), unknown, scratch, have)
            cost += word_cost
            words += 1
            if text[at] == _NEWLINE:
                word_cost, _ = _score_word(table, end, unknown, scratch, have)
                cost += word_cost
                words += 1
                have = _start_line(table, begin, scratch)
            at += 1
        found[row, 0], found[row, 1] = cost, words


@kernel
def _start_line(table, begin, scratch):
    """Makes <s> the context; returns its length in words."""
    scratch[0, 0] = begin
    scratch[1, 0] = find_entry(table, begin) & _LOW_16
    return np.int64(scratch.shape[1] > 2)


@kernel
def _score_word(table, word, unknown, scratch, have):
    """(cost of a word after the context, length of the context after it).

    `scratch[0, :have]` are the words of the context, the last one first; `scratch[1, i]` is the backoff (as
    it is stored) of its last i + 1 words; `scratch[2]` is room for those of the next context.
    """
    order = scratch.shape[1] - 1
    key = word
    entry = find_entry(table, key)
    if entry == 0:
        key = word = unknown
        entry = find_entry(table, key)
    matched = np.int64(1)
    scratch[2, 0] = entry & _LOW_16
    while matched <= have and matched < order:
        key = extend(key, scratch[0, matched - 1])
        longer = find_entry(table, key)
        if longer == 0:
            break
        entry = longer
        scratch[2, matched] = entry & _LOW_16
        matched += 1
    cost = np.int64(entry >> _SHORT & _LOW_16)
    for length in range(matched - 1, have):
        cost += np.int64(scratch[1, length]) - _BACKOFF_ZERO
    have = min(matched, order - 1)
    for position in range(have - 1, 0, -1):
        scratch[0, position] = scratch[0, position - 1]
        scratch[1, position] = scratch[2, position]
    scratch[0, 0] = word
    scratch[1, 0] = scratch[2, 0]
    return cost, have


@kernel
def extend(key, word):
    """The key of the n-gram that has one more word on its left."""
    return mix_bits(key * HASH_FACTOR + word)


@kernel
def find_entry(table, key):
    """The entry of a key; 0 if there is none."""
    buckets = np.uint64(table.size // BUCKET)
    check = max(key & _LOW, _ONE)
    at = np.int64((key >> _WIDE) * buckets >> _WIDE) * BUCKET
    while True:
        entry = table[at]
        if entry == 0 or entry >> _WIDE == check:
            return entry
        at += 1
        if at == table.size:
            at = 0


# --- filling a table ----------------------------------------------------------------------------------------


def hash_words(words: Sequence[bytes], *, salt: int) -> NDArray[np.uint64]:
    """The hash of each word, as the scorer makes it from text."""
    offsets = np.zeros(len(words) + 1, np.int64)
    np.cumsum([len(word) for word in words], out=offsets[1:])
    hashes = np.empty(len(words), np.uint64)
    content = read_only(np.frombuffer(b"".join(words), np.uint8))
    _hash_words(read_only(offsets), content, np.uint64(salt), hashes)
    return hashes


@kernel
def _hash_words(offsets, text, salt, hashes):
    for word in range(hashes.size):
        hashed = HASH_BASIS ^ salt
        for at in range(offsets[word], offsets[word + 1]):
            hashed = (hashed ^ np.uint64(text[at])) * HASH_FACTOR
        hashes[word] = mix_bits(hashed)


def insert_ngrams(
    table: NDArray[np.uint64],
    hashes: NDArray[np.uint64],
    words: NDArray[np.int32],
    costs: NDArray[np.uint16],
    backoffs: NDArray[np.int16],
) -> int:
    """Puts n-grams of one order into a table with room for them; `words` int32 [n, order] are places in
    `hashes`. Returns how many met another n-gram with their bits (0, or the salt will not do).
    """
    return int(_insert(table, hashes, words, costs.astype(np.int64), backoffs.astype(np.int64)))


@kernel
def _insert(table, hashes, words, costs, backoffs):
    clashes = np.int64(0)
    order = words.shape[1]
    buckets = np.uint64(table.size // BUCKET)
    for row in range(words.shape[0]):
        key = hashes[words[row, order - 1]]
        for left in range(order - 2, -1, -1):
            key = extend(key, hashes[words[row, left]])
        check = max(key & _LOW, _ONE)
        at = np.int64((key >> _WIDE) * buckets >> _WIDE) * BUCKET
        while table[at] != 0:
            clashes += table[at] >> _WIDE == check
            at += 1
            if at == table.size:
                at = 0
        packed = np.uint64(costs[row]) << _SHORT | np.uint64(backoffs[row] + _BACKOFF_ZERO)
        table[at] = check << _WIDE | packed
    return clashes


def has_ngrams(
    table: NDArray[np.uint64], hashes: NDArray[np.uint64], words: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Which n-grams stand in a table; `words` as in `insert_ngrams`."""
    found = np.zeros(len(words), np.bool_)
    _look_up(read_only(table), hashes, np.ascontiguousarray(words), found)
    return found


@kernel
def _look_up(table, hashes, words, found):
    order = words.shape[1]
    for row in range(words.shape[0]):
        key = hashes[words[row, order - 1]]
        for left in range(order - 2, -1, -1):
            key = extend(key, hashes[words[row, left]])
        found[row] = find_entry(table, key) != 0
