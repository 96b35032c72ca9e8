"""Checkpoints are whole or not there, hold no code, and say what is wrong with them."""

import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from train.checkpoint import (
    Checkpointer,
    CheckpointError,
    Progress,
    complete_checkpoints,
    load_tensors,
    read_progress,
)
from train.config import Parallel
from train.parallel import World, open_world


@pytest.fixture
def world() -> Iterator[World]:
    with open_world(Parallel(device="cpu")) as opened:
        yield opened


def save(folder: Path, world: World, steps: list[int], keep: int = 2) -> dict[str, Tensor]:
    tensors = {"model.a": torch.arange(12.0).view(3, 4), "guard.seen": torch.tensor(0)}
    checkpoints = Checkpointer(folder, keep, world)
    for step in steps:
        tensors["guard.seen"].fill_(step)
        checkpoints.save(tensors, Progress(step=step, drawn=8 * step, skips=((1, 2),)))
        tensors["guard.seen"].fill_(-1)  # training goes on; what was saved must not change
    checkpoints.wait()
    return tensors


def test_what_is_saved_is_a_copy_and_keep_counts(tmp_path: Path, world: World) -> None:
    save(tmp_path, world, [1, 2, 3])
    found = complete_checkpoints(tmp_path)
    assert [path.name for path in found] == ["step-00000003", "step-00000002"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]
    read = {"model.a": torch.zeros(3, 4), "guard.seen": torch.tensor(7)}
    load_tensors(found[0], read, world)
    assert torch.equal(read["model.a"], torch.arange(12.0).view(3, 4))
    assert int(read["guard.seen"]) == 3
    progress = read_progress(found[0])
    assert (progress.step, progress.drawn, progress.skips) == (3, 24, ((1, 2),))


def test_damaged_checkpoints_are_passed_over(tmp_path: Path, world: World) -> None:
    save(tmp_path, world, [1, 2, 3, 4, 5], keep=9)
    parts = [tmp_path / f"step-{step:08d}" for step in range(1, 6)]
    data = next(path for path in parts[4].iterdir() if path.suffix == ".distcp")
    data.write_bytes(data.read_bytes()[:-1])
    (parts[3] / "state.json").write_text("{")
    (parts[2] / ".metadata").unlink()
    (tmp_path / "step-00000006.tmp").mkdir()
    assert complete_checkpoints(tmp_path) == [parts[1], parts[0]]
    Checkpointer(tmp_path, 9, world)
    assert not (tmp_path / "step-00000006.tmp").exists()
    save(tmp_path, world, [4], keep=9)  # the run goes on, and comes to that step again
    assert complete_checkpoints(tmp_path) == [parts[3], parts[1], parts[0]]


def test_names_and_shapes_must_be_there(tmp_path: Path, world: World) -> None:
    save(tmp_path, world, [1])
    path = complete_checkpoints(tmp_path)[0]
    with pytest.raises(CheckpointError, match=r"has no tensor model\.b"):
        load_tensors(path, {"model.b": torch.zeros(1)}, world)
    with pytest.raises(CheckpointError, match=r"shape \[3, 4\], not \[4, 3\]"):
        load_tensors(path, {"model.a": torch.zeros(4, 3)}, world)
    told = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**told, "format": 2}))
    with pytest.raises(CheckpointError, match="format 2"):
        read_progress(path)


class Evil:
    """Its pickle calls a function when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return shutil.rmtree, (str(self.target),)


def test_an_index_cannot_run_code(tmp_path: Path, world: World) -> None:
    save(tmp_path / "run", world, [1])
    victim = tmp_path / "victim"
    victim.mkdir()
    path = complete_checkpoints(tmp_path / "run")[0]
    (path / ".metadata").write_bytes(pickle.dumps(Evil(victim)))
    with pytest.raises(CheckpointError, match=r"the index names shutil\.rmtree"):
        load_tensors(path, {"model.a": torch.zeros(3, 4)}, world)
    assert victim.exists()
