"""An export holds exactly what the run kept, as it was trained on, in bytes that depend on nothing else."""

import gzip
import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline.config import UsageError
from pipeline.report.explain import explain_document
from pipeline.report.export import MARK, export_run
from pipeline.report.run_folder import find_locators, open_run, read_manifest

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def parquet(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "parquet"
    assert export_run(str(small_run), str(folder), "parquet", QUIET) == 0
    return folder


def records(folder: Path) -> list[dict]:
    return [record for path in sorted(folder.glob("*.parquet")) for record in pq.read_table(path).to_pylist()]


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_it_holds_what_was_kept(small_run: Path, parquet: Path) -> None:
    manifest = read_manifest(open_run(str(small_run)))
    exported = records(parquet)
    assert len({record["id"] for record in exported}) == len(exported) == manifest["totals"]["kept"]
    for source in manifest["sources"]:
        of_source = [record for record in exported if record["source"] == source["name"]]
        assert len(of_source) == source["documents"]
        assert sum(record["tokens"] for record in of_source) == source["tokens"]
    assert json.loads((parquet / MARK).read_text())["documents"] == len(exported)


def test_records_agree_with_why(small_run: Path, parquet: Path) -> None:
    job = open_run(str(small_run))
    for record in records(parquet)[::5]:
        (place,) = find_locators(job, "id", bytes.fromhex(record["id"]))
        trace = explain_document(job, place)
        assert record["text"].startswith(trace["excerpt"])
        for name in ("url", "date", "title", "language", "language_score"):
            assert record[name] == trace[name]
        assert {name: record[name] for name in trace["measures"]} == trace["measures"]
        assert record["cluster_size"] == trace["cluster"]["size"]
        assert record["validation"] == trace["decision"]["validation"]
        assert record["licence"] == trace["source"]["licence"]


def test_personal_data_is_masked(parquet: Path) -> None:
    texts = [record["text"] for record in records(parquet)]
    assert any("<email>" in text for text in texts)


def test_jsonl_says_the_same(small_run: Path, parquet: Path, tmp_path: Path) -> None:
    assert export_run(str(small_run), str(tmp_path / "jsonl"), "jsonl", QUIET) == 0
    lines = [
        json.loads(line)
        for path in sorted((tmp_path / "jsonl").glob("*.jsonl.gz"))
        for line in gzip.decompress(path.read_bytes()).splitlines()
    ]
    wanted = [{name: record[name] for name in lines[0]} for record in records(parquet)]
    assert lines == wanted
    assert all(path.read_bytes()[4:8] == bytes(4) for path in (tmp_path / "jsonl").glob("*.gz")), "no time"


@pytest.mark.parametrize("format", ["parquet", "jsonl"])
def test_the_same_bytes_again(small_run: Path, tmp_path: Path, format: str) -> None:
    for name in ("one", "two", "two"):
        export_run(str(small_run), str(tmp_path / name), format, QUIET)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")


def test_only_its_own_export_is_overwritten(small_run: Path, parquet: Path, tmp_path: Path) -> None:
    before = hashes(parquet)
    with pytest.raises(UsageError, match="not a jsonl export of this run"):
        export_run(str(small_run), str(parquet), "jsonl", QUIET)
    (tmp_path / "mine.txt").write_text("something else")
    with pytest.raises(UsageError, match="not empty"):
        export_run(str(small_run), str(tmp_path), "parquet", QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"] and hashes(parquet) == before


def test_an_interrupted_export_is_made_again(small_run: Path, parquet: Path, tmp_path: Path) -> None:
    mark = json.loads((parquet / MARK).read_text())
    (tmp_path / MARK).write_text(json.dumps({name: mark[name] for name in ("content_digest", "format")}))
    export_run(str(small_run), str(tmp_path), "parquet", QUIET)
    assert hashes(tmp_path) == hashes(parquet)
