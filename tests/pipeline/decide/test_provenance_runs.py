"""Runs with licences and lists: who is dropped, what `why` says of it, and what a changed list reruns."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline.config import UsageError
from pipeline.recipe_file import recipe_from_tree
from pipeline.report.explain import explain_document
from pipeline.report.explain_view import document_panel
from pipeline.report.export import export_run
from pipeline.report.run_folder import find_locators, open_run
from pipeline.report.settings import change_recipe
from pipeline.report.simulation import simulate
from pipeline.run import RunOptions, run

# (own licence, URL, kept, failing)
RECORDS = (
    ("CC0-1.0", "http://good.test/1", True, []),
    ("CC-BY-NC-4.0", "http://good.test/2", False, ["licences"]),
    ("", "http://good.test/3", True, []),
    (None, "https://www.sub.bad.test:8080/4", False, ["blocked"]),
    ("MIT", "http://notbad.test/5", False, ["licences"]),
    ("CC0-1.0", "http://fine.bad.test/6", True, []),
    ("CC-BY-NC-4.0", "http://site.test/~user/7", False, ["licences", "blocked"]),
    ("CC0-1.0", "", True, []),
)


class Corpus:
    """A folder with records and lists, and runs of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.output = folder, folder / "out"
        with (folder / "records.jsonl").open("w") as file:
            for number, (licence, url, *_) in enumerate(RECORDS):
                words = " ".join(f"{name}{number}" for name in ("alpha", "beta", "gamma", "delta") * 20)
                record = {"id": str(number), "text": words, "url": url, "license": licence}
                file.write(json.dumps(record) + "\n")
        for name, text in {
            "ut1/adult/domains": "bad.test\n",
            "ut1/games/urls": "site.test/~user\n",
            "fine.txt": "fine.bad.test\n",
        }.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)

    def run(self, **decide: Any) -> dict[str, Any]:
        lists = {"block_lists": [str(self.folder / "ut1")], "allow_lists": [str(self.folder / "fine.txt")]}
        source = {"name": "own", "kind": "books", "format": "jsonl", "licence": "CC0-1.0"}
        source |= {"paths": [str(self.folder / "records.jsonl")], "fields": {"licence": "license"}}
        tree = {"name": "test", "sources": [source]}
        tree["decide"] = {"licences": ["CC0-*"], "validation_share": 0.0, **lists, **decide}
        tree["deduplicate"] = {"near": False}
        options = RunOptions(str(self.output), 1)
        assert run(recipe_from_tree(tree), options, Console(quiet=True)) == 0
        return json.loads((self.output / "MANIFEST.json").read_text())

    def trace(self, number: int) -> dict[str, Any]:
        job = open_run(str(self.output))
        traces = [explain_document(job, row) for row in range(len(RECORDS))]
        (found,) = [trace for trace in traces if trace["excerpt"].startswith(f"alpha{number} ")]
        assert find_locators(job, "id", bytes.fromhex(found["id"])) == [found["row"]]
        return found

    def rows(self) -> dict[str, int]:
        return {
            path.relative_to(self.output).as_posix(): path.stat().st_mtime_ns
            for path in self.output.rglob("part-*.json")
            if "timings" not in path.parts
        }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    made = Corpus(tmp_path_factory.mktemp("provenance"))
    made.run()
    return made


def test_decisions_and_what_why_says_of_them(corpus: Corpus) -> None:
    for number, (licence, _, kept, failing) in enumerate(RECORDS):
        trace = corpus.trace(number)
        assert (trace["decision"]["kept"], trace["decision"]["failing"]) == (kept, failing)
        assert trace["decision"]["reason"] == (failing[0] if failing else "")
        assert trace["licence"] == (licence or "CC0-1.0")
        assert [rule["rule"] for rule in trace["rules"] if not rule["passes"]] == failing
        document_panel(trace)
    told = {rule["rule"]: rule for rule in corpus.trace(3)["rules"]}
    assert told["blocked"] == {
        "rule": "blocked",
        "of": "url",
        "value": "adult: bad.test",
        "threshold": ["ut1", "fine.txt"],
        "passes": False,
    }
    assert (told["licences"]["value"], told["licences"]["threshold"]) == ("CC0-1.0", ["CC0-*"])
    (of_url,) = [rule for rule in corpus.trace(6)["rules"] if rule["rule"] == "blocked"]
    assert of_url["value"] == "games: site.test/~user"


def test_the_manifest_tells_of_lists_and_reasons(corpus: Corpus) -> None:
    manifest = json.loads((corpus.output / "MANIFEST.json").read_text())
    assert manifest["lists"] == [{"categories": ["adult", "games", "fine"], "entries": 3, "unusable": 0}]
    assert str(corpus.folder / "ut1") in manifest["environment"]["files"]
    dropped = {e["reason"]: e["records"] for e in manifest["ledger"] if e["stage"] == "decide"}
    assert dropped == {"in": 8, "out": 4, "licences": 3, "blocked": 1}


def test_exports_carry_the_licence(corpus: Corpus, tmp_path: Path) -> None:
    export_run(str(corpus.output), str(tmp_path / "to"), "parquet", Console(quiet=True))
    licences = pq.read_table(tmp_path / "to/part-00000.parquet")["licence"].to_pylist()
    assert licences == ["CC0-1.0"] * 4


def test_licences_can_be_simulated_and_lists_cannot(corpus: Corpus) -> None:
    job = open_run(str(corpus.output))
    outcome = simulate(job, change_recipe(job.recipe, ["decide.licences=['CC0-*', 'MIT']"]))
    assert outcome.rules["licences"].freed == 1
    assert outcome.reasons_after == {"licences": 2, "blocked": 1}
    with pytest.raises(UsageError, match="lists would have to be read"):
        change_recipe(job.recipe, ["decide.block_lists=[]"])


def test_a_changed_list_reruns_decide_alone_and_a_moved_one_nothing(corpus: Corpus) -> None:
    before = corpus.rows()
    (corpus.folder / "ut1").rename(corpus.folder / "moved")
    corpus.run(block_lists=[str(corpus.folder / "moved")])
    assert corpus.rows() == before
    (corpus.folder / "moved/adult/domains").write_text("bad.test\ngood.test\n")
    corpus.run(block_lists=[str(corpus.folder / "moved")])
    after = corpus.rows()
    changed = {name.rpartition("/")[0] for name, time in after.items() if before.get(name) != time}
    decide = {"work/lists", "decisions", "work/encoded", "work/mixture"}
    assert changed == decide | {"work/exchange", "work/shards"}
    assert [corpus.trace(number)["decision"]["kept"] for number in range(8)] == [False] * 5 + [
        True,
        False,
        True,
    ]


@pytest.mark.slow
def test_with_allow_lists_alone_nothing_else_passes(corpus: Corpus) -> None:
    manifest = corpus.run(block_lists=[], licences=[])
    kept = [corpus.trace(number)["decision"]["kept"] for number in range(8)]
    assert kept == [False] * 5 + [True, False, True]
    assert manifest["balanced"] and "licences" not in {entry["reason"] for entry in manifest["ledger"]}
