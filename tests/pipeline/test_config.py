"""A recipe that cannot be run is refused with the key and the nearest valid word."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.config import RecipeError
from pipeline.recipe_file import load_recipe, packaged_recipes, recipe_from_tree, recipe_to_tree

MINIMAL = {
    "name": "test",
    "sources": [{"name": "web", "kind": "web", "format": "warc", "paths": ["x.warc.gz"]}],
}

QUIZ = {"name": "quiz", "format": "jsonl", "paths": ["x.jsonl"], "fields": ["question"]}


def test_packaged_recipes_are_valid() -> None:
    assert {"quickstart", "web-en-zh"} <= set(packaged_recipes())
    for name in packaged_recipes():
        assert load_recipe(name).name == name


def test_recipe_survives_the_manifest() -> None:
    recipe = load_recipe("web-en-zh")
    assert recipe_from_tree(recipe_to_tree(recipe)) == recipe


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"anotate": {}}, ["unknown key anotate", "'annotate'"]),
        ({"annotate": {"engin": "x"}}, ["unknown key annotate.engin", "'engine'"]),
        ({"annotate": {"engine": "resilliparse"}}, ["annotate.engine", "'resiliparse'"]),
        ({"annotate": {"engine": "main_txt"}}, ["annotate.engine", "'main_text'"]),
        (
            {"annotate": {"engine": "resiliparse", "fallback_doubt": 0.1}},
            ["annotate.fallback_doubt", "engine = 'main_text'"],
        ),
        ({"annotate": {"split_bytes": "64 MB"}}, ["annotate.split_bytes must be int", "'64 MB'"]),
        ({"annotate": {"mask_personal_data": 1}}, ["annotate.mask_personal_data must be bool"]),
        ({"seed": True}, ["seed must be int"]),
        ({"decide": {"survivor": ["longst"]}}, ["decide.survivor", "'longest'"]),
        ({"decide": {"validation_share": 1.5}}, ["decide.validation_share = 1.5", "between 0 and 1"]),
        (
            {"decide": {"thresholds": {"web": {"en": {"min_word": 5}}}}},
            ["decide.thresholds.web.en.min_word", "min_words"],
        ),
        ({"decide": {"thresholds": {"web": {"en": {"max_digit_share": 30.0}}}}}, ["max_digit_share = 30.0"]),
        (
            {"decide": {"thresholds": {"web": {"en": {"min_words": 9, "max_words": 3}}}}},
            ["min_words", "nothing could pass"],
        ),
        (
            {"decide": {"thresholds": {"web": {"zh": {"min_kana_share": 0.5, "max_kana_share": 0.1}}}}},
            ["min_kana_share", "nothing could pass"],
        ),
        (
            {"decide": {"thresholds": {"web": {"en": {"min_paragraph_language_share": 0.8}}}}},
            ["web.en.min_paragraph_language_share", "annotate.paragraph_languages = true"],
        ),
        ({"decide": {"thresholds": {"wab": {}}}}, ["'wab'", "'web'"]),
        ({"decide": {"validation_share": float("nan")}}, ["decide.validation_share = nan"]),
        ({"sources": []}, ["sources is empty"]),
        ({"sources": [{"name": "web"}]}, ["missing key sources.web.kind"]),
        ({"sources": MINIMAL["sources"] * 2}, ["two are named 'web'"]),
        ({"sources": [MINIMAL["sources"][0] | {"name": "Web!"}]}, ["'Web!'", "a-z"]),
        ({"sources": [MINIMAL["sources"][0] | {"format": "wark"}]}, ["sources.web.format", "'warc'"]),
        ({"decide": {"survivor": ["longest", "longest"]}}, ["decide.survivor", "twice"]),
        ({"decide": {"rehydrate": [[2, 2], [1, 1]]}}, ["decide.rehydrate", "rising"]),
        ({"decide": {"rehydrate": [[1, 65_536]]}}, ["decide.rehydrate", "65535"]),
        ({"decontaminate": {"ngram": 4}}, ["decontaminate.ngram = 4", "between 5 and 50"]),
        ({"decontaminate": {"whole_from": 14}}, ["decontaminate.whole_from = 14", "between 5 and 13"]),
        ({"decontaminate": {"action": "drp"}}, ["decontaminate.action", "'drop'"]),
        ({"decontaminate": {"kinds": ["instructions"]}}, ["decontaminate.kinds", "'instruction'"]),
        ({"decontaminate": {"sets": [QUIZ]}}, ["no source is of kind instruction", "kind web", "'all'"]),
        ({"decontaminate": {"sets": [QUIZ, QUIZ]}}, ["two are named 'quiz'"]),
        ({"decontaminate": {"sets": [QUIZ | {"name": "Quiz"}]}}, ["'Quiz'", "a-z"]),
        ({"decontaminate": {"sets": [QUIZ | {"format": "json"}]}}, ["sets.quiz.format", "'jsonl'"]),
        ({"decontaminate": {"sets": [QUIZ | {"fields": []}]}}, ["decontaminate.sets.quiz.fields is empty"]),
        ({"decontaminate": {"sets": [QUIZ | {"field": "a"}]}}, ["decontaminate.sets.quiz.field", "'fields'"]),
        ({"decide": {"repeated": "words"}}, ["decide.repeated", "lines"]),
        ({"deduplicate": {"fold": "nfkc"}}, ["deduplicate.fold", "'nfkc-v1'"]),
        ({"decide": {"licences": ["CC0-*"]}}, ["decide.licences", "sources.web", "'unknown'"]),
        ({"decide": {"licences": ["CC0-*", ""]}}, ["decide.licences"]),
        ({"decide": {"block_lists": [""]}}, ["decide.block_lists", "empty"]),
        (
            {"sources": [MINIMAL["sources"][0] | {"fields": {"licence": "license"}}]},
            ["sources.web.fields.licence", "warc"],
        ),
    ],
)
def test_wrong_values_name_the_key(change: dict[str, object], words: list[str]) -> None:
    with pytest.raises(RecipeError) as raised:
        recipe_from_tree(MINIMAL | change)
    for word in words:
        assert word in str(raised.value)


def test_settings_reach_tables_and_sources() -> None:
    settings = [
        "annotate.engine=trafilatura",
        "sources.web.repeats=3",
        "decide.thresholds.web.en.min_words=7",
    ]
    recipe = load_recipe("quickstart", settings)
    assert recipe.annotate.engine == "trafilatura"
    assert recipe.sources[0].repeats == 3.0
    assert recipe.decide.thresholds["web"]["en"].min_words == 7


@pytest.mark.parametrize(
    ("setting", "word"),
    [
        ("annotate.engine", "expected KEY=VALUE"),
        ("sources.wob.repeats=2", "'web'"),
        ("sources=2", "sources must be"),
        ("name.x=1", "is a value"),
    ],
)
def test_wrong_settings_are_refused(setting: str, word: str) -> None:
    with pytest.raises(RecipeError, match=word):
        load_recipe("quickstart", [setting])


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["quickstat"], "quickstart"),
        (["quickstart", "--set", "annotate.engine=resilliparse"], "resiliparse"),
        (["quickstart", "--set", "sources.web.paths=['/nowhere/*.gz']"], "/nowhere"),
        (["quickstart", "--set", "annotate.language_model=/nowhere/lid.bin"], "annotate.language_model"),
        (["quickstart", "--set", f"annotate.language_model={__file__}"], "is no fastText"),
        (["quickstart", "--set", 'decide.thresholds.web.default.languages=["eng"]'], "no language 'eng'"),
        (["quickstart", "--set", "pack.vocabulary=sluice-23k"], "pack.vocabulary"),
        (["quickstart", "--set", "decide.block_lists=['/nowhere/ut1']"], "/nowhere/ut1"),
        (
            ["quickstart", "--set", "sources.books.paths=['package://web/*.warc.gz']"],
            "matched by two sources",
        ),
        (["quickstart", "--runner", "dask"], "loses"),
        (["quickstart", "--runner", "flnk"], "flink"),
        (["quickstart", "--phase", "anotate"], "annotate"),
        (["quickstart", "--workers", "0"], "--workers"),
    ],
)
def test_command_fails_early_and_leaves_nothing(
    arguments: list[str], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert main(["run", *arguments, "--output", str(output)]) == 2
    assert word in capsys.readouterr().out.replace("\n", "")
    assert not output.exists() or {path.name for path in output.iterdir()} <= {".lock"}


def test_a_wrong_recipe_is_refused_before_beam_is_loaded() -> None:
    command = (
        "import sys; from pipeline.cli import main; code = main(['run', 'quickstat', '--output', 'x']); "
    )
    command += "sys.exit(code if not {'apache_beam', 'numba'} & set(sys.modules) else 99)"
    assert subprocess.run([sys.executable, "-c", command], capture_output=True).returncode == 2
