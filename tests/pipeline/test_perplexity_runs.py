"""Runs with language models: measures, percentiles, buckets; what a retrained model makes again."""

import json
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline.annotate.perplexity import find_model
from pipeline.config import Recipe, RecipeError
from pipeline.parts import file_sha256
from pipeline.recipe_file import recipe_from_tree
from pipeline.report.explain import explain_document
from pipeline.report.explain_view import document_panel
from pipeline.report.run_folder import open_run
from pipeline.report.settings import change_recipe, simulated_keys
from pipeline.report.simulation import simulate
from pipeline.run import RunOptions, run

BOOKS = Path(find_model("sluice-en")).parents[1] / "quickstart" / "books" / "books.jsonl"
PIECE = 200  # characters


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pieces of the quickstart's books, each as long as a small page, in two files."""
    folder = tmp_path_factory.mktemp("corpus")
    pieces = []
    for line in BOOKS.read_text().splitlines():
        text = json.loads(line)["text"]
        pieces += [text[at : at + PIECE] for at in range(0, len(text) - PIECE, PIECE)]
    for number, name in enumerate(("one", "two")):
        mine = enumerate(pieces[number::2])
        lines = [json.dumps({"id": f"{name}-{at}", "text": piece}) + "\n" for at, piece in mine]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    for language in ("en", "zh"):
        shutil.copyfile(find_model(f"sluice-{language}"), folder / f"{language}.lm")
    return folder


def recipe_of(corpus: Path, **changes: Any) -> Recipe:
    sources = [
        {"name": name, "kind": kind, "format": "jsonl", "paths": [str(corpus / f"{name}.jsonl")]}
        for name, kind in (("one", "web"), ("two", "books"))
    ]
    tree: dict[str, Any] = {
        "name": "test",
        "sources": sources,
        "annotate": {"perplexity": {"en": str(corpus / "en.lm"), "zh": str(corpus / "zh.lm")}},
        "deduplicate": {"near": False},
        "decide": {"thresholds": {"web": {"default": {"buckets": ["head", "middle"]}}, "books": {}}},
    }
    for key, value in changes.items():
        tree[key] = {**tree.get(key, {}), **value}
    return recipe_from_tree(tree)


def run_recipe(recipe: Recipe, output: Path, *, workers: int = 1) -> dict[str, Any]:
    assert run(recipe, RunOptions(str(output), workers), Console(quiet=True)) == 0
    return json.loads((output / "MANIFEST.json").read_text())


def columns(output: Path, step: str, names: list[str]) -> list[dict[str, Any]]:
    files = sorted((output / step).glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file, columns=names).to_pylist()]


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    output = tmp_path_factory.mktemp("run") / "out"
    return output, run_recipe(recipe_of(corpus), output)


def test_buckets_follow_from_the_percentiles_of_the_run(finished: tuple[Path, dict[str, Any]]) -> None:
    output, manifest = finished
    names = ["language", "lm_cost", "lm_tokens"]
    rows = columns(output, "measures", names)
    decisions, documents = (
        columns(output, "decisions", ["kept", "failing"]),
        columns(output, "documents", ["source"]),
    )
    for told in manifest["perplexity"]:
        mine = [at for at, row in enumerate(rows) if row["language"] == told["language"]]
        assert told["documents"] == len(mine) > 10 and not told["given"]
        web = [at for at in mine if documents[at]["source"] == "one"]
        logs = {at: rows[at]["lm_cost"] * 1_000 // (rows[at]["lm_tokens"] * 4_000) for at in web}
        ranked = sorted(logs.values())
        edge = ranked[-(-60 * len(ranked) // 100) - 1] + 1  # the lowest below which at least 60 % lie
        assert told["cut_offs"][1] == round(10 ** (edge / 1_000), 1)
        assert all(("buckets" in decisions[at]["failing"]) == (log >= edge) for at, log in logs.items())
        assert not any(decisions[at]["failing"] for at in set(mine) - set(web))  # no rule on books
    assert {told["language"]: told["sha256"] for told in manifest["perplexity"]} == {
        language: file_sha256(find_model(f"sluice-{language}")) for language in ("en", "zh")
    }
    page = (output / "report.html").read_text()
    cut_offs = [cut for told in manifest["perplexity"] for cut in told["cut_offs"]]
    assert "<h2>Perplexity</h2>" in page and all(
        f'<td class="number">{cut:,}</td>' in page for cut in cut_offs
    )
    dropped = sum(entry["records"] for entry in manifest["ledger"] if entry["reason"] == "buckets")
    assert dropped == sum(decision["failing"] == ["buckets"] for decision in decisions) > 5


@pytest.mark.slow
def test_parts_and_workers_change_nothing(
    corpus: Path, finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    annotate = recipe_of(corpus).annotate.perplexity
    cut = recipe_of(corpus, annotate={"perplexity": annotate, "split_bytes": 5_000})
    manifest = run_recipe(cut, tmp_path / "out", workers=2)
    assert len(list((tmp_path / "out" / "measures").glob("*.parquet"))) > 4
    assert manifest["perplexity"] == finished[1]["perplexity"]
    kept = [
        sorted((row["id"], decision["kept"]) for row, decision in zip(*of, strict=True))
        for of in (
            (columns(output, "documents", ["id"]), columns(output, "decisions", ["kept"]))
            for output in (finished[0], tmp_path / "out")
        )
    ]
    assert kept[0] == kept[1]


def test_why_tells_perplexity_bucket_and_cut_offs(finished: tuple[Path, dict[str, Any]]) -> None:
    output, manifest = finished
    job = open_run(str(output))
    rows = columns(output, "measures", ["language", "lm_cost", "lm_tokens"])
    found = explain_document(job, 0)  # part 0 is of source one
    cut_offs = {told["language"]: told["cut_offs"] for told in manifest["perplexity"]}[rows[0]["language"]]
    told = found["perplexity"]
    assert told["value"] == pytest.approx(10 ** (rows[0]["lm_cost"] / rows[0]["lm_tokens"] / 4_000))
    assert [round(cut, 1) for cut in told["cut_offs"]] == cut_offs
    assert (
        told["bucket"]
        == ("head", "middle", "tail")[int(np.searchsorted(told["cut_offs"], told["value"], "right"))]
    )
    rule = {"rule": "buckets", "of": "perplexity", "value": told["bucket"], "threshold": ["head", "middle"]}
    assert {**rule, "passes": told["bucket"] != "tail"} in found["rules"]
    console = Console(width=160, record=True, file=StringIO())
    console.print(document_panel(found))
    text = console.export_text()
    assert f"{told['value']:,.1f} by " in text and f"{told['bucket']} (head below {cut_offs[0]:,.1f}" in text


@pytest.mark.parametrize(
    "setting",
    [
        "decide.perplexity.percentiles=[10, 20]",
        "decide.perplexity.cut_offs.en=[150, 200.5]",
        pytest.param("decide.thresholds.web.default.max_perplexity=250", marks=pytest.mark.slow),
        pytest.param('decide.thresholds.books.en.buckets=["tail"]', marks=pytest.mark.slow),
    ],
)
def test_simulate_is_the_run_that_follows(
    setting: str, corpus: Path, finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    job = open_run(str(finished[0]))
    changed = change_recipe(job.recipe, [setting])
    foreseen = simulate(job, changed)
    output = tmp_path / "out"
    shutil.copytree(finished[0], output)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("part-*.json")}
    manifest = run_recipe(changed, output)
    dropped = {e["reason"]: e["records"] for e in manifest["ledger"] if e["stage"] == "decide"}
    assert foreseen.reasons_after == {k: v for k, v in dropped.items() if k not in ("in", "out")}
    assert foreseen.reasons_before != foreseen.reasons_after
    written = {path.parent.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert not written & {"documents", "measures", "signatures", "perplexity", "clusters"}


def test_a_retrained_model_rewrites_measures_only(
    corpus: Path, finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    output, other = tmp_path / "out", tmp_path / "other.lm"
    shutil.copytree(finished[0], output)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("part-*.json")}
    shutil.copyfile(corpus / "zh.lm", other)
    manifest = run_recipe(
        recipe_of(corpus, annotate={"perplexity": {"en": str(other), "zh": str(corpus / "zh.lm")}}), output
    )
    written = {path.parent.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert "measures" in written and not written & {"documents", "signatures", "candidates", "clusters"}
    assert manifest["environment"]["files"][str(other)] == file_sha256(other)
    old, new = (told["quartiles"] for told in (finished[1]["perplexity"][0], manifest["perplexity"][0]))
    assert old != new


def test_measures_and_signatures_that_a_crash_left_out_are_made_from_stored_text(
    corpus: Path, finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    shutil.copytree(finished[0], output)
    documents = {path: path.stat().st_mtime_ns for path in output.glob("documents/*")}
    for step in ("measures", "work/signatures"):
        (output / step / "part-00000.json").unlink()
    assert run_recipe(recipe_of(corpus), output) == finished[1]
    assert {path: path.stat().st_mtime_ns for path in output.glob("documents/*")} == documents


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"decide": {"thresholds": {"web": {"de": {"max_perplexity": 9}}}}},
            "web.de.max_perplexity compares nothing",
        ),
        ({"decide": {"thresholds": {"web": {"en": {"buckets": ["haed"]}}}}}, "did you mean 'head'"),
        ({"decide": {"thresholds": {"web": {"en": {"max_perplexity": 0.5}}}}}, "must lie between 1 and"),
        ({"decide": {"perplexity": {"percentiles": [60, 30]}}}, "must be two that rise"),
        (
            {"decide": {"perplexity": {"cut_offs": {"en": [520, 340]}}}},
            "cut_offs.en must be two perplexities",
        ),
        (
            {"decide": {"perplexity": {"cut_offs": {"fr": [1, 2]}}}},
            "cut_offs.fr: annotate.perplexity has no such",
        ),
        ({"annotate": {"perplexity": {}}}, "web.default.buckets compares nothing"),
        ({"annotate": {"pieces": {"ez": "x"}}}, "annotate.pieces.ez: annotate.perplexity has no such"),
    ],
)
def test_a_recipe_that_asks_for_what_is_not_there_is_refused(changes: dict, says: str, corpus: Path) -> None:
    with pytest.raises(RecipeError, match=says):
        recipe_of(corpus, **changes)


def test_keys_are_offered_only_where_there_are_models(corpus: Path) -> None:
    keys = simulated_keys(recipe_of(corpus))
    offered = {"decide.perplexity.percentiles", "decide.thresholds.web.default.buckets"}
    assert offered | {"decide.thresholds.web.default.max_perplexity"} <= {*keys}
    without = recipe_of(corpus, annotate={"perplexity": {}}, decide={"thresholds": {"web": {"default": {}}}})
    assert not any("perplexity" in key or "buckets" in key for key in simulated_keys(without))
