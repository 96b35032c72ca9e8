"""The official model's numbers: a tiny model whose weights follow a closed rule (shared/conformance)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from model.cache import KVCache
from model.config import ModelConfig
from model.rope import inverse_frequencies, logn_scale, ntk_alpha, ntk_base
from model.transformer import Transformer, build

TOLERANCE = 1e-5
OFFICIAL = {
    "embed.weight": "transformer.wte.weight",
    "norm.weight": "transformer.ln_f.weight",
    "head.weight": "lm_head.weight",
    "attention_norm.weight": "ln_1.weight",
    "attention.qkv.weight": "attn.c_attn.weight",
    "attention.qkv.bias": "attn.c_attn.bias",
    "attention.out.weight": "attn.c_proj.weight",
    "mlp_norm.weight": "ln_2.weight",
    "mlp.w1.weight": "mlp.w1.weight",
    "mlp.w2.weight": "mlp.w2.weight",
    "mlp.proj.weight": "mlp.c_proj.weight",
}


def official(name: str) -> str:
    if name.startswith("blocks."):
        _, layer, rest = name.split(".", 2)
        return f"transformer.h.{layer}.{OFFICIAL[rest]}"
    return OFFICIAL[name]


@pytest.fixture(scope="module", name="golden")
def golden_fixture(cases: dict[str, Any], small_config: Callable[..., ModelConfig]) -> Transformer:
    """Weights by the file's `weight_rule`."""
    model = build(small_config()).eval()
    parameters = {official(name): parameter for name, parameter in model.named_parameters()}
    assert {name: list(p.shape) for name, p in parameters.items()} == cases["model_golden"]["shapes"]
    for t, name in enumerate(sorted(parameters)):
        shape = parameters[name].shape
        wave = np.sin((t + 1) * 0.7 + np.arange(1, shape.numel() + 1) * 1.3)
        value = 1 + 0.1 * wave if ".ln_" in name else 0.1 * wave if name.endswith(".bias") else 0.15 * wave
        with torch.no_grad():
            parameters[name].copy_(torch.from_numpy(value.astype(np.float32)).view(shape))
    return model


def rule_ids(tokens: int) -> torch.Tensor:
    i = torch.arange(tokens)
    return ((7 * i * i + 3 * i + 5) % 128)[None]


@torch.no_grad()
def logits_of(golden: Transformer, tokens: int, **changes: Any) -> torch.Tensor:
    """float32 [T, V] with other extension flags on the same weights."""
    model = build(replace(golden.config, **changes)).eval()
    model.load_state_dict(golden.state_dict(), assign=True)
    return model(rule_ids(tokens))[0]


def close(actual: torch.Tensor, expected: list[float], tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected), atol=tolerance, rtol=0)


def test_logits_below_and_above_the_training_length(golden: Transformer, cases: dict[str, Any]) -> None:
    results = cases["model_golden"]["results"]
    assert {case["T"] for case in results} == {1, 8, 17, 24, 40}
    for case in results:
        logits = logits_of(golden, case["T"], dynamic_ntk=case["use_dynamic_ntk"], logn=case["use_logn_attn"])
        close(logits[-1, :8], case["last_logits_first8"])
        close(logits[0, :4], case["first_logits_first4"])
        assert logits.argmax(-1).tolist() == case["argmax"]
        assert logits.double().sum().item() == pytest.approx(case["logits_sum"], abs=1e-3)
        assert logits.double().abs().sum().item() == pytest.approx(case["logits_abs_sum"], rel=1e-6)
        if case["loss"] is not None:
            loss = F.cross_entropy(logits[:-1], rule_ids(case["T"])[0, 1:])
            assert loss.item() == pytest.approx(case["loss"], abs=TOLERANCE)


def test_layer_wise_windows_in_both_alpha_modes(golden: Transformer, cases: dict[str, Any]) -> None:
    modes = []
    for case in cases["model_golden"]["window_results"]:
        modes.append("layer" if case["mode"].startswith("per-layer") else "global")
        logits = logits_of(golden, case["T"], windows=tuple(case["windows"]), window_alpha=modes[-1])
        close(logits[-1, :8], case["last_logits_first8"])
    assert set(modes) == {"global", "layer"}


@torch.no_grad()
def test_alpha_stays_what_it_was_at_prefill(golden: Transformer, cases: dict[str, Any]) -> None:
    case = cases["model_golden"]["kv_cache"]
    ids = rule_ids(case["decode_to"])
    cache = KVCache(golden.config, [case["prefill"]], case["decode_to"])
    logits = golden(ids[:, : case["prefill"]], cache=cache)
    for token in ids[0, case["prefill"] :]:
        logits = golden(token.view(1, 1), cache=cache)
    close(logits[0, -1, :8], case["official_cached_last_first8"])
    recomputed = golden(ids)[0, -1]
    assert (recomputed - logits[0, -1]).abs().max().item() == pytest.approx(case["err_recomputed"], abs=1e-4)


def test_extension_changes_nothing_up_to_the_training_length(golden: Transformer) -> None:
    plain = logits_of(golden, 16, dynamic_ntk=False, logn=False)
    for changes in ({}, {"windows": (16, 32, 64)}, {"windows": (16, 16, 16), "window_alpha": "layer"}):
        assert torch.equal(logits_of(golden, 16, **changes), plain)


@torch.no_grad()
def test_training_never_extends(golden: Transformer) -> None:
    plain = logits_of(golden, 40, dynamic_ntk=False, logn=False)
    assert not torch.equal(logits_of(golden, 40), plain)
    try:
        assert torch.equal(golden.train()(rule_ids(40))[0], plain)
    finally:
        golden.eval()


def test_frequencies_and_bases(cases: dict[str, Any]) -> None:
    first = inverse_frequencies(128, 10_000.0)
    assert first.dtype == torch.float32
    close(first[:5], cases["rope"]["inv_freq_dim128_base10000_first5"], 1e-7)
    for case in cases["rope"]["ntk"]:
        alpha = ntk_alpha(case["seq_len"], case["train_len"])
        assert alpha == case["alpha"]
        assert ntk_base(10_000.0, alpha, 128) == pytest.approx(case["base"], rel=1e-12)


def test_logn_counts_positions_from_one(cases: dict[str, Any]) -> None:
    for position, scale in cases["logn"]["values_train2048"].items():
        assert logn_scale(torch.tensor([int(position) - 1]), 2048).item() == pytest.approx(scale, abs=1e-6)
    assert torch.equal(logn_scale(torch.arange(2048), 2048), torch.ones(2048, 1, 1))
