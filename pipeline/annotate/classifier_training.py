"""Trains a classifier of texts, measures it on texts that it has not seen, and writes a fastText file.

Training is ours and not the library's: with one thread the library is deterministic, too, but its package
and the one that reads language models overwrite each other's files, and its model has vectors where one
number per feature does (kernels/classifier_training.py). The file is a fastText file all the same, which any
version 0.9 reads and scores alike.

A text's side is a hash of its folded text: copies of a text are never on both. What is measured on the
held-out side is the written file, by the code that scores documents.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.annotate.classifier_file import Classifier, compile_classifier, dictionary_model
from pipeline.annotate.digests import text_digests
from pipeline.annotate.fasttext_file import write_model_file
from pipeline.kernels.buffers import text_buffers
from pipeline.kernels.classifier import END
from pipeline.kernels.classifier_training import MAX_BYTES, count_documents, train_weights
from pipeline.kernels.keyed import below, keyed_u64
from pipeline.parts import file_sha256

CARD_VERSION = 1
_TRAINING_VERSION = 1
_SHARE_STEPS = 10_000
THRESHOLDS = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True, slots=True)
class Training:
    """How a classifier is trained. `words`: features are words and runs of two; else runs of 1 to
    `characters` characters, for scripts without spaces.
    """

    characters: int = 0  # 0: words
    words: int = 50_000  # of the dictionary, at most: the most frequent
    buckets: int = 262_144  # 4 bytes each (times labels less one) in the file
    least_texts: int = 3  # in which a feature occurs, else it gets no weight
    passes: int = 6
    rate: float = 2.0
    held_out: float = 0.1  # share of the texts, by hash
    seed: int = 0


def train_classifier(
    texts: Mapping[str, Sequence[str]], path: Path, training: Training, sources: Mapping[str, Any]
) -> dict[str, Any]:
    """Trains on texts by label, writes `path` and its card beside it (.json), returns the card. `sources`:
    what the card says of the texts' origin. Neither the order of texts nor that of labels matters.

    ValueError for fewer than two labels or one without texts on both sides.
    """
    labels = sorted(texts, key=lambda name: (name != "positive", name))
    if len(labels) < 2:
        raise ValueError("a classifier needs texts of two labels or more")
    everything, of = _distinct(texts, labels)
    held_out = _held_out(everything, training)
    for number, label in enumerate(labels):
        if not (held_out & (of == number)).any() or not (~held_out & (of == number)).any():
            raise ValueError(
                f"{label}: {np.count_nonzero(of == number)} texts are too few to train and to test"
            )
    known = everything.filter(pa.array(~held_out))
    _train(known, of[~held_out], labels, path, training)
    classifier = compile_classifier(path)
    card = {
        "version": CARD_VERSION,
        "file": path.name,
        "sha256": file_sha256(path),
        "bytes": path.stat().st_size,
        "labels": labels,
        "training": {**asdict(training), "version": _TRAINING_VERSION, "bytes_per_text": MAX_BYTES},
        "sources": dict(sources),
        "texts": {
            label: {
                "train": int(np.count_nonzero(~held_out & (of == number))),
                "held_out": int(np.count_nonzero(held_out & (of == number))),
            }
            for number, label in enumerate(labels)
        },
        "held_out": measure_classifier(
            classifier, everything.filter(pa.array(held_out)), of[held_out], labels
        ),
    }
    path.with_suffix(".json").write_text(
        json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    return card


def held_out_texts(
    texts: Mapping[str, Sequence[str]], labels: Sequence[str], training: Training
) -> tuple[pa.Array, np.ndarray]:
    """(texts, number of the label of each) that training with these settings holds out."""
    everything, of = _distinct(texts, labels)
    held_out = _held_out(everything, training)
    return everything.filter(pa.array(held_out)), of[held_out]


def measure_classifier(
    classifier: Classifier, texts: pa.Array, of: np.ndarray, labels: Sequence[str]
) -> dict[str, Any]:
    """Precision, recall and F1 of each label where it is the likeliest, and of the first by threshold."""
    found = classifier.probabilities(texts)[:, [classifier.labels.index(label) for label in labels]]
    best = found.argmax(axis=1)
    return {
        "accuracy": round(float((best == of).mean()), 4),
        "labels": {
            label: precision_recall(best == number, of == number) for number, label in enumerate(labels)
        },
        "thresholds": {str(limit): precision_recall(found[:, 0] >= limit, of == 0) for limit in THRESHOLDS},
    }


def precision_recall(said: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Precision, recall, F1 (4 digits) of bool arrays; 0 where there is nothing to divide by."""
    hits, found, wanted = (int(np.count_nonzero(one)) for one in (said & true, said, true))
    shares = (hits / max(found, 1), hits / max(wanted, 1), 2 * hits / max(found + wanted, 1))
    return {name: round(value, 4) for name, value in zip(("precision", "recall", "f1"), shares, strict=True)}


def _distinct(texts: Mapping[str, Sequence[str]], labels: Sequence[str]) -> tuple[pa.Array, np.ndarray]:
    """(texts, number of the label of each), in the order of their digests, each folded text once per label:
    the order in which they came does not matter.
    """
    pool = pa.array([text for label in labels for text in texts[label]], pa.large_string())
    of = np.repeat(np.arange(len(labels)), [len(texts[label]) for label in labels])
    digests = np.array([*text_digests(pool).to_pylist(), b""], object)[:-1].astype("S16")
    contents = np.array(
        [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in pool.to_pylist()], "S16"
    )
    order = np.lexsort((contents, of, digests))
    digests, of = digests[order], of[order]
    first = np.ones(len(order), bool)
    first[1:] = (digests[1:] != digests[:-1]) | (of[1:] != of[:-1])
    return pool.take(pa.array(order[first])), of[first]


def _held_out(texts: pa.Array, training: Training) -> np.ndarray:
    drawn = below(keyed_u64(text_digests(texts), seed=training.seed, tag="held out"), _SHARE_STEPS)
    return drawn < int(Fraction(str(training.held_out)) * _SHARE_STEPS)


def _train(texts: pa.Array, of: np.ndarray, labels: Sequence[str], path: Path, training: Training) -> None:
    words = [(END, len(texts))] + ([] if training.characters else _frequent_words(texts, training))
    ngrams, characters = (1, (1, training.characters)) if training.characters else (2, (0, 0))
    model = dictionary_model([word for word, _ in words], training.buckets, characters, ngrams)
    buffers = text_buffers(texts)
    usable = count_documents(buffers, model) >= training.least_texts
    # The last label is the one that the others are weighed against; all are softmax's alike.
    columns = len(labels) - 1
    ids = text_digests(texts)
    orders = [
        np.argsort(keyed_u64(ids, seed=training.seed, tag="order", copy=turn), kind="stable")
        for turn in range(training.passes)
    ]
    weights = train_weights(
        buffers, of.astype(np.int64), np.stack(orders), model, usable, columns=columns, rate=training.rate
    )
    counts = np.bincount(of, minlength=len(labels))
    write_model_file(
        path,
        words=words,
        labels=[(label, int(count)) for label, count in zip(labels, counts, strict=True)],
        buckets=training.buckets,
        ngrams=ngrams,
        characters=characters,
        weights=weights.astype(np.float32),
        outputs=np.eye(len(labels), columns, dtype=np.float32),
        epochs=training.passes,
    )


def _frequent_words(texts: pa.Array, training: Training) -> list[tuple[bytes, int]]:
    """The most frequent words in enough texts, with how many texts have them; of equals the smaller bytes."""
    seen: Counter[bytes] = Counter()
    for text in texts.cast(pa.large_binary()).to_pylist():
        seen.update(set(text[:MAX_BYTES].replace(b"\0", b" ").split()))
    seen.pop(END, None)
    enough = [(word, count) for word, count in seen.items() if count >= training.least_texts]
    enough = [(word, count) for word, count in enough if not word.startswith(b"__label__")]
    return sorted(enough, key=lambda pair: (-pair[1], pair[0]))[: training.words]
