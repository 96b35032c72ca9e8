"""Presets have the published sizes, and shapes that cannot be built are refused by name."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from model.config import PRESETS, ModelConfig, ffn_width, preset
from model.transformer import Transformer

PARAMETERS = {
    "tiny": 39_750_272,
    "0.3b": 318_355_200,
    "0.6b": 619_570_176,
    "1.8b": 1_836_828_672,
    "7b": 7_721_324_544,
    "14b": 14_167_290_880,
    "72b": 72_287_920_128,
}


@pytest.mark.parametrize("name", PRESETS)
def test_parameter_counts_are_exact(name: str) -> None:
    config = preset(name)
    with torch.device("meta"):
        model = Transformer(config)
    assert sum(p.numel() for p in model.parameters()) == config.parameters == PARAMETERS[name]
    assert sum(p.numel() for p in model.blocks[0].parameters()) == config.layer_parameters


def test_presets_are_the_published_shapes(cases: dict[str, Any]) -> None:
    for name, shape in cases["configs"].items():
        config = preset(name.lower())
        assert (config.n_vocab, config.dim, config.n_layers) == (
            shape["vocab_size"],
            shape["hidden_size"],
            shape["num_hidden_layers"],
        )
        assert (config.n_heads, config.n_kv_heads, config.head_dim) == (
            shape["num_attention_heads"],
            shape["num_attention_heads"],
            shape["kv_channels"],
        )
        assert config.hidden == shape["ffn_actual"]
        assert config.non_embedding_parameters == shape["params"]["non_embedding"]
    assert [ffn_width(dim) for dim in (768, 1024, 2048, 4096, 5120)] == [2048, 2816, 5504, 11008, 13696]


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'1\.8B'; did you mean '1\.8b'"):
        preset("1.8B")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_kv_heads": 3}, "n_kv_heads = 3: must divide n_heads = 4"),
        ({"head_dim": 15}, "head_dim = 15"),
        ({"n_layers": 0}, "n_layers = 0"),
        ({"norm_eps": 0.0}, "norm_eps"),
        ({"windows": (16,)}, "1 values for 3 layers"),
        ({"windows": (8, 16, 16)}, "below train_length = 16"),
        ({"window_alpha": "local"}, "window_alpha = 'local'"),
    ],
)
def test_bad_shapes_are_refused(
    small_config: Callable[..., ModelConfig], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        replace(small_config(), **changes)
