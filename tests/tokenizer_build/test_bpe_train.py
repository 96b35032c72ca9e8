"""Training against the published worked examples, a naive trainer, and another trainer's vocabulary."""

import collections
import itertools
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer_build import bpe_train
from tokenizer_build.bpe_train import lay_out, train_merges
from tokenizer_build.merge_table import byte_merges, encode_words
from tokenizer_build.piece_counts import SCHEMA, PieceCounter
from tokenizer_build.vocabulary import PATTERNS, QWEN_PATTERN

ROOT = Path(__file__).parents[2]

Counted = dict[bytes, int]


def table(counted: Counted) -> pa.Table:
    return pa.table([list(counted), list(counted.values())], schema=SCHEMA)


def train(counted: Counted, merges: int, **options: int) -> list[tuple[int, int]]:
    words = lay_out(table(counted), byte_merges().byte_ids())
    return [
        (left, right)
        for left, right in train_merges(words, np.ones(256, np.int32), merges, **options).tolist()
    ]


def made_tokens(counted: Counted, merges: int, **options: int) -> list[bytes]:
    pairs = np.array(train(counted, merges, **options), np.int32).reshape(-1, 2)
    return byte_merges().extended(pairs).tokens[256:]


def naive(counted: Counted, merges: int) -> list[tuple[int, int]]:
    """BPE as its definition says: count all pairs, merge the most frequent, begin again."""
    words: list[Sequence[int]] = [list(word) for word in counted]
    made = []
    for new in range(256, 256 + merges):
        counts: collections.Counter[tuple[int, int]] = collections.Counter()
        for word, count in zip(words, counted.values(), strict=True):
            for pair in itertools.pairwise(word):
                counts[pair] += count
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        made.append(best)
        for i, word in enumerate(words):
            merged, at = [], 0
            while at < len(word):
                pair_here = tuple(word[at : at + 2]) == best
                merged.append(new if pair_here else word[at])
                at += 2 if pair_here else 1
            words[i] = merged
    return made


def test_example_of_the_encyclopedia() -> None:
    # "Byte pair encoding", Wikipedia: aaabdaaabac -> ZabdZabac -> ZYdZYac -> XdXac.
    assert made_tokens({b"aaabdaaabac": 1}, 3) == [b"aa", b"ab", b"aaab"]


def test_example_of_sennrich() -> None:
    # Sennrich, Haddow and Birch 2016, algorithm 1, with `.` for `</w>`. es, st and t. have nine occurrences
    # each: the paper's dictionary joins `es`, then `est`; our rule of ties `es`, then `t.`. The learned words
    # and the split of the unseen `lowest` are those of the paper.
    counted = {b"low.": 5, b"lower.": 2, b"newest.": 6, b"widest.": 3}
    made = made_tokens(counted, 10)
    assert made == [b"es", b"t.", b"est.", b"lo", b"low", b"ew", b"new", b"newest.", b"low.", b"dest."]
    merges = byte_merges().extended(np.array(train(counted, 10), np.int32))
    words = lay_out(table({b"lowest.": 1}), merges.byte_ids())
    encode_words(words, merges)
    assert [merges.tokens[token] for token in words.tokens[[1, 4]]] == [b"low", b"est."]


@pytest.mark.parametrize("letters", [b"a", b"ab", b"abc", b"abcdefgh"])
@pytest.mark.parametrize("small", [False, True])
def test_merges_are_those_of_the_definition(
    letters: bytes, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if small:  # tables that overflow and floors that fall at every turn
        monkeypatch.setattr(bpe_train, "_FIRST_PAIRS", 2)
        monkeypatch.setattr(bpe_train, "_FIRST_FLOOR", 3)
        monkeypatch.setattr(bpe_train, "_FLOOR_STEP", 2)
    for seed in range(25):
        draw = random.Random(seed)
        counted = {
            bytes(draw.choices(letters, k=draw.randint(0, 14))): draw.randint(1, 40) for _ in range(40)
        }
        assert train(counted, 60) == naive(counted, 60), seed


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.binary(max_size=12), st.integers(1, 1 << 40), max_size=8))
def test_any_bytes_any_counts(counted: Counted) -> None:
    assert train(counted, 30) == naive(counted, 30)


def test_order_of_words_does_not_matter() -> None:
    counted = {bytes([97 + i % 7, 98 + i % 5, 97 + i % 3, 100 + i % 2]): 1 + i % 11 for i in range(210)}
    turned = dict(reversed(counted.items()))
    assert train(counted, 50) == train(turned, 50)


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = {b"abcdef": 9, b"xy": 3}
    assert max(map(len, made_tokens(counted, 50, longest=4))) == 4
    assert made_tokens(counted, 50, least=4) == [b"ab", b"cd", b"ef", b"abcd", b"abcdef"]
    assert train({}, 5) == [] and train({b"": 4, b"a": 2}, 5) == []
    monkeypatch.setattr(bpe_train, "_MOST_PLACES", 10)
    with pytest.raises(ValueError, match=r"11 bytes of distinct pieces: .* raise the least count"):
        train(counted, 50)


def test_training_goes_on_where_it_stopped() -> None:
    counted = {bytes(random.Random(seed).choices(b"abcde", k=12)): seed + 1 for seed in range(60)}
    whole = np.array(train(counted, 60), np.int32)
    half = byte_merges().extended(whole[:25])
    words = lay_out(table(counted), half.byte_ids())
    encode_words(words, half)
    assert train_merges(words, half.sizes(), 35).tolist() == whole[25:].tolist()


def test_same_vocabulary_as_rustbpe() -> None:
    rustbpe = pytest.importorskip("rustbpe", reason="the trainer to compare with is not installed")
    draw = random.Random(5)
    stems = [
        "".join(draw.choices("abcdefghijklmnop的一是不了人我在有他这中", k=draw.randint(1, 6)))
        for _ in range(400)
    ]
    documents = [
        " ".join(draw.choices(stems, k=200)) + "，" + "".join(draw.choices(stems, k=5)) for _ in range(40)
    ]
    other = rustbpe.Tokenizer()
    other.train_from_iterator(iter(documents), 900, pattern=QWEN_PATTERN)
    theirs = [bytes(token) for token, _ in sorted(other.get_mergeable_ranks(), key=lambda entry: entry[1])]
    counter = PieceCounter(PATTERNS[QWEN_PATTERN], memory_bytes=1 << 20)
    counter.add(pa.array(documents))
    merges = byte_merges()
    words = lay_out(counter.table(), merges.byte_ids())
    assert merges.extended(train_merges(words, merges.sizes(), 900 - 256)).tokens == theirs


CHECKED = """
import numba, random
from tests.tokenizer_build.test_bpe_train import train, naive
from tests.tokenizer_build.test_piece_counts import counted, documents, as_dict, expected, SMALL
from tokenizer_build import bpe_train
from tokenizer_build.merge_table import byte_merges, count_tokens, split_tokens
bpe_train._FIRST_PAIRS, bpe_train._FIRST_FLOOR = 2, 3
for letters in (b"a", b"ab", b"abcdef"):
    for seed in range(5):
        draw = random.Random(seed)
        words = {bytes(draw.choices(letters, k=draw.randint(0, 14))): draw.randint(1, 9) for _ in range(20)}
        assert train(words, 40) == naive(words, 40)
texts = documents(1) + ["的" * 1000]
pieces = counted(texts, SMALL)
assert sum(as_dict(pieces).values()) >= sum(expected(documents(1)).values())
merges = byte_merges()
words = bpe_train.lay_out(pieces, merges.byte_ids())
merges = merges.extended(bpe_train.train_merges(words, merges.sizes(), 200))
assert split_tokens(merges.tokens).pairs.tolist() == merges.pairs.tolist()
sizes = merges.sizes()
assert count_tokens(pieces, merges) @ sizes == sum(len(text.encode()) for text in texts)
print("checked", numba.config.BOUNDSCHECK)
"""


@pytest.mark.slow
def test_kernels_stay_in_bounds() -> None:
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", CHECKED], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "checked 1"
