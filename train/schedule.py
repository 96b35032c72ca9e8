"""The learning rate as a function of the step alone, so that a resumed run needs no state for it."""

import math

from train.config import Schedule


def learning_rate(step: int, schedule: Schedule) -> float:
    """The rate of update `step`, counted from 0: linear warm-up, then as `decay` says, then the floor.

    Warm-up reaches the peak at step `warmup_steps`; "cosine" falls to `floor` times the peak at `steps` (Qwen
    report, 2.4: 10 %), "constant" stays at the peak.
    """
    if step < schedule.warmup_steps:
        return schedule.peak * (step + 1) / schedule.warmup_steps
    if schedule.decay == "constant":
        return schedule.peak
    span = max(1, schedule.steps - schedule.warmup_steps)
    done = min(1.0, (step - schedule.warmup_steps) / span)
    return schedule.peak * (schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * done)))
