"""Rotary positions with fp32 inverse frequencies, and what extends them beyond the training length.

Half rotation (NeoX style): dimension i is rotated together with i + d/2. Dynamic NTK and LogN are applied at
inference only (Qwen report 2.3): NTK raises the base so that long contexts use low frequencies more densely,
LogN scales queries so that the entropy of attention stays that of the training length.

B rows, T tokens, H heads, d dimensions per head.
"""

import math

import torch
from torch import Tensor


def ntk_alpha(length: int, train_length: int) -> int:
    """1 up to train_length tokens, then 3, 7, 15 ... with every doubling: max(2^ceil(log2(n/L) + 1) - 1, 1).

    In integers, as float logarithms may round up at exact powers of two.
    """
    chunks = -(-length // train_length)
    return max(2 * (1 << max(chunks - 1, 0).bit_length()) - 1, 1)


def ntk_base(base: float, alpha: int, head_dim: int) -> float:
    """The base under NTK-aware interpolation: base * alpha^(d / (d - 2))."""
    return base if alpha == 1 else base * alpha ** (head_dim / (head_dim - 2))


def inverse_frequencies(head_dim: int, base: float, device: torch.device | str = "cpu") -> Tensor:
    """fp32 [d/2]: base^(-2i/d)."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim
    return 1.0 / base**exponents


def rotary_tables(positions: Tensor, head_dim: int, base: float) -> tuple[Tensor, Tensor]:
    """cos and sin, fp32 [..., 1, d/2] for positions [...]; the 1 stands for all heads."""
    angles = positions[..., None, None].float() * inverse_frequencies(head_dim, base, positions.device)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [B, T, H, d] rotated in fp32 by tables [1|B, T, 1, d/2]; the dtype of x comes back."""
    low, high = x.float().chunk(2, dim=-1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1).type_as(x)


def logn_scale(positions: Tensor, train_length: int) -> Tensor:
    """fp32 [..., 1, 1] for positions [...]: log of the 1-based position to base train_length, at least 1."""
    scale = torch.log((positions + 1).double()) / math.log(max(train_length, 2))
    return scale.clamp_min(1.0).float()[..., None, None]
