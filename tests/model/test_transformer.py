"""Initialisation, grouped queries, documents in a row, and blocks that can be compiled."""

import math
from collections.abc import Callable

import pytest
import torch

from model.config import ModelConfig
from model.transformer import Transformer, build, initial_weight

Config = Callable[..., ModelConfig]
Model = Callable[..., Transformer]


def test_init_statistics_are_the_official_ones() -> None:
    config = ModelConfig(4096, 256, 8, 4, 2, 64, 704)
    model = build(config)
    model.init_weights(1)
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            assert torch.equal(parameter, torch.ones_like(parameter))
        elif name.endswith("bias"):
            assert torch.equal(parameter, torch.zeros_like(parameter))
        else:
            residual = name.endswith(("out.weight", "mlp.proj.weight"))
            std = 0.02 / math.sqrt(2 * 8) if residual else 0.02
            error = 4 / math.sqrt(parameter.numel())  # four standard errors of either estimate
            assert parameter.std().item() == pytest.approx(std, rel=error)
            assert abs(parameter.mean().item()) < std * error


def test_init_is_a_function_of_seed_and_name(small_config: Config) -> None:
    config = small_config()
    first, again, other = (build(config) for _ in range(3))
    first.init_weights(7)
    for name, parameter in reversed(list(again.named_parameters())):  # in any order
        parameter.data.copy_(initial_weight(name, parameter.shape, config, 7))
    other.init_weights(8)
    for (name, a), b, c in zip(first.named_parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c) == name.endswith(("norm.weight", "bias"))
    assert not torch.equal(
        first.get_parameter("blocks.0.mlp.w1.weight"), first.get_parameter("blocks.0.mlp.w2.weight")
    )


@torch.no_grad()
def test_loss_starts_near_the_logarithm_of_the_vocabulary() -> None:
    model = build(ModelConfig(8192, 128, 4, 4, 4, 32, 384))
    model.init_weights(0)
    ids = torch.randint(8192, (4, 64), generator=torch.Generator().manual_seed(0))
    loss = torch.nn.functional.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(8192), abs=0.05)
