"""The audit sees every lie: one record in one entry, one row of a file, one file, one commit row too few."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline.ledger import Entry
from pipeline.parts import ContentDigest, PartFile, file_sha256
from pipeline.phase import Job, Row, read_row, row_name, write_row
from pipeline.recipe_file import load_recipe
from pipeline.report.audit import audit, collect_rows
from pipeline.report.recount import recount
from pipeline.report.run_folder import open_run
from pipeline.run import UNBALANCED, RunOptions, run

FOLDERS = (
    "documents",
    "quarantine",
    "measures",
    "work/signatures",
    "work/planted",
    "work/buckets",
    "work/groups",
    "work/verified",
    "work/followed",
    "index/id",
    "index/url",
    "work/components",
    "clusters",
    "decisions",
    "work/encoded",
    "tokens",
)


@pytest.fixture(scope="module")
def job(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A copy of the baseline; every test leaves it as it was."""
    output = tmp_path_factory.mktemp("mutated") / "out"
    shutil.copytree(small_run, output)
    return open_run(str(output))


def changed_ledgers(row: Row) -> Iterator[tuple[str, tuple[Entry, ...]]]:
    """Each entry of a row left out, or with one record more or less."""
    for at, entry in enumerate(row.ledger):
        others = row.ledger[:at] + row.ledger[at + 1 :]
        what = f"{row.step} {row.number}: {entry.stage}, {entry.reason}"
        if entry.records:
            yield f"{what} gone", others
            yield f"{what} less one", (*others, replace(entry, records=entry.records - 1))
        yield f"{what} more one", (*others, replace(entry, records=entry.records + 1))


def telling_rows(rows: dict[str, list[Row]]) -> list[Row]:
    """The first rows in which each (step, stage, reason) of the run occurs."""
    seen: set[tuple[str, str, str]] = set()
    telling = []
    for step, of_step in rows.items():
        for row in of_step:
            kinds = {(step, entry.stage, entry.reason) for entry in row.ledger}
            if not kinds <= seen:
                telling.append(row)
            seen |= kinds
    assert len({stage for _, stage, _ in seen}) == 13 and len(seen) > 35
    return telling


def test_the_copy_balances(job: Job) -> None:
    assert audit(job).problems == []


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["kinds", "rows"])
def test_every_ledger_entry(every: bool, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files stay as they are, and are looked into once; it is the sums that tell."""
    rows = collect_rows(job)
    files = [file for of_step in rows.values() for row in of_step for file in row.files]
    held = dict(recount(job.storage(), files))
    monkeypatch.setattr("pipeline.report.audit.recount", lambda storage, files: [(f, held[f]) for f in files])
    monkeypatch.setattr("pipeline.report.audit.collect_rows", lambda job: rows)
    blind = []
    for row in [row for of_step in rows.values() for row in of_step] if every else telling_rows(rows):
        at = rows[row.step].index(row)
        for what, ledger in changed_ledgers(row):
            rows[row.step][at] = replace(row, ledger=ledger)
            if not audit(job).problems:
                blind.append(what)
        rows[row.step][at] = row
    assert blind == [] and audit(job).problems == []


# --- files ------------------------------------------------------------------------------------------------


def find_file(job: Job, folder: str) -> tuple[Row, PartFile]:
    """The row and file of a folder that has the most rows; the first of equals."""
    rows = [row for of_step in collect_rows(job).values() for row in of_step]
    found = [(row, file) for row in rows for file in row.files if file.name.startswith(f"{folder}/")]
    return max(found, key=lambda pair: pair[1].rows)


@pytest.fixture
def folder(request: pytest.FixtureRequest, job: Job) -> Iterator[str]:
    """The name of a folder; what the test does to its file and row is undone."""
    row, file = find_file(job, request.param)
    path = Path(job.output, file.name)
    content = path.read_bytes()
    yield request.param
    path.write_bytes(content)
    write_row(job, row)


def without_row(path: Path, gone: int) -> str:
    """Rewrites a part or shard without one row, in one batch; returns the digest of what is left."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
    else:
        with pa.memory_map(str(path)) as source:
            table = pa.Table.from_batches([*map(copied, pa.ipc.open_file(source).read_all().to_batches())])
    left = pa.concat_tables([table[:gone], table[gone + 1 :]]).combine_chunks()
    if path.suffix == ".parquet":
        pq.write_table(left, path, compression="zstd")
    else:
        with pa.ipc.new_file(str(path), left.schema) as writer:
            writer.write_table(left)
    digest = ContentDigest()
    for batch in left.to_batches():
        if path.suffix == ".parquet":
            digest.update(batch)
    return digest.hexdigest()


def copied(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch off its memory map, which is about to be overwritten."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return pa.ipc.open_stream(sink.getvalue()).read_next_batch()


@pytest.mark.parametrize("folder", FOLDERS, indirect=True)
def test_a_file_with_one_row_less(folder: str, job: Job) -> None:
    """First or last row; with its commit row as it was, and with one that agrees with the file."""
    row, file = find_file(job, folder)
    path = Path(job.output, file.name)
    content = path.read_bytes()
    for gone in (0, file.rows - 1):
        path.write_bytes(content)
        digest = without_row(path, gone)
        assert any(file.name in problem for problem in audit(job).problems)
        told = replace(
            file,
            rows=file.rows - 1,
            bytes=path.stat().st_size,
            sha256=file_sha256(path),
            content=digest,
        )
        files = tuple(told if other == file else other for other in row.files)
        write_row(job, replace(row, files=files))
        problems = audit(job).problems
        assert problems and not any(f"rows of {file.name} in its commit row" in p for p in problems)
        write_row(job, row)


@pytest.mark.parametrize("folder", FOLDERS, indirect=True)
def test_a_file_that_is_gone_or_damaged(folder: str, job: Job) -> None:
    _, file = find_file(job, folder)
    path = Path(job.output, file.name)
    content = path.read_bytes()
    path.write_bytes(b"\0" * len(content))
    assert any(file.name in problem for problem in audit(job).problems)
    path.unlink()
    assert any(file.name in problem for problem in audit(job).problems)


def test_a_commit_row_that_is_gone_or_half(job: Job) -> None:
    for step, rows in collect_rows(job).items():
        row = rows[-1]
        name = Path(job.output, row_name(step, row.number))
        content = name.read_bytes()
        for left in (b"", content[: len(content) // 2], content.replace(b'"records": ', b'"records": 1', 1)):
            name.write_bytes(left)
            if left != content:
                with pytest.raises(RuntimeError, match=rf"{step} is not complete.*\[{row.number}\]"):
                    audit(job)
        name.write_bytes(content)
        assert read_row(job, step, row.number) == row


@pytest.mark.parametrize("folder", ["decisions"], indirect=True)
def test_a_run_fails(folder: str, job: Job, small_settings) -> None:
    """What the audit finds is what the command ends with; the manifest says so too."""
    row = next(row for row in collect_rows(job)[folder] if row.ledger)
    more = [dataclasses.replace(row.ledger[0], records=row.ledger[0].records + 1), *row.ledger[1:]]
    write_row(job, replace(row, ledger=tuple(more)))
    recipe = load_recipe("quickstart", small_settings)
    console = Console(quiet=True)
    assert run(recipe, RunOptions(job.output, 1, phase="report"), console) == UNBALANCED
    manifest = json.loads(Path(job.output, "MANIFEST.json").read_text())
    assert not manifest["balanced"] and any("decide" in problem for problem in manifest["problems"])
    write_row(job, row)
