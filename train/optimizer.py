"""AdamW in two groups, and a guard that leaves out harmful updates, all without waiting for the GPU.

A step whose loss or gradient is not finite, or lies far above those of the last steps, changes neither the
weights nor the moments (the idea of OLMo-core's SkipStepAdamW, with its 6 sigmas and 128 steps). The decision
stays on the device: it reaches the fused kernel as `found_inf`, so no step waits for the host.
"""

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from train import config


def build_optimizer(model: nn.Module, settings: config.Optimizer) -> torch.optim.AdamW:
    """AdamW over a model's parameters; weight decay for matrices and embeddings, none for norms and biases.

    The moments exist from the start, so that a checkpoint of any step has the same entries. 8 bytes per
    parameter beside the weight and its gradient.
    """
    decayed = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    betas = (settings.beta1, settings.beta2)
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=settings.eps, fused=True)
    for parameter in decayed + others:
        optimizer.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimizer


def apply_update(
    optimizer: torch.optim.AdamW, guard: "SpikeGuard", loss: Tensor, *, rate: float, clip: float
) -> tuple[Tensor, Tensor]:
    """Clips the gradients, updates unless the guard objects, and frees them; (gradient norm, 1.0 if skipped).

    The norm is that before clipping, over all ranks. `loss` must be the same on all ranks.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    if clip > 0:
        nn.utils.clip_grads_with_norm_(parameters, clip, norm)
    skipped = guard.check(loss, norm)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.found_inf = skipped  # type: ignore[attr-defined]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm, skipped


class SpikeGuard:
    """The losses and gradient norms of the last updates, and whether a new pair lies too far above them."""

    def __init__(self, window: int, sigmas: float, device: torch.device) -> None:
        self.sigmas = sigmas
        # Row 0 losses, row 1 gradient norms; a ring of which `seen` values were written.
        self.history = torch.zeros(2, window, device=device)
        self.seen = torch.zeros((), dtype=torch.int64, device=device)

    def check(self, loss: Tensor, norm: Tensor) -> Tensor:
        """1.0 to leave this update out, else 0.0, on the device.

        Spikes are judged once half of the window is there. What is finite enters the window, also a spike: a
        level that stays is no longer one.
        """
        window = self.history.shape[1]
        values = torch.stack([loss, norm]).to(self.history)  # [2]
        finite = values.isfinite().all()
        known = torch.arange(window, device=values.device) < self.seen
        count = self.seen.clamp(1, window)
        mean = (self.history * known).sum(1) / count
        variance = ((self.history - mean[:, None]).square() * known).sum(1) / (count - 1).clamp_min(1)
        spike = (values > mean + self.sigmas * variance.sqrt()).any() & (2 * self.seen >= window)
        place = (self.seen % window).expand(2, 1)
        kept = torch.where(finite, values[:, None], self.history.gather(1, place))
        self.history.scatter_(1, place, kept)
        self.seen += finite
        if self.sigmas == 0:
            spike = torch.zeros_like(spike)
        return (spike | ~finite).to(torch.float32)
