"""Causal self-attention through torch's scaled dot product, with rotary positions and a document mask.

B rows, T query tokens, S key tokens, H heads, d dimensions per head.
"""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from model.config import ModelConfig
from model.context import Context, PackedDocuments, document_mask
from model.rope import rotate

varlen_attn: Callable[..., object] | None = None  # torch's kernel for boundaries, once `load_varlen` found it

# Fastest first on Hopper, where cuDNN's kernel is 1.7 to 2.3 times as fast as the default FlashAttention-2 at
# training shapes. What a kernel cannot do (an arbitrary mask for flash) falls through to the next one.
KERNELS = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]


@cache
def load_varlen() -> None:
    """Finds the kernel for boundaries; importing it imports torch's compiler too, 2 seconds that a CPU saves.

    torch below 2.11 has none or asks for causality in another way: document masks are boolean there.
    """
    global varlen_attn
    try:
        from torch.nn.attention.varlen import varlen_attn as found
    except ImportError:
        return
    if "window_size" in inspect.signature(found).parameters:
        varlen_attn = found


class KeyStore(Protocol):
    """Keys and values of one layer from earlier calls."""

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keeps [B, Hkv, T, d] and returns all [B, Hkv, S, d] that the mask is made for."""
        ...


def attend(q: Tensor, k: Tensor, v: Tensor, context: Context) -> Tensor:
    """q [B, H, T, d], k and v [B, Hkv, S, d] -> [B, H, T, d]."""
    mask = context.mask
    if context.packed is not None:
        if varlen_attn is not None and q.is_cuda and q.dtype in (torch.bfloat16, torch.float16):
            return attend_packed(q, k, v, context.packed)
        if mask is None:
            mask = document_mask(context.packed.numbers(len(q), q.shape[2]))
    causal, grouped = context.causal and mask is None, q.shape[1] != k.shape[1]
    if not q.is_cuda:  # one kernel, exact for fp32
        return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, enable_gqa=grouped)
    with sdpa_kernel(KERNELS, set_priority=True):
        return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, enable_gqa=grouped)


def attend_packed(q: Tensor, k: Tensor, v: Tensor, packed: PackedDocuments) -> Tensor:
    """As `attend`, causal within each document, by the kernel for variable lengths."""
    assert varlen_attn is not None
    rows, heads, tokens, width = q.shape
    if k.shape[1] != heads:  # older versions of the kernel's signature have no grouped queries
        k, v = (x.repeat_interleave(heads // x.shape[1], dim=1) for x in (k, v))
    q, k, v = (x.transpose(1, 2).reshape(rows * tokens, heads, width) for x in (q, k, v))
    ends, longest = packed.cu_seqlens, packed.longest
    y = varlen_attn(q, k, v, ends, ends, longest, longest, window_size=(-1, 0))  # (-1, 0): causal
    assert isinstance(y, Tensor)
    return y.view(rows, tokens, heads, width).transpose(1, 2)


class Attention(nn.Module):
    """Query, key and value in one matrix with bias (the only biases of the model), no bias after."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.n_heads, self.n_kv_heads = config.n_heads, config.n_kv_heads
        self.qkv = nn.Linear(config.dim, (config.n_heads + 2 * config.n_kv_heads) * config.head_dim)
        self.out = nn.Linear(config.n_heads * config.head_dim, config.dim, bias=False)

    def forward(self, x: Tensor, context: Context, store: KeyStore | None = None) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        rows, tokens, _ = x.shape
        qkv = self.qkv(x).view(rows, tokens, -1, self.head_dim)
        rotated = rotate(qkv[:, :, : -self.n_kv_heads], context.cos, context.sin)
        q, k, v = rotated[:, :, : self.n_heads], rotated[:, :, self.n_heads :], qkv[:, :, -self.n_kv_heads :]
        if context.query_scale is not None:
            q = q * context.query_scale.type_as(q)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (B, H, T, d)
        if store is not None:
            k, v = store.append(k, v)
        y = attend(q, k, v, context)
        return self.out(y.transpose(1, 2).reshape(rows, tokens, -1))
