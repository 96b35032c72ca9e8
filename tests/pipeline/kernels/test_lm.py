"""Scores of tables against the definition of backoff in plain Python, and against KenLM where it is there."""

import json
import math
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.annotate.arpa import compile_arpa, open_model, read_arpa
from pipeline.kernels.lm import LanguageModel, score_lines
from pipeline.kernels.lm_text import tokenize_text
from pipeline.parts import file_sha256
from pipeline.schema import LM_STEPS

WORDS = [f"{a}{b}" for a in "abcdefgh" for b in "xyz"] + ["米", "酒", "0", "."]
BOOKS = Path(__file__).parents[3] / "pipeline" / "quickstart" / "books" / "books.jsonl"
Probabilities = dict[tuple[bytes, ...], tuple[int, int]]


def write_arpa(path: Path, order: int, *, seed: int = 1, text: list[list[str]] | None = None) -> None:
    """Random probabilities of the n-grams of a text, so that all their parts are there."""
    draw = random.Random(seed)
    grams: list[set[tuple[str, ...]]] = [set() for _ in range(order)]
    grams[0] |= {("<unk>",), ("<s>",), ("</s>",)}
    for words in text or [draw.choices(WORDS, k=draw.randrange(1, 12)) for _ in range(60)]:
        line = ["<s>", *words, "</s>"]
        for size in range(1, order + 1):
            grams[size - 1] |= {tuple(line[at : at + size]) for at in range(len(line) - size + 1)}
    lines = ["\\data\\", *(f"ngram {size}={len(found)}" for size, found in enumerate(grams, 1))]
    for size, found in enumerate(grams, 1):
        lines += ["", f"\\{size}-grams:"]
        for gram in sorted(found):
            backoff = "" if size == order else f"\t{draw.uniform(-2, 0.3):.6f}"
            lines.append(
                f"{-99 if gram == ('<s>',) else draw.uniform(-6, -0.1):.6f}\t{' '.join(gram)}{backoff}"
            )
    path.write_text("\n".join([*lines, "", "\\end\\", ""]), encoding="utf-8")


def open_arpa(arpa: Path) -> LanguageModel:
    target = arpa.with_suffix(".lm")
    compile_arpa(arpa, target, language="xx")
    return open_model(target, file_sha256(target))


def steps_of(arpa: Path) -> Probabilities:
    """(cost, backoff) of every n-gram, in steps."""
    vocabulary, orders = read_arpa(arpa)
    return {
        tuple(vocabulary[word] for word in words): (int(cost), int(backoff))
        for of_order in orders
        for words, cost, backoff in zip(
            of_order.words.tolist(), of_order.costs, of_order.backoffs, strict=True
        )
    }


def cost_of(word: bytes, context: tuple[bytes, ...], model: Probabilities) -> int:
    """Backoff, as ARPA files mean it."""
    if (*context, word) in model:
        return model[*context, word][0]
    if not context:
        return model[(b"<unk>",)][0]
    return model.get(context, (0, 0))[1] + cost_of(word, context[1:], model)


def slow_score(text: str, model: Probabilities, order: int) -> tuple[int, int]:
    cost = count = 0
    for line in tokenize_text(pa.array([text])).bytes.tobytes().split(b"\n")[:-1]:
        words = [b"<s>", *(word if (word,) in model else b"<unk>" for word in line.split()), b"</s>"]
        for at in range(1, len(words)):
            cost += cost_of(words[at], tuple(words[max(0, at - order + 1) : at]), model)
            count += 1
    return cost, count


def random_texts(count: int, *, seed: int = 2) -> list[str]:
    draw = random.Random(seed)
    vocabulary = [*WORDS, "never", "seen", "<s>", "\n", "\n"]
    return [" ".join(draw.choices(vocabulary, k=draw.randrange(60))) for _ in range(count)]


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_scores_are_those_of_the_definition(order: int, tmp_path: Path) -> None:
    write_arpa(tmp_path / "model.arpa", order)
    model, slow = open_arpa(tmp_path / "model.arpa"), steps_of(tmp_path / "model.arpa")
    texts = random_texts(200)
    found = score_lines(tokenize_text(pa.array(texts)), np.arange(len(texts)), model)
    assert found.tolist() == [list(slow_score(text, slow, order)) for text in texts]
    assert found[:, 0].max() > 100 * LM_STEPS and found[:, 1].max() > 30


def test_only_asked_rows_are_scored_and_slices_score_the_same(tmp_path: Path) -> None:
    write_arpa(tmp_path / "model.arpa", 3)
    model = open_arpa(tmp_path / "model.arpa")
    texts = pa.array(random_texts(20), pa.large_string())
    whole = score_lines(tokenize_text(texts), np.arange(20), model)
    rows = np.array([3, 17, 4])
    assert np.array_equal(score_lines(tokenize_text(texts), rows, model), whole[rows])
    assert np.array_equal(score_lines(tokenize_text(texts.slice(5, 9)), np.arange(9), model), whole[5:14])


def lines_of(texts: list[str]) -> list[list[str]]:
    """The lines of each text, tokenized."""
    tokens = tokenize_text(pa.array(texts, pa.large_string()))
    raw, offsets = tokens.bytes.tobytes(), tokens.offsets.tolist()
    return [raw[offsets[at] : offsets[at + 1]].decode().split("\n")[:-1] for at in range(len(texts))]


def compare_with_kenlm(arpa: Path, order: int, texts: list[str]) -> int:
    """How many words both scored alike."""
    kenlm = pytest.importorskip("kenlm", reason="the extra [lm] is not installed")
    config = kenlm.Config()
    config.show_progress = False
    model, theirs = open_arpa(arpa), kenlm.Model(str(arpa), config)
    found = score_lines(tokenize_text(pa.array(texts, pa.large_string())), np.arange(len(texts)), model)
    for (cost, count), lines in zip(found.tolist(), lines_of(texts), strict=True):
        assert count == sum(len(line.split()) + 1 for line in lines)
        exact = -math.fsum(theirs.score(line) for line in lines)
        # Of a word, one probability and up to order - 1 backoffs are rounded, each by half a step.
        assert abs(cost / LM_STEPS - exact) <= count * order * 0.5 / LM_STEPS + 1e-4
        # As a rule they cancel out: of a long text, a perplexity differs by less than 0.03 %.
        assert count < 500 or abs(cost / LM_STEPS - exact) / count < 0.5 / LM_STEPS
    return int(found[:, 1].sum())


@pytest.mark.parametrize("order", [2, 3, 5])
def test_against_kenlm_to_the_rounding_step(order: int, tmp_path: Path) -> None:
    write_arpa(tmp_path / "model.arpa", order, seed=order)
    assert compare_with_kenlm(tmp_path / "model.arpa", order, random_texts(300)) > 5_000


def test_against_kenlm_on_real_text(tmp_path: Path) -> None:
    books = [json.loads(line)["text"] for line in BOOKS.read_text(encoding="utf-8").splitlines()]
    half = [line.split(" ") for lines in lines_of(books) for line in lines][::2]  # the rest has unknown words
    write_arpa(tmp_path / "model.arpa", 3, text=half)
    assert compare_with_kenlm(tmp_path / "model.arpa", 3, books) > 5_000
