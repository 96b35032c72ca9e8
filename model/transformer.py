"""The Qwen decoder: untied embeddings, pre-norm blocks of rotary attention and SwiGLU, a final norm, a head.

`Transformer.hidden` is the whole model without its head, so that a loss can take the head's weight and never
hold the logits of all tokens. Nothing here knows of devices, sharding, compilation or checkpointing: a
trainer wraps the members of `blocks`. There are no buffers, hence a model built on the meta device needs
nothing but its parameters.

B rows, T tokens, D width, V embedding rows.
"""

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.attention import Attention, load_varlen
from model.cache import KVCache, LayerCache
from model.config import ModelConfig
from model.context import Context, PackedDocuments, layer_contexts
from model.layers import RMSNorm, SwiGLU


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.attention = Attention(config)
        self.mlp_norm = RMSNorm(config.dim, config.norm_eps)
        self.mlp = SwiGLU(config)

    def forward(self, x: Tensor, context: Context, store: LayerCache | None = None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), context, store)
        return x + self.mlp(self.mlp_norm(x))


class Transformer(nn.Module):
    """Token ids to logits. Parameters hold nothing useful before `init_weights` or loading."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.n_vocab, config.dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.head = nn.Linear(config.dim, config.n_vocab, bias=False)

    def hidden(
        self,
        ids: Tensor,
        positions: Tensor | None = None,
        documents: Tensor | PackedDocuments | None = None,
        *,
        lengths: Sequence[int] | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """ids int64 [B, T] -> [B, T, D] after the final norm, in the dtype of the embedding.

        `positions` [1|B, T] default to 0..T-1. `documents` keeps documents of a packed row apart: numbers
        [B, T], or boundaries. Not while training: contexts beyond config.train_length are extended; `lengths`
        are then the true lengths of right-padded rows. A `cache` is read and filled.
        """
        tokens = ids.shape[1]
        if isinstance(documents, PackedDocuments) and ids.is_cuda:
            load_varlen()
        contexts = layer_contexts(
            self.config,
            tokens,
            ids.device,
            extend=not self.training,
            positions=positions,
            documents=documents,
            lengths=lengths,
            cache=cache,
        )
        stores = [None] * len(contexts) if cache is None else cache.layers(tokens)
        x = self.embed(ids)
        for block, context, store in zip(self.blocks, contexts, stores, strict=True):
            x = block(x, context, store)
        if cache is not None:
            cache.advance(tokens)
        return self.norm(x)

    def forward(
        self,
        ids: Tensor,
        positions: Tensor | None = None,
        documents: Tensor | PackedDocuments | None = None,
        *,
        lengths: Sequence[int] | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Logits [B, T, V]; arguments as for `hidden`."""
        return self.head(self.hidden(ids, positions, documents, lengths=lengths, cache=cache))

    @torch.no_grad()
    def init_weights(self, seed: int) -> None:
        """Draws every parameter by `initial_weight`: the same values on any device and for any dtype."""
        for name, parameter in self.named_parameters():
            parameter.copy_(initial_weight(name, parameter.shape, self.config, seed))


def initial_weight(name: str, shape: Sequence[int], config: ModelConfig, seed: int) -> Tensor:
    """fp32 start value of one parameter on the CPU, a function of (seed, name, shape) alone.

    N(0, 0.02) for matrices and embeddings, but N(0, 0.02 / sqrt(2 L)) for the two that write to the residual
    stream; 0 for biases and 1 for norms: the initialisation of the official code. One parameter at a time, so
    that a sharded model needs the memory of one whole parameter only.
    """
    if name.endswith("norm.weight"):
        return torch.ones(*shape, device="cpu")
    if name.endswith(".bias"):
        return torch.zeros(*shape, device="cpu")
    digest = hashlib.blake2b(name.encode(), key=(seed % 2**64).to_bytes(8, "little"), digest_size=8).digest()
    generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest, "little", signed=True))
    std = config.init_std
    if name.endswith(("attention.out.weight", "mlp.proj.weight")):
        std /= math.sqrt(2 * config.n_layers)
    return torch.empty(*shape, device="cpu").normal_(0.0, std, generator=generator)


def build(
    config: ModelConfig, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Transformer:
    """A model with memory for its parameters and nothing in it: to initialise or to load."""
    with torch.device("meta"):
        model = Transformer(config)
    return model.to(dtype).to_empty(device=device)
