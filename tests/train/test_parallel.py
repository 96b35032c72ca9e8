"""Several processes with gloo: the same rows and losses for any number of ranks and any strategy."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from train.checkpoint import complete_checkpoints
from train.config import Source, load_config
from train.lineage import places_of_step
from train.metrics import read_metrics
from train.pretrain import pretrain

ROOT = Path(__file__).resolve().parents[2]
WriteRun = Callable[..., Path]

RECIPE = """
name = "small"
[model]
preset = "tiny"
dim = 32
n_layers = 2
n_heads = 2
n_kv_heads = 2
head_dim = 16
hidden = 48
[batch]
tokens = 256
micro_rows = 1
[schedule]
steps = 6
peak = 1e-2
warmup_steps = 2
[parallel]
dtype = "float32"
compile = false
device = "cpu"
[checkpoints]
every = 2
keep = 9
[log]
every = 1
validate_every = 3
"""


def start(ranks: int, source: Path, output: Path, *settings: str) -> list[subprocess.Popen[str]]:
    """The ranks of one run, as torchrun would start them, by the script itself."""
    recipe = output.parent / "small.toml"
    recipe.write_text(RECIPE)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(ROOT / "train" / "pretrain.py"), str(recipe)]
    command += ["--data", str(source), "--output", str(output)]
    for setting in settings:
        command += ["--set", setting]
    common = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {"WORLD_SIZE": str(ranks), "PYTHONWARNINGS": "error::UserWarning:train", "PYTHONPATH": ""}
    return [
        subprocess.Popen(
            command,
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(ranks)
    ]


def train(ranks: int, source: Path, output: Path, *settings: str) -> None:
    processes = start(ranks, source, output, *settings)
    try:
        for process in processes:
            said = process.communicate(timeout=300)[0]
            assert process.returncode == 0, said
    finally:
        for process in processes:  # those that wait for one that failed
            process.kill()
            process.communicate()


def losses_of(output: Path) -> list[float]:
    return [told["loss"] for told in read_metrics(output) if "loss" in told]


def rows_of(output: Path) -> list[list[str]]:
    return [[place.name for place in places_of_step(output, step)] for step in range(1, 7)]


def validations_of(output: Path) -> list[float]:
    return [told["validation_loss"] for told in read_metrics(output) if "validation_loss" in told]


def test_two_sharded_ranks_equal_one(shards_folder: Path, tmp_path: Path) -> None:
    """FSDP2 over two processes has the rows, losses and validations of this one alone, documents apart."""
    masked = "data.document_mask=true"
    train(2, shards_folder, tmp_path / "two", "parallel.strategy=fsdp", masked)
    alone = load_config(str(tmp_path / "small.toml"), [f"output={tmp_path / 'one'}", masked])
    sources = (Source(str(shards_folder)),)
    assert pretrain(replace(alone, data=replace(alone.data, sources=sources))) == 0
    assert rows_of(tmp_path / "two") == rows_of(tmp_path / "one")
    assert losses_of(tmp_path / "two") == pytest.approx(losses_of(tmp_path / "one"), abs=1e-5)
    assert validations_of(tmp_path / "two") == pytest.approx(validations_of(tmp_path / "one"), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fsdp", "ddp"])
def test_two_then_one_then_four_ranks(shards_folder: Path, tmp_path: Path, strategy: str) -> None:
    """Every two steps another number of ranks goes on from the checkpoint of the last."""
    train(1, shards_folder, tmp_path / "alone")
    output = tmp_path / "changing"
    for ranks, steps in ((2, 2), (1, 4), (4, 6)):
        chosen = "single" if ranks == 1 else strategy
        told = [
            "schedule.steps=6",
            f"parallel.strategy={chosen}",
            f"log.validate_every={0 if steps < 6 else 3}",
        ]
        if steps < 6:
            stop_after(steps, start(ranks, shards_folder, output, *told), output)
        else:
            train(ranks, shards_folder, output, *told)
    assert [json.loads(line)["step"] for line in (output / "segments.jsonl").read_text().splitlines()] == [
        0,
        2,
        4,
    ]
    assert rows_of(output) == rows_of(tmp_path / "alone")
    assert losses_of(output) == pytest.approx(losses_of(tmp_path / "alone"), abs=1e-5)


def stop_after(step: int, ranks: list[subprocess.Popen[str]], output: Path) -> None:
    """Lets a run go on until it has saved a step, kills it, and removes what it saved after that."""
    due = output / "checkpoints" / f"step-{step:08d}"
    wait_for(lambda: due in complete_checkpoints(due.parent), ranks)
    for process in ranks:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    for path in complete_checkpoints(output / "checkpoints"):
        if path.name > f"step-{step:08d}":
            (path / "state.json").unlink()


def wait_for(happens: Callable[[], bool], ranks: list[subprocess.Popen[str]]) -> None:
    end = time.monotonic() + 240
    while not happens():
        assert time.monotonic() < end, "it never happened"
        if any(process.poll() is not None for process in ranks) and not happens():
            raise AssertionError(ranks[0].communicate()[0])
        time.sleep(0.005)


@pytest.mark.slow
def test_saving_beside_training(shards_folder: Path, tmp_path: Path) -> None:
    """The threads that save and those that train never wait for each other's messages."""
    told = ["schedule.steps=60", "checkpoints.every=2", "checkpoints.keep=1", "log.validate_every=0"]
    train(4, shards_folder, tmp_path / "out", "parallel.strategy=ddp", *told)
    assert len(losses_of(tmp_path / "out")) == 60
    assert [path.name for path in complete_checkpoints(tmp_path / "out" / "checkpoints")] == ["step-00000060"]


@pytest.mark.slow
def test_killed_while_saving(shards_folder: Path, tmp_path: Path) -> None:
    """SIGKILL with a checkpoint half written: the next start goes on from the one before, and ends alike."""
    train(1, shards_folder, tmp_path / "calm")
    output = tmp_path / "killed"
    for _ in range(3):
        ranks = start(1, shards_folder, output, "checkpoints.every=1")
        before = {path.name for path in complete_checkpoints(output / "checkpoints")}
        folder = output / "checkpoints"
        wait_for(lambda b=before, f=folder: any(p.stem not in b for p in f.glob("*.tmp")), ranks)
        ranks[0].send_signal(signal.SIGKILL)
        ranks[0].communicate()
    train(1, shards_folder, output, "checkpoints.every=1")
    assert losses_of(output) == losses_of(tmp_path / "calm")
    assert not list((output / "checkpoints").glob("*.tmp"))


@pytest.mark.slow
def test_sigterm_saves_on_all_ranks(shards_folder: Path, tmp_path: Path) -> None:
    """A scheduler tells one rank only; all of them save the same step and end."""
    told = ["schedule.steps=100000", "checkpoints.every=0", "log.validate_every=0"]
    ranks = start(2, shards_folder, tmp_path / "out", *told)
    wait_for(
        lambda: (tmp_path / "out" / "metrics.jsonl").exists() and len(losses_of(tmp_path / "out")) > 3, ranks
    )
    ranks[1].send_signal(signal.SIGTERM)
    for process in ranks:
        said = process.communicate(timeout=120)[0]
        assert process.returncode == 143, said
    saved = complete_checkpoints(tmp_path / "out" / "checkpoints")
    assert len(saved) == 1
    assert int(saved[0].name[5:]) == len(losses_of(tmp_path / "out"))
