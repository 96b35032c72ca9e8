"""The shape of a Qwen model as one frozen value, and the sizes that have names.

The FFN is 8/3 of the width, rounded as in the official configurations: `intermediate_size` (which counts both
w1 and w2) is the next multiple of 256 of 2 * int(8/3 * dim), and `hidden` is half of it; 72b uses 3 * dim.
Embedding rows are padded to a multiple of 128. 1.8b, 7b and 14b are Table 1 of the Qwen report
(arXiv 2309.16609) with the released configurations, 72b is the later release; tiny, 0.3b and 0.6b follow the
same rules at sizes that one CPU or one GPU trains.
"""

from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal


@dataclass(frozen=True)
class ModelConfig:
    """Shape and inference-time context extension; ValueError for values that cannot be built."""

    n_vocab: int  # embedding rows, padding rows included
    dim: int  # width of the residual stream
    n_layers: int
    n_heads: int
    n_kv_heads: int  # n_heads: multi-head attention, as Qwen; fewer: grouped queries, as Qwen2
    head_dim: int
    hidden: int  # width of the FFN: w1 and w2 are [hidden, dim] each
    train_length: int = 2048  # tokens; context extension begins beyond it (`seq_length` of official configs)
    max_positions: int = 2048  # tokens; only told to others in config.json, nothing here is cut at it
    rope_base: float = 10_000.0
    norm_eps: float = 1e-6
    init_std: float = 0.02
    # Beyond train_length, and never while training (report, 2.3). All three change nothing below it.
    dynamic_ntk: bool = True
    logn: bool = True
    windows: tuple[int, ...] = ()  # tokens per layer that a query sees, itself included; empty: all
    window_alpha: Literal["global", "layer"] = (
        "global"  # NTK alpha from the whole length, or from min(it, window)
    )

    def __post_init__(self) -> None:
        for key in (
            "n_vocab",
            "dim",
            "n_layers",
            "n_heads",
            "n_kv_heads",
            "hidden",
            "train_length",
            "max_positions",
        ):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} = {getattr(self, key)}: must be at least 1")
        if self.head_dim < 2 or self.head_dim % 2:
            raise ValueError(f"head_dim = {self.head_dim}: rotation needs an even number from 2")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_kv_heads = {self.n_kv_heads}: must divide n_heads = {self.n_heads}")
        for key in ("rope_base", "norm_eps", "init_std"):
            if not getattr(self, key) > 0:
                raise ValueError(f"{key} = {getattr(self, key)}: must be above 0")
        if self.windows and len(self.windows) != self.n_layers:
            raise ValueError(
                f"windows: {len(self.windows)} values for {self.n_layers} layers; give one per layer"
            )
        if any(window < self.train_length for window in self.windows):
            raise ValueError(
                f"windows = {self.windows}: none may be below train_length = {self.train_length}"
            )
        if self.window_alpha not in ("global", "layer"):
            raise ValueError(f"window_alpha = {self.window_alpha!r}: must be 'global' or 'layer'")

    @property
    def layer_parameters(self) -> int:
        """Parameters of one block."""
        heads, kv = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        attention = (self.dim + 1) * (heads + 2 * kv) + heads * self.dim
        return attention + 3 * self.dim * self.hidden + 2 * self.dim

    @property
    def parameters(self) -> int:
        """All parameters, embedding and head counted apart as they are untied."""
        return 2 * self.n_vocab * self.dim + self.n_layers * self.layer_parameters + self.dim

    @property
    def non_embedding_parameters(self) -> int:
        """All parameters but embedding and head."""
        return self.parameters - 2 * self.n_vocab * self.dim


def ffn_width(dim: int) -> int:
    """8/3 of dim, rounded as the official configurations are."""
    return -(-2 * (8 * dim // 3) // 256) * 256 // 2


def _qwen(
    dim: int, layers: int, *, n_vocab: int = 151_936, length: int = 2048, head_dim: int = 128
) -> ModelConfig:
    heads = dim // head_dim
    return ModelConfig(
        n_vocab,
        dim,
        layers,
        heads,
        heads,
        head_dim,
        ffn_width(dim),
        train_length=length,
        max_positions=length,
    )


PRESETS: dict[str, ModelConfig] = {
    "tiny": _qwen(128, 4, head_dim=32),  # 39.8M, 38.9M of them embeddings at the full vocabulary
    "0.3b": _qwen(768, 12),
    "0.6b": _qwen(1024, 24),
    "1.8b": _qwen(2048, 24, length=8192),
    "7b": _qwen(4096, 32, length=8192),
    "14b": replace(_qwen(5120, 40, n_vocab=152_064), max_positions=8192),
    "72b": replace(
        _qwen(8192, 80, n_vocab=152_064, length=32_768),
        hidden=24_576,
        rope_base=1e6,
        dynamic_ntk=False,
        logn=False,
    ),
}


def preset(name: str) -> ModelConfig:
    """The preset of that name; ValueError with the nearest name if there is none."""
    if name not in PRESETS:
        near = get_close_matches(name.lower(), PRESETS, n=1, cutoff=0)
        raise ValueError(
            f"no model preset {name!r}; did you mean {near[0]!r}? There are {', '.join(PRESETS)}"
        )
    return PRESETS[name]
