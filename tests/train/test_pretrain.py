"""Whole runs of a very small model: learning, exact resumption, what ends a run and what it says."""

import hashlib
import json
import math
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import train.pretrain
from model.transformer import Transformer
from train.checkpoint import CheckpointError, complete_checkpoints, load_tensors, tensors_of
from train.config import Config, ConfigError, Optimizer, config_from_tree, model_config
from train.lineage import open_stream, places_of_step
from train.loop import LanguageModel, step_batches
from train.metrics import read_metrics
from train.optimizer import SpikeGuard, apply_update, build_optimizer
from train.parallel import open_world, prepare
from train.pretrain import pretrain

WriteRun = Callable[..., Path]


def small(source: Path, output: Path, **changes: dict[str, Any]) -> Config:
    """Two layers of width 32 on rows of 32 tokens; 8 rows a step in micro-batches of 2; fp32."""
    tree: dict[str, Any] = {
        "name": "small",
        "output": str(output),
        "model": {"preset": "tiny", "dim": 32, "n_layers": 2, "n_heads": 2, "n_kv_heads": 2, "hidden": 48},
        "data": {"sources": [{"path": str(source)}]},
        "batch": {"tokens": 256, "micro_rows": 2},
        "schedule": {"steps": 6, "peak": 1e-2, "warmup_steps": 2},
        "parallel": {"dtype": "float32", "compile": False, "device": "cpu"},
        "loss": {"chunk_tokens": 24},
        "checkpoints": {"every": 0},
        "log": {"every": 1, "validate_every": 3},
    }
    tree["model"]["head_dim"] = 16
    for section, values in changes.items():
        tree[section] = {**tree.get(section, {}), **values}
    return config_from_tree(tree)


def weights_digest(output: Path) -> str:
    """sha256 over all tensors of the newest checkpoint: weights, moments, guard."""
    path = complete_checkpoints(output / "checkpoints")[0]
    tensors = read_all(path)
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_all(path: Path) -> dict[str, torch.Tensor]:
    state = json.loads((path / "state.json").read_text())
    config = config_from_tree(state["config"])
    model = Transformer(model_config(config.model, 256, 32))
    guard = SpikeGuard(config.optimizer.skip_window, 6.0, torch.device("cpu"))
    tensors = tensors_of(model, build_optimizer(model, config.optimizer), guard)
    load_tensors(path, tensors)
    return tensors


def losses_of(output: Path) -> list[float]:
    return [told["loss"] for told in read_metrics(output) if "loss" in told]


@pytest.fixture(scope="module")
def undisturbed(shards_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps in one process. Read only."""
    output = tmp_path_factory.mktemp("undisturbed")
    assert pretrain(small(shards_folder, output)) == 0
    return output


def test_what_a_run_tells(undisturbed: Path) -> None:
    lines = [json.loads(line) for line in (undisturbed / "metrics.jsonl").read_text().splitlines()]
    assert (
        lines[0]["device"] == "cpu" and lines[0]["peak_flops"] is None and "matrix_weights" in lines[0]["mfu"]
    )
    told = read_metrics(undisturbed)
    losses = losses_of(undisturbed)
    assert len(losses) == 6
    assert losses[0] == pytest.approx(math.log(256), abs=0.03)  # start at ln V
    assert losses[-1] < losses[0] - 0.05
    validations = [line for line in told if "validation_loss" in line]
    assert [line["step"] for line in validations] == [0, 3, 6]
    assert validations[0]["validation_loss"] == pytest.approx(math.log(256), abs=0.03)
    assert validations[-1]["validation_loss"] < validations[0]["validation_loss"]
    assert validations[0]["validation_tokens"] == 150 - 5  # five rows, whose first tokens are no targets
    assert all(line["tokens_per_s"] > 0 and line["mfu"] is None for line in told if "loss" in line)
    assert [path.name for path in complete_checkpoints(undisturbed / "checkpoints")] == ["step-00000006"]


def test_a_run_that_is_done_says_so(
    shards_folder: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in undisturbed.rglob("*") if path.is_file()}
    assert pretrain(small(shards_folder, undisturbed)) == 0
    assert "step-00000006: all 6 steps are done (schedule.steps)" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in undisturbed.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("stops", [(3,), (2, 4)])
def test_resume_is_bitwise(
    shards_folder: Path, tmp_path: Path, undisturbed: Path, stops: tuple[int, ...]
) -> None:
    """6 steps = 3 + 3 = 2 + 2 + 2, to the last bit of weights and moments."""
    config = small(shards_folder, tmp_path)
    for stop in stops:  # as if ended there: the schedule knows of six steps
        stopped = replace(config, checkpoints=replace(config.checkpoints, every=stop, keep=9))
        run_until(stopped, stop)
    assert pretrain(config) == 0
    assert losses_of(tmp_path) == losses_of(undisturbed)
    assert weights_digest(tmp_path) == weights_digest(undisturbed)


def run_until(config: Config, step: int) -> None:
    """Trains up to a step and ends by SIGTERM, in this process."""
    original = train.pretrain.update
    done = 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal done
        result = original(*arguments, **options)
        done += 1
        if done == wanted:
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    found = complete_checkpoints(Path(config.output) / "checkpoints")
    wanted = step - (int(found[0].name[5:]) if found else 0)
    train.pretrain.update = counted
    try:
        assert pretrain(config) == 143
    finally:
        train.pretrain.update = original


def test_accumulation_and_uneven_masks(shards_folder: Path, tmp_path: Path, undisturbed: Path) -> None:
    """One micro-batch of 8 rows or eight of one: the same update, though some rows are padded."""
    for rows in (8, 1):
        output = tmp_path / str(rows)
        assert pretrain(small(shards_folder, output, batch={"micro_rows": rows})) == 0
        assert losses_of(output) == pytest.approx(losses_of(undisturbed), abs=1e-6)


OVERFIT: dict[str, dict[str, Any]] = {
    "schedule": {"steps": 120, "peak": 2e-2},
    "batch": {"micro_rows": 8},
    "loss": {"chunk_tokens": 256},
    "log": {"every": 5, "validate_every": 0},
}


def test_overfits_one_batch(tmp_path: Path, write_run: WriteRun) -> None:
    data = write_run(tmp_path / "data", shard_tokens=(256,))
    config = small(data, tmp_path / "out", **OVERFIT)
    assert pretrain(config) == 0
    assert losses_of(tmp_path / "out")[-1] < 0.05


def test_steps_are_traced_to_documents(shards_folder: Path, undisturbed: Path) -> None:
    """The rows that a step is said to have had are those it had, by name and by document."""
    stream = open_stream(small(shards_folder, undisturbed))
    places = places_of_step(undisturbed, 2)
    assert [place.sample for place in places] == list(range(8, 16))
    rows = stream.locate(torch.arange(8, 16).numpy())[2]
    assert [place.name for place in places] == [stream.datasets[0].name(int(row)) for row in rows]
    assert places[0].pieces == stream.datasets[0].pieces(int(rows[0]))
    with pytest.raises(ConfigError, match="steps count from 1"):
        places_of_step(undisturbed, 0)
    with pytest.raises(ConfigError, match="step 7: this run has 6 steps"):
        places_of_step(undisturbed, 7)


def test_other_batch_size_after_resume(shards_folder: Path, tmp_path: Path) -> None:
    """What counts is samples drawn: no row is repeated or left out when the batch grows."""
    config = small(shards_folder, tmp_path)
    run_until(config, 2)
    grown = replace(config, batch=replace(config.batch, tokens=512))
    assert pretrain(grown) == 0
    samples = [place.sample for step in range(1, 7) for place in places_of_step(tmp_path, step)]
    assert samples == list(range(2 * 8 + 4 * 16))


def test_skipped_samples(shards_folder: Path, tmp_path: Path) -> None:
    config = small(shards_folder, tmp_path)
    run_until(config, 2)
    early = replace(config, data=replace(config.data, skip=("3:5",)))
    with pytest.raises(CheckpointError, match="skip later ones"):
        pretrain(early)
    later = replace(config, data=replace(config.data, skip=("20:30",)))
    assert pretrain(later) == 0
    samples = [place.sample for step in range(1, 7) for place in places_of_step(tmp_path, step)]
    assert samples == [*range(20), *range(30, 58)]


def test_resume_refuses_what_does_not_fit(
    shards_folder: Path, tmp_path: Path, undisturbed: Path, write_run: WriteRun
) -> None:
    other = small(write_run(tmp_path / "other", seed=1), undisturbed)
    with pytest.raises(CheckpointError, match="other data"):
        pretrain(other)
    with pytest.raises(CheckpointError, match="another model: hidden"):
        pretrain(small(shards_folder, undisturbed, model={"hidden": 64}))
    with pytest.raises(ConfigError, match=r"the nearest is 256$"):
        pretrain(small(shards_folder, tmp_path, batch={"tokens": 250}))
    with pytest.raises(ConfigError, match="give --data"):
        pretrain(small(shards_folder, tmp_path, data={"sources": []}))


def test_not_a_number_names_its_documents(
    shards_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss that is no number changes no weight, is not saved, and its rows are told."""
    original = train.pretrain.language_losses
    calls = 0

    def poisoned(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        losses = list(original(*arguments))
        return losses if calls != 4 else [lambda: losses[0]() * float("nan"), *losses[1:]]

    monkeypatch.setattr(train.pretrain, "language_losses", poisoned)
    config = small(shards_folder, tmp_path, log={"every": 3}, checkpoints={"every": 2, "keep": 9})
    assert pretrain(config) == 4
    said = capsys.readouterr().err
    assert "step 4: loss nan" in said
    for place in places_of_step(tmp_path, 4):
        assert f"sample {place.sample}  {place.name} " in said
    assert [path.name for path in complete_checkpoints(tmp_path / "checkpoints")] == ["step-00000002"]


def test_spikes_are_left_out() -> None:
    """The guard lets a level through and a spike not; the fused optimizer then changes nothing at all."""
    guard = SpikeGuard(8, 6.0, torch.device("cpu"))
    model = torch.nn.Linear(3, 3)
    optimizer = build_optimizer(model, Optimizer())
    random = torch.Generator().manual_seed(0)

    def step(loss: float, gradient: float) -> float:
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        noisy = loss + 0.01 * torch.rand((), generator=random)
        return apply_update(optimizer, guard, noisy, rate=0.1, clip=0.0)[1].item()

    assert [step(2.0, 0.1 + n / 100) for n in range(8)] == [0.0] * 8
    before = {name: value.clone() for name, value in model.state_dict().items()}
    moments = [state["exp_avg"].clone() for state in optimizer.state.values()]
    assert step(2.0, 50.0) == 1.0  # the norm
    assert step(float("nan"), 0.1) == 1.0
    assert step(2.0, float("inf")) == 1.0
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    for state, moment in zip(optimizer.state.values(), moments, strict=True):
        assert torch.equal(state["exp_avg"], moment) and state["step"] == 8
    assert step(2.0, 0.12) == 0.0
    assert not torch.equal(before["weight"], model.weight)
    assert int(guard.seen) == 10  # what is no number is not remembered


def test_document_mask_keeps_documents_apart(shards_folder: Path) -> None:
    """With the mask a document's loss does not depend on what stands before it in the row."""
    config = small(shards_folder, Path("unused"), data={"document_mask": True})
    stream = open_stream(config)
    with open_world(config.parallel) as world:
        batch = next(step_batches(stream, 0, 8, 8, world))
        assert batch.documents is not None and len(batch.documents) == 1
        documents = batch.documents[0]
        with torch.device("meta"):
            objective = LanguageModel(Transformer(model_config(config.model, 256, 32)), config.loss)
        prepare(objective, objective.model, config.parallel, world, 0)
        objective.model.init_weights(0)
        ids, numbers = batch.ids.long(), documents.numbers(8, 32)
        first = numbers == numbers[:, :1]
        changed = torch.where(first, (ids + 1) % 255, ids)
        later = ~first
        assert later.any(dim=1).sum() > 4
        hidden = [objective.model.hidden(x, documents=documents)[later] for x in (ids, changed)]
        torch.testing.assert_close(*hidden, rtol=1e-5, atol=1e-6)
        plain = [objective.model.hidden(x)[later] for x in (ids, changed)]
        assert not torch.allclose(plain[0], plain[1], atol=1e-4)


def test_bf16(shards_folder: Path, tmp_path: Path, undisturbed: Path) -> None:
    """Nearly the same numbers, with fp32 weights."""
    half = small(shards_folder, tmp_path / "b", parallel={"dtype": "bfloat16"})
    assert pretrain(half) == 0
    assert losses_of(tmp_path / "b") != losses_of(undisturbed)
    assert losses_of(tmp_path / "b") == pytest.approx(losses_of(undisturbed), abs=0.02)
    tensors = read_all(complete_checkpoints(tmp_path / "b" / "checkpoints")[0])
    assert all(value.dtype == torch.float32 for name, value in tensors.items() if name.startswith("model."))
