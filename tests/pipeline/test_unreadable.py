"""A split that cannot be read stops no other; it is exit code 3 until it is read or accepted as missing."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from pipeline import run as pipeline_run
from pipeline.config import RecipeError
from pipeline.plan import Plan, package_path, save_plan
from pipeline.recipe_file import load_recipe
from pipeline.report.audit import audit
from pipeline.report.run_folder import open_run
from pipeline.run import UNREADABLE, RunOptions, run
from pipeline.storage import Storage

FILES = 11  # splits of the quickstart in small splits
LATER = ("deduplicate", "decide", "pack", "report")


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """The quickstart's inputs, for a test to damage."""
    shutil.copytree(package_path("package://web"), tmp_path / "in/web")
    shutil.copytree(package_path("package://books"), tmp_path / "in/books")
    return tmp_path / "in"


def settings(inputs: Path) -> tuple[str, str]:
    return f'sources.web.paths=["{inputs}/web"]', f'sources.books.paths=["{inputs}/books"]'


@contextmanager
def after_plan(event: Callable[[], object]) -> Iterator[None]:
    """Something happens between the plan of a run and its first look at a file."""

    def save_and_let_happen(plan: Plan, storage: Storage) -> None:
        save_plan(plan, storage)
        event()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_run, "save_plan", save_and_let_happen)
        yield


def rows(output: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in output.glob("documents/*.json")}


def test_a_file_that_is_gone(inputs, run_small, said_by, small_run, tmp_path: Path) -> None:
    output, book = tmp_path / "out", inputs / "books/books.jsonl"
    with after_plan(lambda: book.rename(inputs / "elsewhere")):
        run_small(output, *settings(inputs), expect=UNREADABLE)
    (inputs / "elsewhere").rename(book)
    done = rows(output)
    assert 0 < len(done) < FILES and not (output / "clusters").exists()
    for phase in LATER:  # nor one by one
        run_small(output, *settings(inputs), expect=UNREADABLE, phase=phase)
    assert rows(output) == done and not (output / "clusters").exists()

    run_small(output, *settings(inputs))
    assert done.items() <= rows(output).items() and len(rows(output)) == FILES
    # The plan names the folders; all else is as if nothing had happened.
    told, expected = said_by(output), said_by(small_run)
    outside = {"plan.json", "MANIFEST.json"}
    assert {name: told[name] for name in told.keys() - outside} == {
        name: expected[name] for name in expected.keys() - outside
    }


def test_a_file_that_has_changed(
    inputs, small_settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every split of it is told by name and reason."""
    archive = inputs / "web/zh-0.warc.gz"
    recipe = load_recipe("quickstart", [*small_settings, *settings(inputs)])
    with after_plan(lambda: archive.write_bytes(archive.read_bytes() + b"more")):
        code = run(recipe, RunOptions(str(tmp_path / "out"), 1), Console(width=500))
    assert code == UNREADABLE
    told = capsys.readouterr().out
    size = archive.stat().st_size
    assert told.count(f"zh-0.warc.gz: has {size} bytes, {size - 4} when the work was planned") == 4
    assert "4 of 11 splits could not be read" in told and "--accept-missing" in told


@pytest.mark.slow
def test_missing_is_accepted(inputs, run_small, tmp_path: Path) -> None:
    """It stands in the ledger, the rest balances, and the next run tries again."""
    output, book = tmp_path / "out", inputs / "books/books.jsonl"
    with after_plan(lambda: book.rename(inputs / "elsewhere")):
        manifest = run_small(output, *settings(inputs), accept_missing=True)
    assert manifest["balanced"]
    ledger = {(entry["stage"], entry["reason"]): entry for entry in manifest["ledger"]}
    missing = ledger["splits", "unreadable"]
    assert missing["bytes"] == (inputs / "elsewhere").stat().st_size
    assert (
        ledger["splits", "in"]["records"] == FILES == missing["records"] + ledger["splits", "out"]["records"]
    )
    assert not audit(open_run(str(output))).problems
    (inputs / "elsewhere").rename(book)
    done = rows(output)
    run_small(output, *settings(inputs), accept_missing=True, phase="decide")  # still accepted
    run_small(output, *settings(inputs), phase="decide", expect=UNREADABLE)  # not any more
    assert rows(output) == done
    manifest = run_small(output, *settings(inputs))
    assert not any(entry["reason"] == "unreadable" for entry in manifest["ledger"])
    assert len(done.items() & rows(output).items()) == FILES - missing["records"]


def test_phases_of_another_recipe(run_small, small_run, tmp_path) -> None:
    """A phase does not build on parts that were made for another recipe, whole as they look."""
    output = tmp_path / "out"
    shutil.copytree(small_run, output)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("part-*")}
    with pytest.raises(
        RecipeError, match=r"work/candidates is not done for this recipe, run deduplicate first"
    ):
        run_small(output, "deduplicate.url=true", phase="decide")
    with pytest.raises(RecipeError, match=r"decisions is not done for this recipe, run decide first"):
        run_small(output, "decide.thresholds.default.default.min_words=200", phase="pack")
    run_small(output, "annotate.engine=trafilatura", phase="report", expect=UNREADABLE)
    assert {path: path.stat().st_mtime_ns for path in output.rglob("part-*")} == before
    run_small(output, phase="report")
