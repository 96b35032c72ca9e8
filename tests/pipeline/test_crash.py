"""Promise 1 after a crash: killed at any moment and run again, the same files; what was finished is not made
again.
"""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest


def commit_rows(output: Path) -> dict[str, int]:
    """Name and time of every commit row that is there now, while others may come and go."""
    rows = {}
    for folder, _, names in os.walk(output):
        for name in names:
            path = Path(folder, name)
            if name.startswith("part-") and name.endswith(".json") and "timings" not in path.parts:
                rows[path.relative_to(output).as_posix()] = path.stat().st_mtime_ns
    return rows


def start(output: Path, settings: tuple[str, ...], workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pipeline.cli", "run", "quickstart", "--output", str(output)]
    command += ["--workers", str(workers)] + [part for setting in settings for part in ("--set", setting)]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def kill_at(output: Path, settings: tuple[str, ...], rows: int, workers: int) -> None:
    """Runs until so many commit rows are there, then kills the whole process group."""
    running = start(output, settings, workers)
    while len(commit_rows(output)) < rows and running.poll() is None:
        time.sleep(0.01)  # a look at all files takes half as long
    with suppress(ProcessLookupError):  # it ended by itself, which the assertion below judges
        os.killpg(running.pid, signal.SIGKILL)
    _, errors = running.communicate()
    assert running.returncode in (-signal.SIGKILL, 0), errors.decode()


def run_to_end(output: Path, settings: tuple[str, ...], workers: int) -> None:
    running = start(output, settings, workers)
    _, errors = running.communicate()
    assert running.returncode == 0, errors.decode()


def test_killed_again_and_again(small_run: Path, small_settings, said_by, tmp_path: Path) -> None:
    """One folder, killed at two seeded moments of its way."""
    whole = len(commit_rows(small_run))
    moments = sorted(random.Random(20).sample(range(1, whole), 2))
    before: dict[str, int] = {}
    for number, moment in enumerate(moments):
        kill_at(tmp_path, small_settings, moment, workers=1 + number % 2)
        now = commit_rows(tmp_path)
        assert before.items() <= now.items(), "a finished part was made again"
        before = now
    run_to_end(tmp_path, small_settings, workers=1)
    assert before.items() <= commit_rows(tmp_path).items()
    assert said_by(tmp_path) == said_by(small_run)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_killed_once(seed: int, small_run: Path, small_settings, said_by, tmp_path: Path) -> None:
    """A fresh folder each, killed at a seeded moment."""
    moment = random.Random(seed).randrange(1, len(commit_rows(small_run)))
    kill_at(tmp_path, small_settings, moment, workers=1 + seed % 2)
    before = commit_rows(tmp_path)
    run_to_end(tmp_path, small_settings, workers=2)
    assert before.items() <= commit_rows(tmp_path).items(), "a finished part was made again"
    assert said_by(tmp_path) == said_by(small_run)
