"""Test questions planted in a run: dropped or cut, and told of everywhere, with any number of workers."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline.config import RecipeError
from pipeline.phase import need_rows
from pipeline.recipe_file import recipe_from_tree
from pipeline.report.explain import explain_document
from pipeline.report.explain_view import document_panel
from pipeline.report.export import export_run
from pipeline.report.run_folder import find_locators, open_run
from pipeline.report.settings import change_recipe
from pipeline.report.simulation import simulate
from pipeline.run import RunOptions, run

WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "jetty", "knoll"]
QUESTIONS = [
    "A ferry leaves the north pier every seven minutes; how many have left after two hours and ten minutes?",
    "某村有四十二户人家，每户每天用水三桶，一口井每天最多能出水一百桶，问至少要打几口井才够全村人用？",
    "To nobody.at.all@example.com [before] <b>noon</b> and ask for a key of the third tower on the left.",
    "Is it short?",
]
FACTS = "The seventh harbour of the kingdom was closed by order of the queen in the spring of that year."


def document(number: int, *planted: str) -> str:
    rng = np.random.default_rng(number)
    lines = [" ".join(rng.choice(WORDS, 30)) + f" {number}." for _ in range(6)]
    return "\n".join([*lines[:3], *planted, *lines[3:]])


DOCUMENTS = {f"plain-{number}": document(number) for number in range(12)} | {
    "ferry": document(20, f"Quiz: {QUESTIONS[0].upper()} Tell us."),
    "ferry-and-well": document(21, QUESTIONS[0].replace(" ", "  "), QUESTIONS[1]),
    "half": document(22, " ".join(QUESTIONS[0].split()[:14]) + " or so"),  # two n-grams
    "tower": document(23, QUESTIONS[2]),
    "fact": document(24, FACTS),
}
CLEAN = {name for name in DOCUMENTS if name.startswith("plain-")}


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, Any]:
    """A recipe of two sources, one of which is checked, and two sets."""
    for name in ("asked", "unchecked"):
        (tmp_path / name).mkdir()
        lines = [json.dumps({"id": f"{name} {key}", "text": text}) for key, text in DOCUMENTS.items()]
        (tmp_path / name / "pages.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "quiz.jsonl").write_text("".join(json.dumps({"q": text}) + "\n" for text in QUESTIONS))
    (tmp_path / "facts.csv").write_text(f'id,fact\n1,"{FACTS}"\n2,"{QUESTIONS[0]}"\n')
    kinds = {"asked": "instruction", "unchecked": "books"}
    return {
        "name": "planted",
        "sources": [
            {"name": name, "kind": kind, "format": "jsonl", "paths": [f"{tmp_path}/{name}/*.jsonl"]}
            for name, kind in kinds.items()
        ],
        "annotate": {"split_bytes": 8_000},
        "deduplicate": {"text": False, "near": False},
        "decide": {"validation_share": 0.0},
        "decontaminate": {
            "sets": [
                {"name": "quiz", "paths": [f"{tmp_path}/quiz.jsonl"], "format": "jsonl", "fields": ["q"]},
                {"name": "facts", "paths": [f"{tmp_path}/*.csv"], "format": "csv", "fields": ["fact"]},
            ]
        },
    }


def run_tree(tree: dict[str, Any], output: Path, *, workers: int = 1, **keys: Any) -> dict[str, Any]:
    """Runs with these keys of `decontaminate`; returns the manifest, which balances."""
    changed = {**tree, "decontaminate": {**tree["decontaminate"], **keys}}
    assert run(recipe_from_tree(changed), RunOptions(str(output), workers), Console(quiet=True)) == 0
    manifest = json.loads((output / "MANIFEST.json").read_text())
    assert manifest["balanced"]
    return manifest


def exported(output: Path) -> dict[str, str]:
    """Text of every kept document, by "source id"."""
    assert export_run(str(output), f"{output}-export", "parquet", Console(quiet=True)) == 0
    texts = {}
    for file in sorted(Path(f"{output}-export").rglob("*.parquet")):
        for row in pq.read_table(file, columns=["source", "text"]).to_pylist():
            key = next(name for name, text in DOCUMENTS.items() if text[:40] == row["text"][:40])
            texts[f"{row['source']} {key}"] = row["text"]
    return texts


@pytest.mark.slow  # test_same_corpus compares runs of the quickstart, which is decontaminated, too
def test_two_workers_find_the_same(tree: dict[str, Any], tmp_path: Path, said_by) -> None:
    run_tree(tree, tmp_path / "one")
    run_tree(tree, tmp_path / "two", workers=2)
    assert said_by(tmp_path / "one") == said_by(tmp_path / "two")


def test_planted_questions_are_dropped(tree: dict[str, Any], tmp_path: Path) -> None:
    manifest = run_tree(tree, tmp_path / "one")
    kept = exported(tmp_path / "one")
    assert kept.keys() == {f"asked {name}" for name in CLEAN} | {f"unchecked {name}" for name in DOCUMENTS}
    found = manifest["decontamination"]
    told = {name: found[name] for name in ("checked", "documents", "dropped", "cut", "cut_bytes")}
    assert told == {"checked": 17, "documents": 5, "dropped": 5, "cut": 0, "cut_bytes": 0}
    quiz, facts = found["sets"]
    assert quiz == {
        "name": "quiz",
        "files": quiz["files"],
        "examples": 4,
        "too_short": 1,
        "ngrams": (19 - 12) + (44 - 12) + (22 - 12),
        "ngrams_hit": (19 - 12) + (44 - 12) + (22 - 12),
        "documents_hit": 4,
        "documents_dropped": 4,
        "examples_hit": 3,
        "most_hit": [
            {"file": "quiz.jsonl", "line": 1, "documents": 3},
            {"file": "quiz.jsonl", "line": 2, "documents": 1},
            {"file": "quiz.jsonl", "line": 3, "documents": 1},
        ],
    }
    assert (facts["examples"], facts["documents_hit"], facts["ngrams_hit"]) == (2, 4, 7 + 7)
    assert [hit["line"] for hit in facts["most_hit"]] == [3, 2]
    dropped = {e["reason"]: e["records"] for e in manifest["ledger"] if e["stage"] == "decide"}
    assert dropped["test_overlap"] == 5
    page = (tmp_path / "one" / "report.html").read_text()
    assert "Test questions" in page and "quiz.jsonl" in page


def test_planted_questions_are_cut(tree: dict[str, Any], tmp_path: Path) -> None:
    manifest = run_tree(tree, tmp_path / "cut", action="cut", kinds=["all"])
    kept = exported(tmp_path / "cut")
    assert len(kept) == 2 * len(DOCUMENTS)
    for source in ("asked", "unchecked"):
        for name in CLEAN:
            assert kept[f"{source} {name}"] == DOCUMENTS[name]
        assert "Quiz: ? Tell us.\n" in kept[f"{source} ferry"]
        assert "\n?\n？\n" in kept[f"{source} ferry-and-well"]
        assert "\n or so\n" in kept[f"{source} half"]
        assert "tower" not in kept[f"{source} tower"] and "@" not in kept[f"{source} tower"]
        assert "\n.\n" in kept[f"{source} fact"]
    found = manifest["decontamination"]
    assert (found["documents"], found["dropped"], found["cut"]) == (10, 0, 10)
    before = sum(len(text.encode()) for text in DOCUMENTS.values())
    after = sum(len(text.encode()) for name, text in kept.items() if name.startswith("asked"))
    gone = len(f"{DOCUMENTS['ferry-and-well']}") - len(f"{DOCUMENTS['ferry-and-well'].replace('  ', ' ')}")
    assert found["cut_bytes"] == 2 * (before - after - gone)


def test_a_document_tells_what_it_shares(tree: dict[str, Any], tmp_path: Path) -> None:
    run_tree(tree, tmp_path / "out", max_hits=2)
    job = open_run(str(tmp_path / "out"))
    told = {}
    for part in range(job.parts):
        for row in range(need_rows(job, "documents", [part])[0].file("documents").rows):
            trace = explain_document(job, part << 32 | row)
            name = next(name for name, text in DOCUMENTS.items() if text[:40] == trace["excerpt"][:40])
            told[trace["source"]["name"], name] = trace
            assert find_locators(job, "id", bytes.fromhex(trace["id"])) == [part << 32 | row]
    ferry = told["asked", "ferry-and-well"]
    assert ferry["decision"]["reason"] == "test_overlap" and not ferry["decision"]["kept"]
    rule = next(rule for rule in ferry["rules"] if rule["rule"] == "test_overlap")
    assert rule == {**rule, "value": [7 + 32, 1], "threshold": 2, "passes": False}
    quiz, facts = ferry["overlaps"]
    assert (quiz["set"], quiz["ngrams"], facts["set"], facts["ngrams"]) == ("quiz", 39, "facts", 7)
    assert quiz["examples"] == [
        {"file": "quiz.jsonl", "line": 2, "ngrams": 32},
        {"file": "quiz.jsonl", "line": 1, "ngrams": 7},
    ]
    assert [span["text"] for span in quiz["spans"]] == [QUESTIONS[0][:-1], QUESTIONS[1][:-1]]
    assert told["asked", "half"]["decision"]["kept"]  # two n-grams are allowed
    assert told["asked", "half"]["overlaps"][0]["ngrams"] == 2
    assert told["unchecked", "ferry"]["overlaps"] == []
    assert not any(rule["rule"] == "test_overlap" for rule in told["unchecked", "ferry"]["rules"])
    tower = told["asked", "tower"]["overlaps"][0]["spans"][0]["text"]
    assert "example.com" not in tower and tower.endswith("the third tower on the left")
    drawn = io.StringIO()
    Console(file=drawn, width=200, force_terminal=False).print(document_panel(told["asked", "tower"]))
    assert "[before] <b>noon</b>" in drawn.getvalue()  # no markup
    assert "quiz.jsonl, line 3" in drawn.getvalue()


@pytest.mark.slow
def test_simulated_is_what_a_run_then_does(tree: dict[str, Any], tmp_path: Path) -> None:
    run_tree(tree, tmp_path / "out")
    job = open_run(str(tmp_path / "out"))
    changes: list[dict[str, Any]] = [{"max_hits": 2}, {"max_hits": 7}, {"action": "cut"}]
    for keys in changes:
        settings = [f"decontaminate.{name}={value}" for name, value in keys.items()]
        after = simulate(job, change_recipe(job.recipe, settings))
        manifest = run_tree(tree, tmp_path / "then", **keys)
        ledger = {e["reason"]: e["records"] for e in manifest["ledger"] if e["stage"] == "decide"}
        assert after.reasons_after["test_overlap"] == ledger.get("test_overlap", 0)
        kept = {key: tally.documents for key, tally in after.after.items()}
        assert sum(kept.values()) == manifest["totals"]["kept"]
    with pytest.raises(RecipeError, match="compared with the evaluation sets again"):
        change_recipe(job.recipe, ["decontaminate.ngram=8"])


def test_a_set_that_is_not_there_fails_before_work(tree: dict[str, Any], tmp_path: Path) -> None:
    tree["decontaminate"]["sets"][0]["paths"] = [f"{tmp_path}/quizz.jsonl"]
    with pytest.raises(RecipeError, match=r"decontaminate\.sets\.quiz\.paths.*matches no file"):
        run_tree(tree, tmp_path / "out")
    assert not (tmp_path / "out" / "plan.json").exists()


@pytest.mark.slow
def test_no_sets_no_section(tree: dict[str, Any], tmp_path: Path) -> None:
    manifest = run_tree(tree, tmp_path / "out", sets=[])
    assert manifest["decontamination"] is None
    assert manifest["totals"]["kept"] == 2 * len(DOCUMENTS)
    assert not (tmp_path / "out" / "work" / "evaluation").exists()
