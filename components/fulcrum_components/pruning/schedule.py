"""How sparsity grows over the steps of iterative pruning, shared by all iterative methods."""

from __future__ import annotations

from typing import Literal

SparsitySchedule = Literal["linear", "cubic"]


def linear(target: float, step: int, steps: int) -> float:
    """Return the sparsity after `step` of `steps`: the same share goes in each."""
    return target * step / steps


def cubic(target: float, step: int, steps: int) -> float:
    """Return the sparsity after `step` of `steps`, most of it early, while there is redundancy.

    Equation 1 of Zhu and Gupta, "To prune, or not to prune" (2017), from an initial sparsity of 0.
    """
    return float(target * (1.0 - (1.0 - step / steps) ** 3))


def sparsities(schedule: SparsitySchedule, target: float, steps: int) -> tuple[float, ...]:
    """Return the sparsity to have after each of `steps` steps; the last one is `target` exactly."""
    function = {"linear": linear, "cubic": cubic}[schedule]
    return (*(function(target, step, steps) for step in range(1, steps)), target)
