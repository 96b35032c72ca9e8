"""Rule sets by name: their numbers, what stands beside them, and the counts that are made for them."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline.config import RecipeError, UsageError
from pipeline.counts import C4_COUNTS, CODE_COUNTS, MEASURE_GROUPS
from pipeline.recipe_file import recipe_from_tree, recipe_to_tree
from pipeline.report.simulate import print_simulation
from pipeline.rule_sets import SETS
from pipeline.rules import RULES, columns_of, measured_groups
from pipeline.run import RunOptions, run
from pipeline.thresholds import Thresholds

SOURCE = {"name": "web", "kind": "books", "format": "jsonl", "paths": ["/nowhere/*.jsonl"]}


def thresholds(**keys: Any) -> Thresholds:
    tree = {"name": "sets", "sources": [SOURCE], "decide": {"thresholds": {"books": {"en": keys}}}}
    return recipe_from_tree(tree).decide.thresholds["books"]["en"]


@pytest.mark.parametrize("name", SETS)
def test_every_set_gives_its_numbers(name: str) -> None:
    found = thresholds(sets=[name])
    assert {rule: getattr(found, rule) for rule in SETS[name]} == SETS[name]
    given = {field.name for field in fields(found) if getattr(found, field.name) is not None}
    assert given == {*SETS[name], "sets", "without"}


def test_numbers_of_gopher() -> None:
    found = thresholds(sets=["gopher_repetition.datatrove"])
    assert found.max_top_2_gram_share == 0.2 and found.max_top_4_gram_share == 0.16
    assert [getattr(found, f"max_duplicate_{n}_gram_share") for n in range(5, 11)] == [
        0.15, 0.14, 0.13, 0.12, 0.11, 0.1,
    ]  # fmt: skip


def test_what_stands_beside_a_set_has_the_last_word() -> None:
    found = thresholds(sets=["gopher_quality", "fineweb"], min_words=20, without=["max_short_line_share"])
    assert (found.min_words, found.max_words, found.max_short_line_share) == (20, 100_000, None)
    recipe = recipe_from_tree(
        {
            "name": "again",
            "sources": [SOURCE],
            "decide": {"thresholds": {"books": {"en": {"sets": ["gopher_quality"], "min_words": 1}}}},
        }
    )
    assert recipe_from_tree(recipe_to_tree(recipe)) == recipe


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"sets": ["gopher_qualty"]}, "did you mean 'gopher_quality'"),
        ({"sets": ["ccnet", "chinesewebtext"]}, "two values for min_characters, 300 and 201"),
        ({"sets": ["mc4"], "without": ["min_long_line"]}, "did you mean 'min_long_lines'"),
        ({"sets": ["mc4"], "without": ["min_long_lines"], "min_long_lines": 2}, "takes min_long_lines away"),
    ],
)
def test_sets_that_make_no_sense(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        thresholds(**keys)
    if "two values" in words:
        assert thresholds(**keys, min_characters=250).min_characters == 250


def test_counts_are_made_for_the_kinds_that_ask_for_them() -> None:
    table = {
        "web": {"en": thresholds(sets=["c4.tfds"]), "zh": thresholds(sets=["map-neo.zh"])},
        "default": {"default": thresholds(sets=["gopher_quality"])},
    }
    assert list(measured_groups(table, "web")) == ["c4", "chinese"]
    assert list(measured_groups(table, "books")) == []
    grouped = {name for counts in MEASURE_GROUPS.values() for name in counts}
    ruled = {name for rule in RULES for name in columns_of(rule)} & grouped
    apart = {f"c4_{form}_lines" for form in ("tfds", "datatrove", "fineweb")}
    assert ruled == grouped - apart  # the lines that C4 keeps are a fact that no rule compares


def test_a_run_with_c4_and_one_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = {
        "good": "A first line of many words. And one more.\nA second line of many words.",
        "brace": "A line of words with a { in it.\nOne more line of words. It has two.\nAnd a third is here.",
        "short": "Few words.\nNo mark at the end of this line",
    }
    (tmp_path / "in").mkdir()
    rows = [json.dumps({"id": name, "text": text}) for name, text in texts.items()]
    (tmp_path / "in/pages.jsonl").write_text("\n".join(rows) + "\n")
    tree = {
        "name": "c4",
        "sources": [SOURCE | {"paths": [f"{tmp_path}/in/*.jsonl"]}],
        "decide": {"thresholds": {"books": {"default": {"sets": ["c4.tfds"]}}}, "validation_share": 0.0},
    }
    console = Console(quiet=True)
    output = tmp_path / "out"
    assert run(recipe_from_tree(tree), RunOptions(str(output), 1), console) == 0
    (decisions,) = (pq.read_table(file).to_pylist() for file in (output / "decisions").glob("*.parquet"))
    assert [row["failing"] for row in decisions] == [[], ["max_c4_tfds_ended"], ["min_c4_tfds_sentences"]]
    (measures,) = (pq.read_table(file) for file in (output / "measures").glob("*.parquet"))
    assert measures["c4_tfds_sentences"].to_pylist() == [3, 3, 0]
    assert {measures[name].null_count for name in C4_COUNTS} == {0}
    assert {measures[name].null_count for name in CODE_COUNTS} == {3}
    # A rule on counts that were not made cannot be tried out, and says what to do.
    with pytest.raises(UsageError, match=r"annotate.measures = \['code'\]"):
        print_simulation(str(output), ["decide.thresholds.books.default.max_data_share=0.5"], as_json=True)
    del tree["decide"]["thresholds"]
    assert (
        run(
            recipe_from_tree(tree | {"annotate": {"measures": ["code"]}}), RunOptions(str(output), 1), console
        )
        == 0
    )
    (measures,) = (pq.read_table(file) for file in (output / "measures").glob("*.parquet"))
    assert measures["data_characters"].to_pylist() == [0, 0, 0]
    assert measures["c4_tfds_sentences"].null_count == 3
