"""A simulation without change is the run; one with a change is the run that would follow."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import RecipeError
from pipeline.report.run_folder import open_run, read_manifest
from pipeline.report.settings import change_recipe, simulated_keys
from pipeline.report.simulate import print_simulation
from pipeline.report.simulation import Simulation, Tally


def outcome(capsys: pytest.CaptureFixture[str], output: Path, *settings: str) -> dict:
    assert print_simulation(str(output), settings, as_json=True) == 0
    return json.loads(capsys.readouterr().out)


def kept_of(outcome: dict, what: str, side: int) -> dict[tuple[str, str], int]:
    return {
        (line["source"], line["language"]): line[what][side] for line in outcome["kept"] if line[what][side]
    }


def test_without_change_it_is_the_run(small_run: Path, capsys) -> None:
    found, manifest = outcome(capsys, small_run), read_manifest(open_run(str(small_run)))
    totals = manifest["totals"]
    assert found["totals"]["documents"] == [totals["kept"]] * 2
    assert found["totals"]["tokens_after"] == [totals["tokens"]] * 2
    assert found["rows"] == [totals["rows"]] * 2
    assert found["totals"]["estimated"] == 0 and found["rules"] == {}
    for source in manifest["sources"]:
        of_source = [line for line in found["kept"] if line["source"] == source["name"]]
        for side in (0, 1):
            assert sum(line["documents"][side] for line in of_source) == source["documents"]
            assert sum(line["tokens"][side] for line in of_source) == source["tokens"]
            assert sum(line["tokens_after"][side] for line in of_source) == source["tokens_after"]
    dropped = {e["reason"]: e["records"] for e in manifest["ledger"] if e["stage"] == "decide"}
    assert {reason: sides[0] for reason, sides in found["dropped"].items()} == {
        reason: number for reason, number in dropped.items() if reason not in ("in", "out")
    }
    assert all(before == after for before, after in found["dropped"].values())
    assert all(line["validation"][0] == line["validation"][1] for line in found["kept"])
    assert found["totals"]["validation"][0] > 0


CHANGES = (
    "decide.thresholds.web.en.min_words=250",
    "decide.thresholds.web.zh.min_han_share=0.8",
    'decide.survivor=["oldest", "shortest_url"]',
    "decide.validation_share=0.2",
    "sources.books.repeats=1.5",
    "sources.web.repeats=0.75",
    "sources.web.priority=7",
)


def test_a_stricter_recipe_is_the_run_that_follows(
    small_run: Path, run_small, tmp_path: Path, capsys
) -> None:
    """Other rules, other survivors, other repeats: simulated, then run on the same folder."""
    told = outcome(capsys, small_run, *CHANGES)
    folder = tmp_path / "out"
    shutil.copytree(small_run, folder)
    manifest = run_small(folder, *CHANGES)
    real = outcome(capsys, folder)
    assert kept_of(told, "documents", 1) == kept_of(real, "documents", 0) != kept_of(told, "documents", 0)
    assert {r: s[1] for r, s in told["dropped"].items() if s[1]} == {
        r: s[0] for r, s in real["dropped"].items()
    }
    assert told["totals"]["validation"][1] == real["totals"]["validation"][0] > 1
    if not told["totals"]["estimated"]:
        assert told["totals"]["tokens_after"][1] == manifest["totals"]["tokens"]
    else:  # another member of a cluster stands for it: about as long
        assert told["totals"]["tokens_after"][1] == pytest.approx(manifest["totals"]["tokens"], rel=0.05)


def test_what_comes_in_is_estimated_and_said_to_be(small_run: Path, capsys) -> None:
    zero = ("decide.thresholds.web.en.min_stop_words=0", "decide.thresholds.web.zh.min_stop_words_zh=0")
    freed = outcome(capsys, small_run, *zero)
    assert (
        all(effect["caught"] == 0 < effect["freed"] for effect in freed["rules"].values()) and freed["rules"]
    )
    loose = outcome(
        capsys, small_run, "decide.thresholds.web.default.languages=['en','zh','de','fr','es','it']"
    )
    came = loose["totals"]["documents"][1] - loose["totals"]["documents"][0]
    assert came == loose["totals"]["estimated"] > 0
    assert loose["totals"]["tokens"][1] > loose["totals"]["tokens"][0]
    print_simulation(
        str(small_run), ["decide.thresholds.web.default.languages=['en','zh','de','fr']"], as_json=False
    )
    told = capsys.readouterr().out
    assert "~" in told and "What this cannot know" in told and "gates" in told


def test_what_is_held_out_is_told(small_run: Path, capsys) -> None:
    print_simulation(str(small_run), ["decide.validation_share=0.5"], as_json=False)
    assert "held out for validation: " in capsys.readouterr().out


def test_rows_follow_the_row_length(small_run: Path, capsys) -> None:
    found = outcome(capsys, small_run, "pack.row_tokens=512")
    assert found["rows"][1] == -(-found["totals"]["tokens_after"][0] // 512) > found["rows"][0]


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("deduplicate.near=false", "clusters would have to be found again"),
        ("minhash.bands=20", "signatures would have to be computed again"),
        ("annotate.gate.min_characters=0", "read and measured again"),
        ("pack.vocabulary=qwen", "encoded again"),
        ("seed=4", "random choice"),
        ("decide.repeated=lines", "encoded again"),
        ("decide.repeated_characters=9", "encoded again"),
        ("sources.web.paths=['x']", "other documents"),
        ("sources.web.repeat=2", "did you mean 'sources.web.repeats'"),
        ("pack.row_token=5", "did you mean 'pack.row_tokens'"),
        ("decide.thresholds.web.en.min_wrods=5", "did you mean 'min_words'"),
        ("decide.survivor=['best']", "not one of"),
        ("nonsense=1", "unknown key"),
    ],
)
def test_other_keys_are_refused(setting: str, says: str, small_run: Path) -> None:
    with pytest.raises(RecipeError, match=says):
        change_recipe(open_run(str(small_run)).recipe, [setting])


def test_every_key_that_is_offered_is_taken(small_run: Path) -> None:
    recipe = open_run(str(small_run)).recipe
    values = {
        "survivor": "['longest']",
        "action": "cut",
        "languages": "['en']",
        "rehydrate": "[[2, 3]]",
        "licences": "['*']",
        "percentiles": "[10, 20]",
        "buckets": "['head']",
        "max_words": "123456",
        "max_mean_word_length": "77",
    }
    for key in simulated_keys(recipe):
        leaf = key.rpartition(".")[2]
        value = values.get(leaf, "0.123" if leaf.endswith(("_share", "_score")) else "3")
        if leaf not in (
            "min_mean_word_length",
            "method",
        ):  # 3 already; books have repeats, see test_mixture_runs
            assert change_recipe(recipe, [f"{key}={value}"]) != recipe


def test_estimates_fall_back_from_language_to_source_to_all() -> None:
    simulation = Simulation()
    assert simulation.estimate(("web", "en"), 400) == 100
    simulation.before["books", "en"] = Tally(tokens=50)
    simulation.kept_characters["books", "en"] = 100
    assert simulation.estimate(("web", "en"), 400) == 200
    simulation.before["web", "zh"] = Tally(tokens=100)
    simulation.kept_characters["web", "zh"] = 100
    assert simulation.estimate(("web", "en"), 400) == 400
    simulation.before["web", "en"] = Tally(tokens=10)
    simulation.kept_characters["web", "en"] = 40
    assert simulation.estimate(("web", "en"), 401) == 100


def test_a_rule_on_paragraphs_needs_a_run_that_judged_them(small_run: Path) -> None:
    recipe = open_run(str(small_run)).recipe
    key = "decide.thresholds.web.en.min_paragraph_language_share"
    assert key not in simulated_keys(recipe)
    with pytest.raises(RecipeError, match=r"annotate\.paragraph_languages = true"):
        change_recipe(recipe, [f"{key}=0.5"])
    judged = replace(recipe, annotate=replace(recipe.annotate, paragraph_languages=True))
    assert key in simulated_keys(judged)
    assert change_recipe(judged, [f"{key}=0.5"]).decide.thresholds["web"]["en"].min_words == 50
