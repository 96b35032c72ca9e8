"""Classifiers score as fastText itself does, for every kind of file that it writes."""

import gzip
import json
import random
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.annotate.classifier_file import (
    compile_classifier,
    compiled_name,
    open_classifier,
    save_classifier,
)
from pipeline.annotate.fasttext_file import HIERARCHICAL, ONE_VS_ALL, SOFTMAX, write_model_file
from pipeline.annotate.language import find_language_model
from pipeline.annotate.model_file import LABEL_PREFIX
from pipeline.annotate.score_models import find_classifier, packaged_models
from pipeline.schema import SCORE_STEPS
from pipeline.storage import Storage

DATA = Path(__file__).resolve().parents[3] / "../shared/data/text"
WORDS = (
    "the",
    "of",
    "gold",
    "sand",
    "水",
    "黄金",
    "naïve",
    "x" * 60,
    "__labels",
    "a.b",
    "🌊",
    "</s>",
    "__label__none",
)
PIECES = [
    *WORDS[:11],
    "The",
    "ofgold",
    "水门开了",
    "\u00a0",
    "e\u0301",
    "__label__a",
    "__label__",
    "</s",
    "ﬁ",
]
SEPARATORS = (" ", "  ", "\t", "\v", "\f", "\r", "\0", " \0 ", "\n")
_LOSS_AT = 8 + 4 * 6  # in the file: behind magic, version and six other arguments


def nasty_texts(count: int) -> list[str]:
    """Words that are known, unknown, labels, ends of lines, in one of several alphabets; some texts empty."""
    draw = random.Random(7)
    return ["", " ", "\n", *("".join(_parts(draw)) for _ in range(count))]


def _parts(draw: random.Random) -> list[str]:
    parts = []
    for _ in range(draw.randint(0, 30)):
        parts += [draw.choice(PIECES), draw.choice(SEPARATORS)]
    return parts


def model_file(
    path: Path, *, ngrams: int, characters: tuple[int, int], loss: int = SOFTMAX, labels: int = 3
) -> Path:
    """A model with drawn weights, 8 dimensions and 5,000 buckets."""
    numbers = np.random.default_rng(3)
    words = [
        (b"</s>", 10),
        *((word.encode(), 5) for word in WORDS if not word.startswith(("</s>", "__label__"))),
    ]
    write_model_file(
        path,
        words=words,
        labels=[(name, 90 - 20 * place) for place, name in enumerate("abcdef"[:labels])],
        buckets=5_000,
        ngrams=ngrams,
        characters=characters,
        weights=numbers.normal(0, 2, (len(words) + 5_000, 8)).astype(np.float32),
        outputs=numbers.normal(0, 1, (labels, 8)).astype(np.float32),
        epochs=5,
    )
    content = bytearray(path.read_bytes())
    struct.pack_into("<i", content, _LOSS_AT, loss)
    path.write_bytes(content)
    return path


def library_scores(path: Path, texts: list[str], labels: tuple[str, ...]) -> np.ndarray:
    """float64 [texts, labels] as the library's predict has them for a text as one line."""
    import fasttext_pybind

    model = fasttext_pybind.fasttext()
    model.loadModel(str(path))
    found = np.zeros((len(texts), len(labels)))
    for row, text in enumerate(texts):
        for probability, label in model.predict(text.replace("\n", " ") + "\n", len(labels), 0.0, "strict"):
            found[row, labels.index(label.removeprefix(LABEL_PREFIX))] = probability
    return found


def assert_equal_scores(path: Path, texts: list[str], *, off: float = 1) -> None:
    """Equal to a step, which two that round apart are; nearly all are equal after rounding."""
    classifier = compile_classifier(path)
    ours = classifier.probabilities(pa.array(texts))
    theirs = np.minimum(library_scores(path, texts, classifier.labels), 1)
    assert np.abs(ours - theirs).max() * SCORE_STEPS < off
    assert (np.rint(ours * SCORE_STEPS) == np.rint(theirs * SCORE_STEPS)).mean() > 0.97


@pytest.mark.parametrize("characters", [(0, 0), (1, 3), (3, 5)])
@pytest.mark.parametrize("ngrams", [1, 2, 5])
def test_any_features(ngrams: int, characters: tuple[int, int], tmp_path: Path) -> None:
    path = model_file(tmp_path / "model.bin", ngrams=ngrams, characters=characters)
    assert_equal_scores(path, nasty_texts(300))


@pytest.mark.parametrize("labels", [2, 6])
@pytest.mark.parametrize("loss", [SOFTMAX, HIERARCHICAL])
def test_any_loss(loss: int, labels: int, tmp_path: Path) -> None:
    path = model_file(tmp_path / "model.bin", ngrams=2, characters=(2, 4), loss=loss, labels=labels)
    assert_equal_scores(path, nasty_texts(300))


def test_a_sigmoid_per_label(tmp_path: Path) -> None:
    """The library looks its sigmoid up in a table: a text may fall to the next entry."""
    path = model_file(tmp_path / "model.bin", ngrams=1, characters=(0, 0), loss=ONE_VS_ALL)
    assert_equal_scores(path, nasty_texts(300), off=0.008 * SCORE_STEPS)


def test_quantised_and_pruned() -> None:
    assert_equal_scores(
        find_language_model("lid.176.ftz"), ["Gold and sand.", "水门开了，潮水进来。", "l'eau"] * 5
    )


@pytest.mark.parametrize("name", packaged_models())
def test_packaged_models_on_real_text(name: str) -> None:
    language = name.rpartition("-")[2]
    if not DATA.is_dir():
        pytest.skip("no shared data on this machine")
    with gzip.open(DATA / f"{language}.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(next(lines))["text"][:5_000] for _ in range(60)]
    assert_equal_scores(find_classifier(name), texts)


def test_a_compiled_model_is_kept_and_mapped(tmp_path: Path) -> None:
    path = model_file(tmp_path / "model.bin", ngrams=2, characters=(1, 2), loss=HIERARCHICAL)
    storage = Storage.open(str(tmp_path / "out"))
    save_classifier(storage, path, "ab" * 32)
    assert storage.size(compiled_name("ab" * 32))
    texts = pa.array(nasty_texts(50))
    opened = open_classifier(str(tmp_path / "out"), "ab" * 32)
    assert np.array_equal(opened.probabilities(texts), compile_classifier(path).probabilities(texts))


def test_slices_nulls_and_large_strings(tmp_path: Path) -> None:
    classifier = compile_classifier(model_file(tmp_path / "model.bin", ngrams=2, characters=(0, 0)))
    texts = nasty_texts(20)
    alone = np.concatenate([classifier.probabilities(pa.array([text])) for text in texts])
    assert np.array_equal(classifier.probabilities(pa.array(["x", *texts])[1:]), alone)
    assert np.array_equal(classifier.probabilities(pa.array(texts, pa.large_string())), alone)
    assert np.array_equal(classifier.probabilities(pa.array([None, texts[5]]))[1], alone[5])
    assert classifier.probabilities(pa.array([], pa.string())).shape == (0, 3)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda content: content[:-9], "damaged"),
        (lambda content: content[: len(content) // 2], "damaged"),
        (lambda content: b"\0" + content, "no fastText model"),
        (lambda content: content[:-4] + struct.pack("<f", float("nan")), "no numbers"),
        (lambda content: content[:-4] + struct.pack("<f", 1e9), "beyond"),
    ],
)
def test_files_that_cannot_be_used(change, why: str, tmp_path: Path) -> None:
    path = model_file(tmp_path / "model.bin", ngrams=2, characters=(0, 0))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=why):
        compile_classifier(path)
