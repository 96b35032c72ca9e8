"""Recipes are read strictly: what is wrong is named, with what is near."""

from itertools import pairwise
from pathlib import Path

import pytest

from model.config import PRESETS
from train.config import (
    ConfigError,
    Schedule,
    config_from_tree,
    load_config,
    model_config,
    packaged_recipes,
)
from train.config import Model as ModelSettings
from train.schedule import learning_rate


@pytest.mark.parametrize("name", sorted(packaged_recipes()))
def test_packaged_recipes_are_right(name: str) -> None:
    config = load_config(name)
    assert config.name == name
    assert config.batch.tokens % 2048 == 0


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("schedule.peek=1e-3", r"unknown key schedule\.peek; did you mean 'peak'\?"),
        ("shedule.peak=1e-3", r"unknown key shedule; did you mean 'schedule'\?"),
        ("schedule.steps=1.5", r"schedule\.steps: expected a whole number, got 1\.5"),
        ("schedule.steps=true", r"schedule\.steps: expected a whole number, got True"),
        ("parallel.compile=1", r"parallel\.compile: expected true or false, got 1"),
        ("parallel.strategy=fdsp", r"parallel\.strategy = 'fdsp': .*; did you mean 'fsdp'\?"),
        ("model.preset=0.8b", r"model\.preset = '0\.8b': must be one of tiny"),
        ("model.n_kv_heads=3", r"model: n_kv_heads = 3: must divide n_heads"),
        ("batch.micro_rows=0", r"batch\.micro_rows = 0: must be above 0"),
        ("loss.z_loss=-1.0", r"loss\.z_loss = -1\.0: must be 0 or above"),
        ("optimizer.beta2=1.0", r"optimizer\.beta2 = 1\.0: must lie in"),
        ('data.skip=["5:2"]', r"data\.skip: '5:2' is no range"),
        ("data=5", r"data: expected a table, got 5"),
        ("name.first=5", r"--set name\.first: name is no table"),
        ("schedule.steps", r"expected KEY=VALUE"),
        ('data.sources=[{path="x", wieght=2}]', r"unknown key data\.sources\.0\.wieght; .*'weight'"),
        ("data.sources=[{weight=2.0}]", r"missing key data\.sources\.0\.path"),
        ('data.sources=[{path="x", weight=0.0}]', r"data\.sources\.0\.weight = 0\.0"),
    ],
)
def test_wrong_settings_are_named(setting: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config("quickstart", [setting])


def test_recipes_by_name_and_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'quickstart'"):
        load_config("quickstar")
    path = tmp_path / "own.toml"
    path.write_text("name = ")
    with pytest.raises(ConfigError, match=r"own\.toml"):
        load_config(str(path))
    path.write_text('name = "own"\n[schedule]\npeak = 1\n')
    config = load_config(str(path), ["optimizer.clip=2", "output=there"])
    assert (config.schedule.peak, config.optimizer.clip, config.output) == (1.0, 2.0, "there")
    with pytest.raises(ConfigError, match="missing key name"):
        config_from_tree({})


def test_model_of_a_recipe() -> None:
    shape = model_config(ModelSettings("0.3b", n_layers=3), 32_976, 512)
    assert (shape.n_vocab, shape.n_layers, shape.dim, shape.train_length) == (33_024, 3, 768, 512)
    assert model_config(ModelSettings("1.8b"), 151_851, 2048).parameters == PRESETS["1.8b"].parameters


def test_learning_rate() -> None:
    schedule = Schedule(steps=100, peak=1.0, warmup_steps=10, floor=0.1)
    rates = [learning_rate(step, schedule) for step in range(120)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(1.0) == rates[10]
    assert rates[55] == pytest.approx(0.55)  # half way down
    assert rates[100:] == pytest.approx([0.1] * 20)
    assert all(left > right for left, right in pairwise(rates[10:101]))
    constant = Schedule(steps=100, peak=2.0, warmup_steps=4, decay="constant")
    assert [learning_rate(step, constant) for step in (0, 3, 4, 99)] == [0.5, 2.0, 2.0, 2.0]
