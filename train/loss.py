"""Cross-entropy straight from hidden states, chunk by chunk: the logits of all tokens never exist.

With 152K tokens in the vocabulary the logits of 64K positions would take 18.5 GiB in bf16 and twice that in
fp32. Here a chunk of positions is projected, its softmax taken in fp32, and both gradients are made at once
while the chunk's logits are still there, so that nothing is computed twice: three matrix products, as without
chunks. The gradient of the head is summed in fp32 whatever the weights are: bf16 sums over a large vocabulary
hurt (Megatron-LM #2206). Small gradients are not dropped, as some kernels do.

N positions, D hidden width, V rows of the head.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = -100  # a target that does not count, as in torch
CHUNK = 8192  # positions; 2.3 GiB of bf16 logits at 152K, large enough for full speed on a GPU


def linear_cross_entropy(
    hidden: Tensor, head: Tensor, targets: Tensor, *, scale: float, z_loss: float = 0.0, chunk: int = CHUNK
) -> Tensor:
    """scale * sum over valid targets of (cross-entropy + z_loss * logsumexp^2), an fp32 scalar.

    hidden [N, D], head [V, D], targets int64 [N] with -100 where nothing is to be predicted. For the mean
    give scale = 1 / (number of valid targets in the whole step). The products run in hidden's dtype, the
    softmax and the head's gradient in fp32. Without a valid target it is 0, with gradients of zero.
    """
    return _LinearCrossEntropy.apply(hidden, head, targets, scale, z_loss, chunk)  # type: ignore[no-any-return]


def token_log_probs(hidden: Tensor, head: Tensor, targets: Tensor, *, chunk: int = CHUNK) -> Tensor:
    """log p(target) per position, fp32 [N]; 0 where the target is -100. Differentiable: it projects again."""
    return _TokenLogProbs.apply(hidden, head, targets, chunk)  # type: ignore[no-any-return]


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, scale: float, z_loss: float, chunk: int
    ) -> Tensor:
        weight = head.detach().to(hidden.dtype)
        wants_hidden, wants_head = ctx.needs_input_grad[:2]
        d_hidden = torch.empty_like(hidden) if wants_hidden else None
        d_head = torch.zeros(head.shape, dtype=torch.float32, device=head.device) if wants_head else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        softmax = _compiled_softmax_gradient() if hidden.is_cuda else _softmax_gradient
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(hidden), chunk):
                part = hidden.detach()[start : start + chunk]
                loss, error = softmax(part @ weight.T, targets[start : start + chunk], scale, z_loss)
                total += loss
                if d_hidden is not None:
                    torch.mm(error, weight, out=d_hidden[start : start + chunk])
                if d_head is not None:
                    _add_product(d_head, error.T, part)
        ctx.gradients = (d_hidden, None if d_head is None else d_head.to(head.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the gradients of linear_cross_entropy were made once, and are used up")
        d_hidden, d_head = ctx.gradients
        ctx.gradients = None
        scaled = [None if g is None else g.mul_(upstream[0].to(g.dtype)) for g in (d_hidden, d_head)]
        return *scaled, None, None, None, None


def _softmax_gradient(logits: Tensor, targets: Tensor, scale: float, z_loss: float) -> tuple[Tensor, Tensor]:
    """Scaled loss of a chunk, and its gradient with respect to the logits, in the logits' dtype."""
    dtype, logits = logits.dtype, logits.float()
    valid = (targets != IGNORE).float() * scale
    safe = targets.clamp_min(0)[:, None]
    log_probs = logits.log_softmax(-1)
    log_prob = log_probs.gather(1, safe)[:, 0]
    lse = logits.gather(1, safe)[:, 0] - log_prob
    loss = (z_loss * lse.square() - log_prob) * valid
    error = log_probs.exp_().mul_((valid * (1 + 2 * z_loss * lse))[:, None])
    error.scatter_add_(1, safe, -valid[:, None])
    return loss.sum(), error.to(dtype)


@cache
def _compiled_softmax_gradient() -> Callable[..., tuple[Tensor, Tensor]]:
    """Reads a chunk of logits twice and writes it once, where plain torch has a pass per line."""
    return torch.compile(_softmax_gradient, dynamic=False)


class _TokenLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, chunk: int) -> Tensor:
        weight = head.detach().to(hidden.dtype)
        result = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(hidden), chunk):
                part = slice(start, start + chunk)
                logits = (hidden.detach()[part] @ weight.T).float()
                result[part] = -F.cross_entropy(logits, targets[part], ignore_index=IGNORE, reduction="none")
        ctx.save_for_backward(hidden, head, targets)
        ctx.chunk = chunk
        return result

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        hidden, head, targets = ctx.saved_tensors
        weight = head.detach().to(hidden.dtype)
        d_hidden = torch.empty_like(hidden)
        d_head = torch.zeros(head.shape, dtype=torch.float32, device=head.device)
        weights = upstream[0] * (targets != IGNORE)
        safe = targets.clamp_min(0)[:, None]
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(hidden), ctx.chunk):
                part = slice(start, start + ctx.chunk)
                error = (hidden[part] @ weight.T).float().softmax(-1).neg_()
                error.scatter_add_(1, safe[part], torch.ones_like(safe[part], dtype=error.dtype))
                error = (error * weights[part, None]).to(hidden.dtype)
                torch.mm(error, weight, out=d_hidden[part])
                _add_product(d_head, error.T, hidden[part])
        return d_hidden, d_head.to(head.dtype), None, None


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right, with an fp32 sum also where the factors are bf16."""
    if left.dtype == torch.float32:
        total.addmm_(left, right)
    elif left.is_cuda:
        total += torch.mm(left, right, out_dtype=torch.float32)
    else:
        total.addmm_(left.float(), right.float())
