"""Runs that score: what a changed model makes again, what why and simulate tell, and what is refused."""

import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.annotate.classifier_file import compiled_name
from pipeline.annotate.model_file import read_model_labels
from pipeline.annotate.score_models import LISTS_HASH, find_classifier
from pipeline.config import RecipeError
from pipeline.parts import file_sha256
from pipeline.phase import need_rows
from pipeline.recipe_file import load_recipe
from pipeline.report.explain import explain_document
from pipeline.report.run_folder import open_run
from pipeline.report.settings import change_recipe
from pipeline.report.simulation import simulate

MODELS = "annotate.quality_models={en={model='%s'},zh={model='quality-zh'}}"
ASKED = (
    "decide.thresholds.web.en.min_quality_score=0.2",
    "decide.thresholds.web.zh.quality_score_pareto=9",
    "decide.thresholds.web.en.max_toxic_score=0.9",
    "decide.thresholds.web.zh.max_toxic_score=0.9",
    "decide.thresholds.web.en.max_flagged_word_share=0.5",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packaged model, to be changed."""
    path = tmp_path_factory.mktemp("models") / "mine.bin"
    shutil.copyfile(find_classifier("quality-en"), path)
    return path


@pytest.fixture(scope="module")
def scored(
    run_small: Callable[..., Any], model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    output = tmp_path_factory.mktemp("scored") / "out"
    return output, run_small(output, MODELS % model, *ASKED)


def times(output: Path) -> dict[str, int]:
    return {
        str(path.relative_to(output)): path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()
    }


def measures(output: Path) -> list[dict[str, Any]]:
    columns = ["language", "quality_score", "quality_steps", "toxic_steps", "flagged_words"]
    return [
        row
        for path in sorted(output.glob("measures/*.parquet"))
        for row in pq.read_table(path, columns=columns).to_pylist()
    ]


def test_scores_stand_beside_the_texts_of_kinds_that_ask(scored: tuple[Path, dict[str, Any]]) -> None:
    rows = measures(scored[0])
    judged = [row for row in rows if row["quality_steps"]]
    assert {row["language"] for row in judged} == {"en", "zh"}
    assert all(0 < row["quality_score"] <= 10_000 for row in judged)
    assert all(row["quality_score"] == 0 for row in rows if row["quality_steps"] == 0)
    assert {row["quality_steps"] is None for row in rows} == {True, False}  # no rule for books asks


def test_the_manifest_names_models_by_sha256(scored: tuple[Path, dict[str, Any]], model: Path) -> None:
    output, manifest = scored
    files = manifest["environment"]["files"]
    assert files[str(model)] == file_sha256(model)
    assert files["toxicity-zh"] == file_sha256(find_classifier("toxicity-zh"))
    assert len(files[LISTS_HASH]) == 64
    assert (output / compiled_name(files[str(model)])).is_file()


def test_a_retrained_model_rewrites_measures_only(
    scored: tuple[Path, dict[str, Any]], model: Path, run_small: Callable[..., Any], tmp_path: Path
) -> None:
    output, other = tmp_path / "out", tmp_path / "mine.bin"
    shutil.copytree(scored[0], output)
    content = bytearray(model.read_bytes())
    struct.pack_into(
        "<f", content, len(content) - 4, 0.001
    )  # the last label's vector: all scores move a little
    other.write_bytes(content)
    before = times(output)
    run_small(output, MODELS % other, *ASKED)
    after = times(output)
    put = {name.split("/")[0] for name, time in after.items() if before.get(name) != time}
    put |= {name.rpartition("/")[0] for name, time in after.items() if before.get(name) != time}
    assert "measures" in put
    untouched = {"documents", "work/signatures", "clusters", "work/groups", "work/verified", "quarantine"}
    assert not put & untouched
    old, new = (
        re.sub(r'"quality_score": \d+', "", json.dumps(measures(path))) for path in (scored[0], output)
    )
    assert old == new and measures(output) != measures(scored[0])


@pytest.mark.slow
def test_an_equal_model_elsewhere_makes_nothing_again(
    scored: tuple[Path, dict[str, Any]], model: Path, run_small: Callable[..., Any], tmp_path: Path
) -> None:
    output, copy = tmp_path / "out", tmp_path / "copy.bin"
    shutil.copytree(scored[0], output)
    shutil.copyfile(model, copy)
    before = times(output)
    run_small(output, MODELS % copy, *ASKED)
    assert {
        name for name, time in times(output).items() if before.get(name) != time and "measures/" in name
    } == set()


def test_why_shows_scores_and_rules(scored: tuple[Path, dict[str, Any]]) -> None:
    job = open_run(str(scored[0]))
    rows = need_rows(job, "documents", range(job.parts))
    shown = [explain_document(job, row.number << 32) for row in rows if row.file("documents").rows]
    rules = {rule["rule"]: rule for document in shown for rule in document["rules"]}
    assert {"min_quality_score", "quality_score_pareto", "max_toxic_score", "max_flagged_word_share"} <= set(
        rules
    )
    assert rules["quality_score_pareto"]["value"][1] == 10_000


def test_simulate_moves_thresholds_on_scores(scored: tuple[Path, dict[str, Any]]) -> None:
    job = open_run(str(scored[0]))
    strict = change_recipe(job.recipe, ["decide.thresholds.web.en.min_quality_score=1"])
    assert simulate(job, strict).rules["min_quality_score"].caught > 5
    milder = change_recipe(job.recipe, ["decide.thresholds.web.zh.quality_score_pareto=50"])
    effect = simulate(job, milder).rules["quality_score_pareto"]
    assert effect.caught > 0 and effect.freed == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([MODELS % "quality-eng"], "no classifier 'quality-eng'.*did you mean 'quality-en'"),
        (
            ["annotate.toxicity_models={default={model='quality-en',labels=['good']}}"],
            "no label 'good', only positive, negative",
        ),
        (["annotate.quality_models={en={model='quality-en',labels=[]}}"], "labels is empty"),
        (["annotate.quality_models={fr={model='quality-en'}}"], "min_quality_score compares nothing.*'en'"),
        (["annotate.word_lists={hate='packaged'}"], "'hate' is not one of violence, bias"),
        (["annotate.word_lists={bias='/none'}"], "annotate.word_lists.bias: /none is no folder"),
        (["decide.thresholds.web.zh.quality_score_pareto=0"], "quality_score_pareto = 0 must lie"),
        (["decide.thresholds.web.en.min_quality_score=2"], "min_quality_score = 2.0 must lie"),
    ],
)
def test_what_is_refused_before_work_starts(
    settings: list[str], said: str, tmp_path: Path, run_small: Callable[..., Any]
) -> None:
    with pytest.raises(RecipeError, match=said):
        run_small(tmp_path / "out", *ASKED, *settings)
    assert not list(tmp_path.glob("out/measures/*"))


@pytest.mark.parametrize("cut", [10, 500_000])
def test_a_damaged_model_is_refused(
    cut: int, model: Path, run_small: Callable[..., Any], tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.bin"
    damaged.write_bytes(model.read_bytes()[:-cut])
    with pytest.raises(RecipeError, match=r"annotate.quality_models.en.model: .*damaged"):
        run_small(tmp_path / "out", *ASKED, MODELS % damaged)


def test_weights_that_are_no_numbers_are_refused_by_hash(
    model: Path, run_small: Callable[..., Any], tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.bin"
    damaged.write_bytes(model.read_bytes()[:-4] + struct.pack("<f", float("inf")))
    with pytest.raises(RecipeError, match=f"sha256 {file_sha256(damaged)}"):
        run_small(tmp_path / "out", *ASKED, MODELS % damaged)


def test_recipes_that_ask_for_no_score_need_no_model(small_run: Path) -> None:
    plan = json.loads((small_run / "plan.json").read_text())
    assert not {"quality-en", "toxicity-en", LISTS_HASH} & set(plan["hashes"])
    assert read_model_labels(find_classifier("quality-en")) == ("positive", "negative")
    assert load_recipe("quickstart").annotate.quality_models["zh"].labels == ("positive",)
