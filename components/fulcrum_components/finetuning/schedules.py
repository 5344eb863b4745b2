"""Learning rate over the steps, as pure functions of the step.

A function has no state, so a resumed training continues it exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

LearningRateSchedule = Literal["constant", "cosine", "linear", "step", "oneCycle"]

STEP_FACTOR = 0.1
STEP_AT = (0.5, 0.75)
"""`step` divides by ten at half and at three quarters, as in He et al. 2016."""

RISE = 0.3
START_FACTOR = 1 / 25
END_FACTOR = START_FACTOR / 1e4
"""`oneCycle` as torch and fastai do it: up over 30 %, from 1/25, down to 1/250,000 (Smith 2018)."""


def learning_rate_factor(
    name: LearningRateSchedule, step: int, steps: int, warmup_steps: int
) -> float:
    """Return the factor, 0 to 1, on the highest learning rate at `step` of `steps` (from 0).

    Over the first `warmup_steps` the rate rises in a line and reaches the schedule's start; the
    schedule itself runs over the steps that are left.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1) * _SCHEDULES[name](0.0)
    return _SCHEDULES[name]((step - warmup_steps) / max(1, steps - warmup_steps))


def _constant(progress: float) -> float:
    return 1.0


def _cosine(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _linear(progress: float) -> float:
    return 1.0 - progress


def _step(progress: float) -> float:
    return STEP_FACTOR ** sum(progress >= edge for edge in STEP_AT)


def _one_cycle(progress: float) -> float:
    if progress < RISE:
        return START_FACTOR + (1.0 - START_FACTOR) * (1.0 - _cosine(progress / RISE))
    return END_FACTOR + (1.0 - END_FACTOR) * _cosine((progress - RISE) / (1.0 - RISE))


_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "linear": _linear,
    "step": _step,
    "oneCycle": _one_cycle,
}
