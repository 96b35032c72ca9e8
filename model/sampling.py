"""The choice of the next token: greedy, or drawn with temperature, top-k, top-p and repetition penalty.

A draw is a function of (seed, row, position) and of the logits only: one uniform number per token, looked up
in the cumulative distribution in the order of token ids. So a row draws the same tokens in any batch, on any
number of processes, after any resume, as far as its logits are the same. (Looking up in the order of falling
probability, as is common, would let two nearly equal probabilities change places with the last bit.)

B rows, V embedding rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

MASK_64 = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, the increment of splitmix64

# Candidates that are looked at first for top-p: at the usual settings they hold the mass in nearly all steps,
# and sorting 152K values takes longer than a small model's whole step.
FIRST_CANDIDATES = 512


@dataclass(frozen=True)
class Sampling:
    """How to choose; ValueError for values without meaning. The default is greedy."""

    temperature: float = 0.0  # 0: the most probable token
    top_k: int = 0  # only the k most probable, and those that equal the last of them; 0: all
    top_p: float = 1.0  # only the most probable that hold this mass together, and equals of the last of them
    repetition_penalty: float = 1.0  # logits of tokens seen before: divided by it above 0, multiplied below
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature = {self.temperature}: must be 0 (greedy) or above")
        if self.top_k < 0:
            raise ValueError(f"top_k = {self.top_k}: must be 0 (all) or above")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p = {self.top_p}: must be above 0 and at most 1")
        if not 0 < self.repetition_penalty < float("inf"):
            raise ValueError(f"repetition_penalty = {self.repetition_penalty}: must be above 0")


def uniform(seed: int, row: int, position: int) -> float:
    """In [0, 1), 53 bits, from three integers by rounds of splitmix64's finaliser."""
    state = 0
    for word in (seed, row, position):
        state = _mix(((state ^ word) + GAMMA) & MASK_64)
    return (state >> 11) * 2.0**-53


def _mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK_64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK_64
    return value ^ (value >> 31)


def choose(logits: Tensor, sampling: Sampling, draws: Sequence[float], seen: Tensor | None = None) -> Tensor:
    """int64 [B] from logits [B, V] and one number in [0, 1) per row.

    `seen`, bool [B, V], marks tokens of the prompt and of what was generated, for the penalty.
    """
    logits = logits.float()
    if seen is not None and sampling.repetition_penalty != 1.0:
        penalty = sampling.repetition_penalty
        logits = torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
    if sampling.temperature == 0:
        return logits.argmax(-1)
    probabilities = truncated(logits / sampling.temperature, sampling.top_k, sampling.top_p)
    cumulative = probabilities.double().cumsum(-1)
    total = cumulative[:, -1:]
    targets = torch.tensor(draws, dtype=torch.float64).to(logits.device)[:, None] * total
    # Rounding could carry a draw just below 1 to the total, behind the last token that has any probability.
    targets = torch.minimum(targets, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, targets, right=True)[:, 0]


def truncated(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """fp32 [B, V]: probabilities, 0 outside of top-k and then top-p; their sum is not brought back to 1.

    Tokens as probable as the last one taken are taken too, so that no order of equals matters.
    """
    if 0 < top_k < logits.shape[-1]:
        least = logits.topk(top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    probabilities = logits.softmax(-1)
    if top_p < 1:
        falling = probabilities.topk(min(FIRST_CANDIDATES, logits.shape[-1])).values
        mass = falling.double().cumsum(-1)
        if bool((mass[:, -1] < top_p).any()):
            falling = probabilities.sort(descending=True).values
            mass = falling.double().cumsum(-1)
        taken = (mass - falling < top_p).sum(-1, keepdim=True)  # the mass before a token is still too little
        least = falling.gather(-1, taken - 1)
        probabilities = probabilities.masked_fill(probabilities < least, 0.0)
    return probabilities
