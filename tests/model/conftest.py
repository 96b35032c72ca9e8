"""The golden tiny model of shared/conformance/qwen.json, and small models of our own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model.config import ModelConfig
from model.transformer import Transformer, build

# These models are too small to share between threads, and the suite has a process per core already.
torch.set_num_threads(1)

CASES = Path(__file__).resolve().parents[2] / "../shared/conformance/qwen.json"


@pytest.fixture(scope="session")
def cases() -> dict[str, Any]:
    if not CASES.exists():
        pytest.skip("the golden cases of shared/conformance are not here")
    return json.loads(CASES.read_text())


def small_config(**changes: Any) -> ModelConfig:
    """3 layers of width 64, 16 tokens of training length; n_kv_heads and others by keyword."""
    values = {"n_vocab": 128, "dim": 64, "n_layers": 3, "n_heads": 4, "n_kv_heads": 4, "head_dim": 16}
    return ModelConfig(**{**values, "hidden": 176, "train_length": 16, "max_positions": 64, **changes})


def random_model(config: ModelConfig, seed: int = 0) -> Transformer:
    """In eval mode. All parameters drawn wide, biases and norms too, so that none is without effect."""
    model = build(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if name.endswith("norm.weight") else 0.0, 0.15, generator=generator)
    return model.eval()


@pytest.fixture(scope="session", name="small_config")
def small_config_fixture() -> Callable[..., ModelConfig]:
    return small_config


@pytest.fixture(scope="session", name="random_model")
def random_model_fixture() -> Callable[..., Transformer]:
    return random_model
