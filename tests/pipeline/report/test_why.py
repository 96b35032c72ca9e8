"""Every document and row of a run explains itself, agrees with the shards, and opens a handful of files."""

import io
import json
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from pipeline.annotate.digests import url_digests
from pipeline.config import UsageError
from pipeline.parts import read_batches
from pipeline.phase import Job, need_rows
from pipeline.report.explain import explain_document, find_quarantined
from pipeline.report.explain_view import document_panel
from pipeline.report.lineage import parse_row_name
from pipeline.report.run_folder import find_locators, open_run, read_document
from pipeline.report.why import parse_id, print_why
from pipeline.schema import locator
from pipeline.storage import Storage


@pytest.fixture(scope="module")
def job(small_run: Path) -> Job:
    return open_run(str(small_run))


@pytest.fixture(scope="module")
def traces(job: Job) -> dict[int, dict]:
    """The trace of every document of the run."""
    rows = [row.file("documents").rows for row in need_rows(job, "documents", range(job.parts))]
    places = [locator(part, row) for part, count in enumerate(rows) for row in range(count)]
    return {place: explain_document(job, place) for place in places}


def ask(capsys: pytest.CaptureFixture[str], output: Path, **question: str) -> tuple[int, dict]:
    asked = {"doc": None, "url": None, "row": None, **question}
    code = print_why(str(output), **asked, as_json=True)
    return code, json.loads(capsys.readouterr().out)


def test_decisions_are_those_of_the_run(job: Job, traces: dict[int, dict]) -> None:
    stored = {}
    for part, row in enumerate(need_rows(job, "decisions", range(job.parts))):
        decisions = [
            d for batch in read_batches(job.storage(), row.file("decisions")) for d in batch.to_pylist()
        ]
        stored |= {locator(part, number): decision for number, decision in enumerate(decisions)}
    assert stored.keys() == traces.keys()
    for place, trace in traces.items():
        assert trace["decision"]["kept"] == stored[place]["kept"]
        assert [rule["rule"] for rule in trace["rules"] if not rule["passes"]] == stored[place]["failing"]
        assert trace["cluster"]["id"] == stored[place]["cluster_id"].hex()
    reasons = {trace["decision"]["reason"] for trace in traces.values()}
    assert {"", "duplicate", "languages"} <= reasons and len(reasons) > 4


def test_copies_are_where_the_shards_say(small_run: Path, traces: dict[int, dict]) -> None:
    """Against a scan of all shards by another reader."""
    held: dict[tuple[int, int], list[tuple]] = defaultdict(list)
    for path in sorted((small_run / "tokens").glob("*.arrow")):
        with pa.OSFile(str(path)) as source:
            rows = pa.ipc.open_file(source).read_all().select(["documents", "length"]).to_pylist()
        for number, row in enumerate(rows):
            pieces = row["documents"]
            ends = [piece["row_start"] for piece in pieces[1:]] + [row["length"]]
            for piece, end in zip(pieces, ends, strict=True):
                place = (f"tokens/{path.name}", number, piece["row_start"], end, piece["doc_start"])
                held[piece["locator"], piece["copy"]].append(place)
    told = {
        (place, copy["copy"]): [
            (copy["file"], span["row"], span["start"], span["end"], span["document_start"])
            for span in copy["spans"]
        ]
        for place, trace in traces.items()
        for copy in trace["copies"]
    }
    assert told == held
    assert {number for _, number in told} == {0, 1}  # books are repeated


def test_spans_of_a_copy_join_and_fill_the_document(traces: dict[int, dict]) -> None:
    for trace in traces.values():
        for copy in trace["copies"]:
            at = 0
            for span in copy["spans"]:
                assert span["document_start"] == at
                at += span["end"] - span["start"]
            assert at == trace["tokens"] + 1


def test_clusters_name_their_survivor_and_members(traces: dict[int, dict]) -> None:
    by_cluster: dict[str, set[str]] = defaultdict(set)
    for trace in traces.values():
        by_cluster[trace["cluster"]["id"]].add(trace["id"])
    shared = [trace for trace in traces.values() if trace["cluster"]["size"] > 1]
    assert shared
    for trace in shared:
        assert {member["id"] for member in trace["cluster"]["members"]} == by_cluster[trace["cluster"]["id"]]
        survivor = trace["cluster"]["survivor"]
        assert trace["decision"]["kept"] == (survivor is not None and survivor["id"] == trace["id"])


def test_a_document_by_id_and_by_url(small_run: Path, traces: dict[int, dict], capsys) -> None:
    for place, trace in list(traces.items())[::7]:
        code, found = ask(capsys, small_run, doc=trace["id"].upper())
        assert code == 0 and found["documents"] == [json.loads(json.dumps(trace))], place
    urls = defaultdict(set)
    for trace in traces.values():
        if trace["url"]:
            urls[url_digests(pa.array([trace["url"]]))[0].as_py()].add(trace["id"])
    for trace in list(traces.values())[::7]:
        if trace["url"]:
            code, found = ask(capsys, small_run, url=trace["url"])
            same = urls[url_digests(pa.array([trace["url"]]))[0].as_py()]
            assert code == 0 and {document["id"] for document in found["documents"]} == same


def test_a_row_leads_back_to_its_documents(small_run: Path, traces: dict[int, dict], capsys) -> None:
    trace = next(trace for trace in traces.values() if trace["copies"])
    copy, span = trace["copies"][0], trace["copies"][0]["spans"][0]
    code, found = ask(capsys, small_run, row=f"{copy['file']}:{span['row']}")
    (piece,) = [piece for piece in found["pieces"] if piece["start"] == span["start"]]
    assert code == 0
    assert (piece["document"]["id"], piece["end"], piece["copy"]) == (trace["id"], span["end"], copy["copy"])
    assert piece["document"]["licence"] == "Apache-2.0"


def test_what_is_not_there(small_run: Path, capsys) -> None:
    for question in ({"doc": "0" * 32}, {"url": "https://nowhere.example/"}, {"row": "train-00000:99999999"}):
        assert ask(capsys, small_run, **question)[0] == 1
    assert print_why(str(small_run), doc="0" * 32, url=None, row=None, as_json=False) == 1
    assert "not in the index" in " ".join(capsys.readouterr().out.split())


def test_a_record_that_was_set_aside_is_found_by_its_url(small_run: Path, job: Job, capsys) -> None:
    stopped = [
        record
        for row in need_rows(job, "documents", range(job.parts))
        for batch in read_batches(job.storage(), row.file("quarantine"), columns=["url", "reason"])
        for record in batch.to_pylist()
        if record["url"]
    ]
    assert stopped
    for record in stopped:
        assert record["reason"] in {found["reason"] for found in find_quarantined(job, record["url"])}
    code, found = ask(capsys, small_run, url=stopped[0]["url"].replace("https://", "http://www."))
    assert (
        code == 0 and found["documents"] == [] and found["quarantined"][0]["reason"] == stopped[0]["reason"]
    )
    assert print_why(str(small_run), doc=None, url=stopped[0]["url"], row=None, as_json=False) == 0
    assert stopped[0]["reason"] in capsys.readouterr().out


def test_masked_data_stays_masked(job: Job, traces: dict[int, dict]) -> None:
    (place, trace) = next((place, trace) for place, trace in traces.items() if trace["edits"])
    text = read_document(job, "documents", place, ["text"])["text"][0].as_py().encode()
    for edit in trace["edits"]:
        assert text[edit["start"] : edit["end"]].decode() not in json.dumps(trace, ensure_ascii=False)


def test_few_files_are_opened(small_run: Path, traces: dict[int, dict], monkeypatch, capsys) -> None:
    opened: list[str] = []
    open_input = Storage.open_input

    def counting(storage: Storage, name: str) -> pa.NativeFile:
        opened.append(name)
        return open_input(storage, name)

    monkeypatch.setattr(Storage, "open_input", counting)
    alone = next(
        trace for trace in traces.values() if trace["cluster"]["size"] == 1 and len(trace["copies"]) == 1
    )
    ask(capsys, small_run, doc=alone["id"])
    folders = sorted(name.rsplit("/", 1)[0] for name in opened)
    assert folders == ["clusters", "decisions", "documents", "index/id", "measures", "tokens"]


@pytest.mark.parametrize(
    "name", ["", "train:3", "train-0", "test-00000:1", "train-00000:-1", "train-00000:x"]
)
def test_other_row_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="SHARD:ROW"):
        parse_row_name(name)


def test_row_names() -> None:
    assert parse_row_name("train-00000:17") == ("train", 0, 17)
    assert parse_row_name("/some/where/tokens/validation-00012.arrow:0") == ("validation", 12, 0)


@pytest.mark.parametrize("text", ["", "abc", "g" * 32, "0" * 31, "0x" + "0" * 30])
def test_other_ids_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="32 hex digits"):
        parse_id(text)


def test_a_folder_without_a_finished_run_is_refused(small_run: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no run"):
        open_run(str(tmp_path))
    for name in (
        "plan.json",
        "MANIFEST.json",
    ):  # planned; then finished; then planned anew, with another input
        with pytest.raises((UsageError, FileNotFoundError), match=r"not finished|holds no run"):
            open_run(str(tmp_path))
        (tmp_path / name).write_bytes((small_run / name).read_bytes())
    assert open_run(str(tmp_path)).parts > 1
    plan = json.loads((tmp_path / "plan.json").read_text())
    plan["inputs"][0]["identity"] = "sha256:0"
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(UsageError, match="not finished"):
        open_run(str(tmp_path))


def test_index_look_ups_agree_with_a_scan(job: Job, traces: dict[int, dict]) -> None:
    for place, trace in traces.items():
        assert find_locators(job, "id", bytes.fromhex(trace["id"])) == [place]


def test_nothing_from_data_reaches_the_terminal_as_code(traces: dict[int, dict]) -> None:
    evil = "[bold]x[/bold]\x1b[31m\x07\u202egnp.exe"
    trace = json.loads(json.dumps(next(trace for trace in traces.values() if trace["copies"])))
    trace |= {"title": evil, "url": evil, "path": evil, "charset": evil, "date": evil, "excerpt": evil}
    screen = io.StringIO()
    Console(file=screen, width=100).print(document_panel(trace))
    shown = screen.getvalue()
    assert "[bold]x[/bold]" in shown
    assert not set(shown) & {"\x1b", "\x07", "\u202e"}
