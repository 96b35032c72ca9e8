"""Two published layouts of the same numbers: names of tensors, and config.json.

`qwen` is the layout of the official first Qwen models (fused query, key and value; w1, w2, c_proj). `qwen2`
is the one that common libraries load without remote code (separate projections; up = w1, gate = w2, down =
proj). Within the training length both mean the same function. Beyond it only `qwen` says how contexts are
extended.
"""

from collections.abc import Mapping
from typing import Any, Literal

from model.config import ModelConfig

Layout = Literal["qwen", "qwen2"]
LAYOUTS: tuple[Layout, ...] = ("qwen", "qwen2")

# Per layout: names outside of the blocks, the prefix of a block, names inside. Several names: rows one after
# the other.
_QWEN = (
    {"embed.weight": "transformer.wte.weight", "norm.weight": "transformer.ln_f.weight"},
    "transformer.h.",
    {
        "attention_norm.weight": ("ln_1.weight",),
        "attention.qkv.weight": ("attn.c_attn.weight",),
        "attention.qkv.bias": ("attn.c_attn.bias",),
        "attention.out.weight": ("attn.c_proj.weight",),
        "mlp_norm.weight": ("ln_2.weight",),
        "mlp.w1.weight": ("mlp.w1.weight",),
        "mlp.w2.weight": ("mlp.w2.weight",),
        "mlp.proj.weight": ("mlp.c_proj.weight",),
    },
)
_QWEN2 = (
    {"embed.weight": "model.embed_tokens.weight", "norm.weight": "model.norm.weight"},
    "model.layers.",
    {
        "attention_norm.weight": ("input_layernorm.weight",),
        "attention.qkv.weight": tuple(f"self_attn.{part}_proj.weight" for part in "qkv"),
        "attention.qkv.bias": tuple(f"self_attn.{part}_proj.bias" for part in "qkv"),
        "attention.out.weight": ("self_attn.o_proj.weight",),
        "mlp_norm.weight": ("post_attention_layernorm.weight",),
        "mlp.w1.weight": ("mlp.up_proj.weight",),
        "mlp.w2.weight": ("mlp.gate_proj.weight",),
        "mlp.proj.weight": ("mlp.down_proj.weight",),
    },
)
HEAD = "lm_head.weight"
# Constants that some published files carry beside the parameters.
BUFFERS = (".attn.masked_bias", ".attn.bias", ".rotary_emb.inv_freq", ".logn_tensor")

# Configurations of August 2023 had other names.
_OLD_KEYS = {
    "n_embd": "hidden_size",
    "n_head": "num_attention_heads",
    "n_layer": "num_hidden_layers",
    "n_positions": "max_position_embeddings",
    "ffn_hidden_size": "intermediate_size",
    "padded_vocab_size": "vocab_size",
}


def stored_names(layout: Layout, config: ModelConfig) -> dict[str, list[tuple[str, tuple[int, ...]]]]:
    """For every parameter of the model, the stored tensors and their shapes, in the order of their rows."""
    outside, prefix, inside = _QWEN if layout == "qwen" else _QWEN2
    dim, hidden, vocab = config.dim, config.hidden, config.n_vocab
    heads, kv = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    rows = [heads, kv, kv] if layout == "qwen2" else [heads + 2 * kv]
    shapes: dict[str, list[tuple[int, ...]]] = {
        "attention_norm.weight": [(dim,)],
        "attention.qkv.weight": [(n, dim) for n in rows],
        "attention.qkv.bias": [(n,) for n in rows],
        "attention.out.weight": [(dim, heads)],
        "mlp_norm.weight": [(dim,)],
        "mlp.w1.weight": [(hidden, dim)],
        "mlp.w2.weight": [(hidden, dim)],
        "mlp.proj.weight": [(dim, hidden)],
    }
    names: dict[str, list[tuple[str, tuple[int, ...]]]] = {
        "embed.weight": [(outside["embed.weight"], (vocab, dim))]
    }
    for layer in range(config.n_layers):
        for name, parts in inside.items():
            stored = [f"{prefix}{layer}.{part}" for part in parts]
            names[f"blocks.{layer}.{name}"] = list(zip(stored, shapes[name], strict=True))
    names["norm.weight"] = [(outside["norm.weight"], (dim,))]
    names["head.weight"] = [(HEAD, (vocab, dim))]
    return names


def to_json(layout: Layout, config: ModelConfig, dtype: str, eos: int | None) -> dict[str, Any]:
    """The content of config.json. ValueError if the layout cannot say it."""
    if layout == "qwen2":
        return _qwen2_json(config, dtype, eos)
    if config.n_kv_heads != config.n_heads:
        raise ValueError("the qwen layout has no grouped queries (n_kv_heads below n_heads); use qwen2")
    extra: dict[str, Any] = {}
    if config.windows:  # the official code has none: our own keys
        extra = {"layer_windows": list(config.windows), "layer_windows_alpha": config.window_alpha}
    if eos is not None:
        extra["eos_token_id"] = eos
    return {
        "architectures": ["QWenLMHeadModel"],
        "attn_dropout_prob": 0.0,
        "auto_map": {
            "AutoConfig": "configuration_qwen.QWenConfig",
            "AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel",
        },
        "bf16": dtype == "bfloat16",
        "emb_dropout_prob": 0.0,
        "fp16": dtype == "float16",
        "fp32": dtype == "float32",
        "hidden_size": config.dim,
        "initializer_range": config.init_std,
        "intermediate_size": 2 * config.hidden,  # w1 and w2 together
        "kv_channels": config.head_dim,
        "layer_norm_epsilon": config.norm_eps,
        "max_position_embeddings": config.max_positions,
        "model_type": "qwen",
        "no_bias": True,
        "num_attention_heads": config.n_heads,
        "num_hidden_layers": config.n_layers,
        "onnx_safe": None,
        "rotary_emb_base": config.rope_base,
        "rotary_pct": 1.0,
        "scale_attn_weights": True,
        "seq_length": config.train_length,
        "softmax_in_fp32": False,
        "tie_word_embeddings": False,
        "tokenizer_class": "QWenTokenizer",
        "use_cache": True,
        "use_cache_kernel": False,
        "use_cache_quantization": False,
        "use_dynamic_ntk": config.dynamic_ntk,
        "use_flash_attn": "auto",
        "use_logn_attn": config.logn,
        "vocab_size": config.n_vocab,
        **extra,
    }


def _qwen2_json(config: ModelConfig, dtype: str, eos: int | None) -> dict[str, Any]:
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "attention_dropout": 0.0,
        "bos_token_id": eos,  # as published: none of its own
        "eos_token_id": eos,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "hidden_size": config.dim,
        "initializer_range": config.init_std,
        "intermediate_size": config.hidden,
        "max_position_embeddings": config.train_length,  # nothing there extends contexts beyond it
        "model_type": "qwen2",
        "num_attention_heads": config.n_heads,
        "num_hidden_layers": config.n_layers,
        "num_key_value_heads": config.n_kv_heads,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_base,
        "tie_word_embeddings": False,
        "torch_dtype": dtype,
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": config.n_vocab,
    }


def from_json(content: Mapping[str, Any]) -> tuple[Layout, ModelConfig]:
    """Layout and shape from config.json. ValueError names what this model does not have."""
    kind = content.get("model_type")
    if kind not in LAYOUTS:
        raise ValueError(f"config.json: model_type {kind!r}; known are {', '.join(LAYOUTS)}")
    content = {**{_OLD_KEYS.get(key, key): value for key, value in content.items()}, **content}
    if "padded_vocab_size" in content:
        content["vocab_size"] = content["padded_vocab_size"]
    try:
        return ("qwen", _from_qwen(content)) if kind == "qwen" else ("qwen2", _from_qwen2(content))
    except KeyError as missing:
        raise ValueError(f"config.json: key {missing} is missing") from missing


def _expect(content: Mapping[str, Any], **expected: Any) -> None:
    for key, value in expected.items():
        if content.get(key, value) != value:
            raise ValueError(f"config.json: {key} = {content[key]!r}; only {value!r} is supported")


def _from_qwen(content: Mapping[str, Any]) -> ModelConfig:
    _expect(content, no_bias=True, rotary_pct=1.0, scale_attn_weights=True, tie_word_embeddings=False)
    heads = content["num_attention_heads"]
    return ModelConfig(
        n_vocab=content["vocab_size"],
        dim=content["hidden_size"],
        n_layers=content["num_hidden_layers"],
        n_heads=heads,
        n_kv_heads=heads,
        head_dim=content.get("kv_channels", content["hidden_size"] // heads),
        hidden=content["intermediate_size"] // 2,
        train_length=content["seq_length"],
        max_positions=content["max_position_embeddings"],
        rope_base=float(content.get("rotary_emb_base", 10_000)),
        norm_eps=content["layer_norm_epsilon"],
        init_std=content.get("initializer_range", 0.02),
        dynamic_ntk=content.get("use_dynamic_ntk", True),
        logn=content.get("use_logn_attn", True),
        windows=tuple(content.get("layer_windows", ())),
        window_alpha=content.get("layer_windows_alpha", "global"),
    )


def _from_qwen2(content: Mapping[str, Any]) -> ModelConfig:
    _expect(content, hidden_act="silu", use_sliding_window=False, rope_scaling=None)
    rope = content.get("rope_parameters") or {}  # newer files; older ones have rope_theta
    _expect(rope, rope_type="default")
    heads = content["num_attention_heads"]
    length = content["max_position_embeddings"]
    return ModelConfig(
        n_vocab=content["vocab_size"],
        dim=content["hidden_size"],
        n_layers=content["num_hidden_layers"],
        n_heads=heads,
        n_kv_heads=content.get("num_key_value_heads", heads),
        head_dim=content.get("head_dim") or content["hidden_size"] // heads,
        hidden=content["intermediate_size"],
        train_length=length,
        max_positions=length,
        rope_base=float(rope.get("rope_theta", content.get("rope_theta", 10_000))),
        norm_eps=content["rms_norm_eps"],
        init_std=content.get("initializer_range", 0.02),
        dynamic_ntk=False,
        logn=False,
    )
