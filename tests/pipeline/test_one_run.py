"""One run in a folder at a time, and none that waits for ever for a worker that is dead."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from pipeline.run import LOCKED, WORKER_DIED
from pipeline.runners import _WORKER_MODULE
from pipeline.storage import Storage, lock

# As `sluice run`, but with little patience for the dead.
IMPATIENT = """
import sys
from pipeline import cli, runners
runners._GRACE_SECONDS = 1.0
sys.exit(cli.main())
"""


def test_a_second_run_is_refused(run_small, tmp_path: Path) -> None:
    with lock(Storage.open(str(tmp_path))):
        run_small(tmp_path, expect=LOCKED)
    assert {path.name for path in tmp_path.iterdir()} == {".lock"}


def workers_of(running: subprocess.Popen[bytes]) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(running.pid).children(recursive=True):
        try:
            if _WORKER_MODULE in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:
            pass
    return found


def test_a_worker_that_is_killed_ends_the_run(
    run_small, small_settings, said_by, small_run: Path, tmp_path: Path
) -> None:
    """In bounded time, with its own exit code, leaving no process; the next run goes on."""
    command = [
        sys.executable,
        "-c",
        IMPATIENT,
        "run",
        "quickstart",
        "--output",
        str(tmp_path),
        "--workers",
        "2",
    ]
    command += [part for setting in small_settings for part in ("--set", setting)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while not list(tmp_path.glob("documents/*.json")):
        assert running.poll() is None, running.communicate()[0].decode()
        time.sleep(0.005)
    workers = workers_of(running)
    children = psutil.Process(running.pid).children(recursive=True)
    workers[0].send_signal(signal.SIGKILL)
    output, _ = running.communicate(timeout=60)
    told = " ".join(output.decode().split())
    assert running.returncode == WORKER_DIED, told
    assert "was killed" in told and "run the same command again" in told
    psutil.wait_procs(children, timeout=10)
    assert [child for child in children if child.is_running()] == []
    run_small(tmp_path)
    assert said_by(tmp_path) == said_by(small_run)
