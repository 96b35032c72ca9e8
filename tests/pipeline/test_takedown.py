"""Documents leave a finished run for good; every shard that did not hold them keeps its bytes."""

import json
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline import run as running
from pipeline.cli import main
from pipeline.config import UsageError
from pipeline.decide.takedowns import Request
from pipeline.recipe_file import recipe_from_tree
from pipeline.report.explain import explain_document
from pipeline.report.explain_view import document_panel
from pipeline.report.export import export_run
from pipeline.report.run_folder import open_run
from pipeline.report.simulate import describe
from pipeline.report.simulation import simulate
from pipeline.run import RunOptions
from pipeline.takedown import read_asked, take_down

QUIET = Console(quiet=True)
Held = dict[str, dict[tuple[int, int], tuple[int, ...]]]


def held(output: Path) -> Held:
    """Token ids of every (locator, copy) by shard, out of the shards themselves."""
    found: Held = {}
    for path in sorted((output / "tokens").glob("*.arrow")):
        with pa.OSFile(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        pieces: dict[tuple[int, int], list[int]] = {}
        for row in table.to_pylist():
            ends = [piece["row_start"] for piece in row["documents"][1:]] + [row["length"]]
            for piece, end in zip(row["documents"], ends, strict=True):
                copy = pieces.setdefault((piece["locator"], piece["copy"]), [])
                assert len(copy) == piece["doc_start"]
                copy += row["input_ids"][piece["row_start"] : end]
        found[path.name] = {key: tuple(ids) for key, ids in pieces.items()}
    return found


def bytes_of(output: Path, folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((output / folder).glob("*.*"))}


def manifest_of(output: Path) -> dict[str, Any]:
    return json.loads((output / "MANIFEST.json").read_text())


def traces_of(output: Path) -> dict[str, dict[str, Any]]:
    """What `why` says of every document, by id."""
    job = open_run(str(output))
    found = {}
    for part in range(job.parts):
        for path in sorted((output / "documents").glob(f"part-{part:05d}-*.parquet")):
            for row in range(pq.read_metadata(path).num_rows):
                trace = explain_document(job, part << 32 | row)
                found[trace["id"]] = trace
    return found


def ask(output: Path, request: Request, *, dry_run: bool = False) -> int:
    return take_down(str(output), request, QUIET, dry_run=dry_run, workers=1)


@pytest.fixture(scope="module")
def before(small_run: Path) -> dict[str, dict[str, Any]]:
    return traces_of(small_run)


@pytest.fixture(scope="module")
def chosen(before: dict[str, dict[str, Any]]) -> Request:
    """A book (two copies) by its id, a page that is alone by its URL, and a survivor of several."""
    kept = [trace for trace in before.values() if trace["decision"]["kept"]]
    book = next(trace for trace in kept if len(trace["copies"]) == 2 and trace["cluster"]["size"] == 1)
    page = next(trace for trace in kept if trace["url"] and trace["cluster"]["size"] == 1)
    survivor = next(trace for trace in kept if trace["cluster"]["size"] > 1)
    return Request(tuple(sorted((book["id"], survivor["id"]))), (page["url"].partition("://")[2],), ())


@pytest.fixture(scope="module")
def gone(before: dict[str, dict[str, Any]], chosen: Request) -> set[str]:
    named = {i for i, trace in before.items() if trace["url"].endswith(chosen.urls[0]) and trace["url"]}
    return {*chosen.ids, *(i for i in named if before[i]["url"].partition("://")[2] == chosen.urls[0])}


@pytest.fixture(scope="module")
def after(small_run: Path, chosen: Request, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("takedown") / "out"
    shutil.copytree(small_run, output)
    assert ask(output, chosen) == 0
    return output


def test_only_what_was_asked_for_left_the_shards(small_run: Path, after: Path, before, gone) -> None:
    locators = {before[i]["part"] << 32 | before[i]["row"] for i in gone}
    old, new = held(small_run), held(after)
    for name, documents in old.items():
        rest = {key: ids for key, ids in documents.items() if key[0] not in locators}
        assert new.get(name, {}) == rest
        if rest == documents:
            assert (after / "tokens" / name).read_bytes() == (small_run / "tokens" / name).read_bytes()
    changed = {name for name in old if any(key[0] in locators for key in old[name])}
    assert 0 < len(changed) < len(old)


def test_the_manifest_says_so_and_balances(small_run: Path, after: Path, before, chosen, gone) -> None:
    old, new = manifest_of(small_run), manifest_of(after)
    (told,) = new["takedowns"]
    spans = [copy for i in gone for copy in before[i]["copies"]]
    tokens = sum(span["end"] - span["start"] for copy in spans for span in copy["spans"])
    assert told == {
        "ids": list(chosen.ids),
        "urls": list(chosen.urls),
        "domains": [],
        "documents": len(gone),
        "in_corpus": len(gone),
        "tokens": tokens,
        "shards": sorted({copy["file"] for copy in spans}),
    }
    assert new["balanced"] and old["totals"]["tokens"] - new["totals"]["tokens"] == tokens
    assert old["totals"]["kept"] - new["totals"]["kept"] == len(gone)
    dropped = {e["reason"]: e["records"] for e in new["ledger"] if e["stage"] == "decide"}
    assert dropped["takedown"] == len(gone)
    files = set(pq.read_table(after / "manifest.parquet")["name"].to_pylist())
    assert {f"tokens/{name}" for name in bytes_of(after, "tokens")} <= files
    assert "Taken down" in (after / "report.html").read_text()
    assert "Taken down" not in (small_run / "report.html").read_text()


def test_why_simulate_and_export_agree(after: Path, before, gone, tmp_path: Path) -> None:
    now = traces_of(after)
    assert now.keys() == before.keys()
    for identifier, trace in now.items():
        if identifier in gone:
            assert (trace["decision"]["kept"], trace["decision"]["reason"]) == (False, "takedown")
            assert (trace["excerpt"], trace["copies"]) == ("", [])
            document_panel(trace)
        else:  # near-duplicates are not promoted
            assert trace["decision"] == before[identifier]["decision"]
            copies = [[copy["copy"], copy["file"]] for copy in trace["copies"]]
            assert copies == [[copy["copy"], copy["file"]] for copy in before[identifier]["copies"]]
    export_run(str(after), str(tmp_path / "to"), "parquet", QUIET)
    tables = [pq.read_table(path) for path in (tmp_path / "to").glob("*.parquet")]
    exported = [identifier for table in tables for identifier in table["id"].to_pylist()]
    assert set(exported) == {i for i, trace in before.items() if trace["decision"]["kept"]} - gone
    job = open_run(str(after))
    outcome = describe(job, job.recipe, simulate(job, job.recipe), manifest_of(after))
    assert outcome["totals"]["documents"] == [len(exported)] * 2 and not outcome["rules"]


@pytest.mark.slow
def test_nothing_brings_it_back(small_run, after: Path, chosen, run_small, said_by, tmp_path: Path) -> None:
    """A rerun finds nothing to do; run from the beginning with the same requests, it comes out the same."""
    output = tmp_path / "out"
    shutil.copytree(after, output)
    said = said_by(after)
    rows = {path: path.stat().st_mtime_ns for path in output.rglob("part-*.json")}
    run_small(output)
    assert {path: path.stat().st_mtime_ns for path in output.rglob("part-*.json")} == rows
    assert said_by(output) == said
    assert ask(output, chosen) == 0 and said_by(output) == said  # asked for again: it is there already
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    shutil.copyfile(after / "takedown.json", fresh / "takedown.json")
    run_small(fresh)
    assert said_by(fresh) == said
    manifest = run_small(output, "decide.thresholds.default.default.min_characters=1")
    assert sum(request["documents"] for request in manifest["takedowns"]) == len(chosen.ids) + 1
    assert {e["reason"]: e["records"] for e in manifest["ledger"] if e["stage"] == "decide"}["takedown"] == 3


def packed_in(output: Path) -> Counter[tuple[str, int, tuple[int, ...]]]:
    """(id, copy, token ids) of all that the shards hold."""
    ids = {trace["part"] << 32 | trace["row"]: i for i, trace in traces_of(output).items()}
    every = [(key, tokens) for documents in held(output).values() for key, tokens in documents.items()]
    return Counter((ids[locator], copy, tokens) for (locator, copy), tokens in every)


def run_own(output: Path, numbers: Iterable[int], **decide: Any) -> None:
    """A run of small documents with these numbers, in many shards; every third line stands in several."""
    path = output.parent / f"{output.name}.jsonl"
    with path.open("w") as file:
        for number in numbers:
            own = chr(ord("a") + number // 26) + chr(ord("a") + number % 26)
            whose = ["all" if line % 3 == 0 else own for line in range(12)]
            lines = [f"{'abcdefghijkl'[line]} of {of} {'words ' * 8}" for line, of in enumerate(whose)]
            file.write(json.dumps({"id": str(number), "text": "\n".join(lines)}) + "\n")
    source = {"name": "own", "kind": "books", "format": "jsonl", "paths": [str(path)], "repeats": 1.5}
    tree = {"name": "own", "sources": [source], "deduplicate": {"near": False}}
    tree |= {"decide": {"validation_share": 0.2, **decide}, "pack": {"row_tokens": 128, "shard_rows": 4}}
    assert running.run(recipe_from_tree(tree), RunOptions(str(output), 1), QUIET) == 0


def test_as_if_it_had_never_been_there(tmp_path: Path) -> None:
    """Against a run whose input lacks the documents: the same documents, texts and copies are packed."""
    had, never, absent = tmp_path / "had", tmp_path / "never", range(0, 40, 7)
    run_own(had, range(40))
    run_own(never, [number for number in range(40) if number not in absent])
    before = packed_in(had)
    gone = traces_of(had).keys() - traces_of(never).keys()
    assert len(gone) == len(absent)
    assert ask(had, Request(tuple(sorted(gone)), (), ())) == 0
    assert packed_in(had) == packed_in(never) != before


@pytest.mark.slow
def test_passages_cut_out_stay_cut(tmp_path: Path) -> None:
    """What another document lost because it also stood in one that goes is not put back."""
    output = tmp_path / "out"
    run_own(output, range(20), repeated="lines")
    old, traces = packed_in(output), traces_of(output)
    (whole,) = [i for i, trace in traces.items() if not trace["edits"]]  # it has the first of every line
    assert ask(output, Request((whole,), (), ())) == 0
    assert packed_in(output) == Counter({key: n for key, n in old.items() if key[0] != whole}) != old


class Killed(Exception):
    pass


ALSO = [pytest.param(moment, marks=pytest.mark.slow) for moment in ("plan", "pack", "report")]


@pytest.mark.parametrize("moment", ["decide", *ALSO])
def test_interrupted_and_started_again(
    moment: str, small_run: Path, after: Path, chosen, said_by, tmp_path: Path, monkeypatch
) -> None:
    output = tmp_path / "out"
    shutil.copytree(small_run, output)
    submit = running._submit

    def until(job: Any, phases: Any, options: Any, console: Any) -> None:
        done = [phase for phase in phases if phase.name == "decide"] if moment == "pack" else []
        done = phases if moment == "report" else done
        if done:
            submit(job, done, options, console)
        raise Killed

    if moment == "plan":
        monkeypatch.setattr("pipeline.takedown._plan_again", lambda storage: (_ for _ in ()).throw(Killed))
    monkeypatch.setattr(running, "_submit", until)
    with pytest.raises(Killed):
        ask(output, chosen)
    if moment == "plan":  # the request lies there, and nothing else: the run still is what it says
        assert open_run(str(output)).parts
    else:
        with pytest.raises(UsageError, match="not finished"):
            open_run(str(output))
    monkeypatch.undo()
    assert ask(output, chosen) == 0
    assert said_by(output) == said_by(after)


def test_a_dry_run_changes_nothing(small_run: Path, chosen: Request, said_by, tmp_path: Path, capsys) -> None:
    said = said_by(small_run)
    ids = tmp_path / "ids.txt"
    ids.write_text("# two of them\n" + "\n".join(chosen.ids) + "\n\n")
    assert main(["takedown", str(small_run), "--ids", str(ids), "--dry-run"]) == 0
    assert "2 documents are named; 2 of them are in the corpus" in " ".join(capsys.readouterr().out.split())
    assert said_by(small_run) == said and not (small_run / "takedown.json").exists()


def test_what_is_not_there_is_named(small_run: Path, said_by, tmp_path: Path, capsys) -> None:
    said = said_by(small_run)
    (tmp_path / "urls").write_text("https://nowhere.example/\n")
    (tmp_path / "ids").write_text("0" * 32)
    command = ["takedown", str(small_run), "--urls", str(tmp_path / "urls"), "--ids", str(tmp_path / "ids")]
    assert main(command) == 1
    told = capsys.readouterr().out
    assert "not in this run: nowhere.example" in told and "0" * 32 in told
    assert said_by(small_run) == said


@pytest.mark.parametrize(
    ("option", "content", "word"),
    [("--ids", "abc", "32 hex digits"), ("--domains", "a.test/x", "no domain"), ("--urls", "#", "nothing")],
)
def test_wrong_requests_are_refused(option, content, word, small_run, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text(content)
    assert main(["takedown", str(small_run), option, str(tmp_path / "file")]) == 2
    assert word in " ".join(capsys.readouterr().out.split())
    with pytest.raises(FileNotFoundError):
        read_asked(ids=str(tmp_path / "none"), urls=None, domains=None)


def test_domains_and_text_that_stays_in_a_duplicate(
    small_run: Path, before, said_by, tmp_path: Path, capsys
) -> None:
    output = tmp_path / "out"
    shutil.copytree(small_run, output)
    duplicate = next(t for t in before.values() if t["decision"]["reason"] == "duplicate" and t["url"])
    (tmp_path / "ids").write_text(duplicate["id"])
    assert main(["takedown", str(output), "--ids", str(tmp_path / "ids"), "--dry-run"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "1 are duplicates of documents that are not named and stay" in told
    (tmp_path / "domains").write_text("*.span.example")
    assert main(["takedown", str(output), "--domains", str(tmp_path / "domains"), "--workers", "1"]) == 0
    reasons = Counter(
        (trace["decision"]["reason"], "span.example/" in trace["url"]) for trace in traces_of(output).values()
    )
    assert reasons["takedown", True] > 2 and reasons["takedown", False] == 0 and reasons["", True] == 0
    assert manifest_of(output)["takedowns"][0]["domains"] == ["span.example"]
