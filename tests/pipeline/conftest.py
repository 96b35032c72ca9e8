"""Runs of the packaged quickstart, cut into many small splits, so that parts and shards are many."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.recipe_file import load_recipe
from pipeline.run import RunOptions, run

# 40 kB splits: 11 parts; 4-row shards: about 5 shards; an engine that no training changes, so that what
# is expected of a run lasts (annotate/extract/test_main_text_runs.py runs the default one).
SMALL = ("annotate.split_bytes=40000", "pack.shard_rows=4", "annotate.engine=resiliparse")

RunSmall = Callable[..., dict[str, Any]]


def run_small(
    output: Path | str,
    *settings: str,
    workers: int = 1,
    expect: int = 0,
    beam: Sequence[str] = (),
    **options: Any,
) -> dict[str, Any]:
    """Runs the quickstart in small splits with settings; returns the manifest."""
    recipe = load_recipe("quickstart", [*SMALL, *settings])
    console = Console(quiet=True)
    code = run(recipe, RunOptions(str(output), workers, beam_options=beam, **options), console)
    assert code == expect
    manifest = Path(output, "MANIFEST.json")
    return json.loads(manifest.read_text()) if manifest.exists() else {}


def said_by(output: Path) -> dict[str, str]:
    """sha256 of every file of a run but those that tell of time: report.html, timings, progress."""
    files = {path.relative_to(output).as_posix(): path for path in output.rglob("*") if path.is_file()}
    told = ("report.html", ".lock", "work/timings/", "work/progress/")
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in sorted(files.items())
        if not name.startswith(told)
    }


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """What is put need not survive a loss of power here, which is all that fsync is for: a small run has 500
    of them, at 1 to 10 ms each. Processes that a test starts wait as ever.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", name="run_small")
def run_small_fixture() -> RunSmall:
    return run_small


@pytest.fixture(scope="session")
def small_settings() -> tuple[str, ...]:
    """What makes a run small and lasting, for tests that start one otherwise than by `run_small`."""
    return SMALL


@pytest.fixture(scope="session", name="said_by")
def said_by_fixture() -> Callable[[Path], dict[str, str]]:
    return said_by


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The baseline: one worker, in memory, undisturbed. Read only."""
    output = tmp_path_factory.mktemp("small") / "out"
    run_small(output)
    return output
