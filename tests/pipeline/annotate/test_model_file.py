"""fastText files: what they say of themselves, and models whose labels are other codes."""

import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline.annotate.language import (
    PACKAGED_MODEL,
    find_language_model,
    identify_languages,
    load_language_model,
)
from pipeline.annotate.model_file import read_model_labels
from pipeline.config import RecipeError, Thresholds
from pipeline.plan import check_languages
from pipeline.recipe_file import load_recipe, recipe_from_tree
from pipeline.run import RunOptions, run

WORDS = {
    "eng_Latn": ("the", "of", "water", "gold"),
    "cmn_Hani": ("的", "水", "金", "了"),
    "yue_Hani": ("嘅",),
}


def tiny_model(*, magic: int = 793712314, version: int = 12, kind: int = 3) -> bytes:
    """A fastText classifier that knows a few words: one dimension for each label, softmax, no n-grams."""
    labels, words = list(WORDS), [(word, label) for label, known in WORDS.items() for word in known]
    arguments = (len(labels), 5, 1, 1, 5, 1, 3, kind, 0, 0, 0, 100)  # loss 3 = softmax, kind 3 = supervised
    entries = [word.encode() + b"\0" + struct.pack("<qb", 9, 0) for word in ("</s>", *dict(words))]
    entries += [f"__label__{label}".encode() + b"\0" + struct.pack("<qb", 9, 1) for label in labels]
    rows = [[0.0] * len(labels)] + [[20.0 * (label == own) for label in labels] for _, own in words]
    return b"".join(
        [
            struct.pack("<ii12id", magic, version, *arguments, 1e-4),
            struct.pack("<iiiqq", len(entries), len(words) + 1, len(labels), 99, -1),
            *entries,
            b"\0" + _matrix(rows),
            b"\0" + _matrix([[float(label == own) for label in labels] for own in labels]),
        ]
    )


def _matrix(rows: list[list[float]]) -> bytes:
    numbers = [number for row in rows for number in row]
    return struct.pack(f"<qq{len(numbers)}f", len(rows), len(rows[0]), *numbers)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.bin"
    path.write_bytes(tiny_model())
    return path


def test_labels_of_the_packaged_model() -> None:
    labels = read_model_labels(find_language_model(PACKAGED_MODEL))
    assert len(set(labels)) == len(labels) == 176 and {"en", "zh", "yue", "wuu", "ja"} <= set(labels)


def test_a_model_with_other_labels(tiny: Path) -> None:
    assert read_model_labels(tiny) == ("eng_Latn", "cmn_Hani", "yue_Hani")
    model = load_language_model(tiny, hashlib.sha256(tiny.read_bytes()).hexdigest())
    codes, scores = identify_languages(model, ["the water\nof gold", "的 水", "水 嘅 嘅 嘅", ""])
    assert codes == ["eng_Latn", "cmn_Hani", "yue_Hani", ""]
    assert scores[0] > 9900 and scores[3] == 0


@pytest.mark.parametrize("kind", ["tiny", "packaged"])
def test_a_file_that_is_cut_off_anywhere_is_refused(kind: str, tiny: Path) -> None:
    whole = tiny.read_bytes() if kind == "tiny" else find_language_model(PACKAGED_MODEL).read_bytes()
    step = 1 if kind == "tiny" else 9973
    for size in [*range(0, len(whole), step), len(whole) - 1]:
        tiny.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"damaged|no fastText"):
            read_model_labels(tiny)
    tiny.write_bytes(whole + b"more")  # fastText does not read it either
    assert read_model_labels(tiny)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"<!DOCTYPE html><html>not found</html>", "no fastText model"),
        (b"PK\x03\x04" + bytes(100), "no fastText model"),
        (tiny_model(version=13), "no fastText model"),
        (tiny_model(kind=2), "word vectors"),
        (tiny_model()[:64] + struct.pack("<iiiqq", 0, 0, 0, 0, -1) + (b"\0" + bytes(16)) * 2, "no labels"),
        (tiny_model()[:64] + struct.pack("<iiiqq", 1 << 30, 0, 0, 0, -1), "damaged"),
    ],
)
def test_what_is_no_language_model_fails_before_work(content: bytes, why: str, tiny: Path) -> None:
    tiny.write_bytes(content)
    with pytest.raises(RecipeError, match=rf"annotate\.language_model: .*{why}"):
        check_languages(load_recipe("quickstart", [f"annotate.language_model={tiny}"]))


def test_codes_are_those_of_the_model(tiny: Path) -> None:
    recipe = load_recipe("quickstart")
    check_languages(recipe)
    other = replace(recipe, annotate=replace(recipe.annotate, language_model=str(tiny), perplexity={}))
    with pytest.raises(RecipeError, match=r"decide\.thresholds\.web: .*tiny\.bin has no language 'en'"):
        check_languages(other)
    table = {"web": {"cmn_Hani": Thresholds(languages=("cmn_Hani", "yue_Hans"))}}
    wrong = replace(other, decide=replace(other.decide, thresholds=table))
    with pytest.raises(
        RecipeError, match=r"web\.cmn_Hani\.languages: .* 'yue_Hans' \(did you mean 'yue_Hani"
    ):
        check_languages(wrong)
    table = {"web": {"cmn_Hani": Thresholds(languages=("cmn_Hani",)), "default": Thresholds()}}
    check_languages(replace(other, decide=replace(other.decide, thresholds=table)))
    with pytest.raises(RecipeError, match=r"annotate\.gate\.languages: .*'zho' \(did you mean 'zh'"):
        check_languages(load_recipe("quickstart", ['annotate.gate.languages=["zho"]']))


def test_a_run_with_another_model(tiny: Path, tmp_path: Path) -> None:
    """Thresholds are chosen by the model's own codes."""
    texts = ["the water of the gold", "的 水 的 金", "水 嘅 嘅 嘅"]
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"id": text, "text": text}) + "\n" for text in texts))
    thresholds = {"cmn_Hani": {"min_characters": 100}, "default": {"languages": ["eng_Latn"]}}
    tree = {
        "name": "test",
        "sources": [{"name": "web", "kind": "web", "format": "jsonl", "paths": [str(file)]}],
        "annotate": {"language_model": str(tiny)},
        "decide": {"thresholds": {"web": thresholds}},
    }
    output = tmp_path / "out"
    assert run(recipe_from_tree(tree), RunOptions(str(output), 1), Console(quiet=True)) == 0
    measures, decisions = (
        pq.read_table(next(output.glob(f"{step}/*.parquet"))) for step in ("measures", "decisions")
    )
    assert measures["language"].to_pylist() == ["eng_Latn", "cmn_Hani", "yue_Hani"]
    assert decisions["reason"].to_pylist() == ["", "min_characters", "languages"]
