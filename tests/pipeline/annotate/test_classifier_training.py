"""Trained classifiers: the same texts give the same file, which fastText reads, and a true card."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline.annotate.classifier_file import compile_classifier
from pipeline.annotate.classifier_training import (
    Training,
    held_out_texts,
    measure_classifier,
    precision_recall,
    train_classifier,
)
from pipeline.annotate.score_models import packaged_models
from pipeline.config import UsageError
from pipeline.parts import file_sha256
from pipeline.train_classifier import train

GOOD = ["water", "runs", "through", "a", "sluice", "and", "leaves", "gold", "behind", "while", "sand", "goes"]
BAD = ["click", "here", "buy", "now", "cheap", "login", "cart", "menu", "next", "page", "free", "share"]
SMALL = Training(buckets=4_096, held_out=0.25)


def drawn(words: list[str], count: int, seed: int) -> list[str]:
    """Texts of 8 to 30 words, a fifth of which are of the other kind."""
    draw = random.Random(seed)
    other = BAD if words is GOOD else GOOD
    return [
        " ".join(draw.choice(words if draw.random() < 0.8 else other) for _ in range(draw.randint(8, 30)))
        for _ in range(count)
    ]


TEXTS = {"positive": drawn(GOOD, 200, 1), "negative": drawn(BAD, 150, 2)}


@pytest.mark.parametrize("characters", [0, 3])
def test_it_learns_and_the_card_is_true(characters: int, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    training = replace(SMALL, characters=characters)
    card = train_classifier(TEXTS, path, training, {"positive": "drawn"})
    assert card == json.loads(path.with_suffix(".json").read_text())
    assert card["sha256"] == file_sha256(path) and card["bytes"] == path.stat().st_size
    assert card["held_out"]["accuracy"] > 0.95
    texts, of = held_out_texts(TEXTS, ["positive", "negative"], training)
    assert len(texts) == sum(counts["held_out"] for counts in card["texts"].values())
    found = compile_classifier(path)
    assert found.labels == ("positive", "negative")
    assert measure_classifier(found, texts, of, ["positive", "negative"]) == card["held_out"]
    known = {*TEXTS["positive"], *TEXTS["negative"]} - set(texts.to_pylist())
    assert len(known) == sum(counts["train"] for counts in card["texts"].values())


def test_the_order_of_texts_and_copies_do_not_matter(tmp_path: Path) -> None:
    one = train_classifier(TEXTS, tmp_path / "one.bin", SMALL, {})
    shuffled = {
        label: random.Random(5).sample([*texts, *texts], 2 * len(texts))
        for label, texts in sorted(TEXTS.items())
    }
    other = train_classifier(shuffled, tmp_path / "other.bin", SMALL, {})
    assert one["sha256"] == other["sha256"]
    seeded = train_classifier(TEXTS, tmp_path / "seeded.bin", replace(SMALL, seed=1), {})
    assert seeded["sha256"] != one["sha256"]


def test_more_labels_than_two(tmp_path: Path) -> None:
    texts = {**TEXTS, "third": drawn(["alpha", "beta", "gamma", "delta", "epsilon", "zeta"], 120, 3)}
    card = train_classifier(texts, tmp_path / "model.bin", SMALL, {})
    assert card["labels"] == ["positive", "negative", "third"]
    assert min(of["f1"] for of in card["held_out"]["labels"].values()) > 0.9
    found = compile_classifier(tmp_path / "model.bin").probabilities(pa.array(["alpha beta gamma"]))
    assert found.argmax() == 2 and abs(found.sum() - 1) < 1e-3


def test_the_library_reads_the_file(tmp_path: Path) -> None:
    import fasttext_pybind

    train_classifier(TEXTS, tmp_path / "model.bin", SMALL, {})
    library = fasttext_pybind.fasttext()
    library.loadModel(str(tmp_path / "model.bin"))
    texts = [*TEXTS["positive"][:20], *TEXTS["negative"][:20]]
    ours = compile_classifier(tmp_path / "model.bin").probabilities(pa.array(texts))[:, 0]
    theirs = []
    for text in texts:
        answers = library.predict(f"{text}\n", 2, 0.0, "strict")
        theirs += [probability for probability, label in answers if label == "__label__positive"]
    assert np.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("texts", [{"positive": GOOD}, {"positive": ["one"], "negative": ["two"]}])
def test_too_little_to_train_on(texts: dict[str, list[str]], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"labels|too few"):
        train_classifier(texts, tmp_path / "model.bin", SMALL, {})


def test_precision_and_recall() -> None:
    said, true = np.array([1, 1, 1, 0, 0], bool), np.array([1, 1, 0, 1, 0], bool)
    assert precision_recall(said, true) == {"precision": 0.6667, "recall": 0.6667, "f1": 0.6667}
    assert precision_recall(~true & true, true) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_the_command_reads_files_of_texts(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"content": text}) + "\n" for text in TEXTS["positive"])
    (tmp_path / "good.jsonl").write_text(lines)
    table = pa.table({"content": TEXTS["negative"]})
    pq.write_table(table, tmp_path / "bad.parquet")
    classes = {"positive": [str(tmp_path / "*.jsonl")], "negative": [str(tmp_path / "bad.parquet")]}
    output, quiet = str(tmp_path / "made" / "model.bin"), Console(quiet=True)
    assert train(output, classes, quiet, field="content", most=1_000, training=SMALL) == 0
    card = json.loads((tmp_path / "made" / "model.json").read_text())
    assert card["sources"]["positive"][0]["files"][0]["name"] == "good.jsonl"
    assert card["sources"]["negative"][0]["texts"] == len(TEXTS["negative"])
    for field, path, why in (
        ("text", "good.jsonl", "line 1 has no text"),
        ("content", "none.jsonl", "no file"),
        ("content", "bad.csv", "ends in"),
    ):
        (tmp_path / "bad.csv").write_text("content\n")
        broken = {**classes, "positive": [str(tmp_path / path)]}
        with pytest.raises(UsageError, match=why):
            train(output, broken, quiet, field=field, most=1_000, training=SMALL)


@pytest.mark.parametrize("name", packaged_models())
def test_cards_of_packaged_models(name: str) -> None:
    path = packaged_models()[name]
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["sha256"] == file_sha256(path)
    assert card["sources"]["positive"] and card["sources"]["negative"]
    assert card["held_out"]["labels"]["positive"]["f1"] > 0.8
