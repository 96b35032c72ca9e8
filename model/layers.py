"""The two small layers of a block: RMSNorm and the SwiGLU feed-forward."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig


class RMSNorm(nn.Module):
    """x / rms(x) in fp32, cast back to the dtype of x, then scaled: the order of the official model."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float32:  # the same numbers in one kernel
            return F.rms_norm(x, x.shape[-1:], self.weight.float(), self.eps)
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return wide.type_as(x) * self.weight.type_as(x)


class SwiGLU(nn.Module):
    """proj(w1(x) * silu(w2(x))): w2 is the gate and w1 the up-projection, the reverse of LLaMA's names."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.dim, config.hidden, bias=False)
        self.w2 = nn.Linear(config.dim, config.hidden, bias=False)
        self.proj = nn.Linear(config.hidden, config.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.w1(x) * F.silu(self.w2(x)))
