"""What a metric has to say about itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fulcrum_components.evaluation.outcomes import Outcomes
from fulcrum_components.evaluation.statistic import Array, SumStatistic, mean_statistic
from fulcrum_pipelines.evidence import Direction

SHARE = "share"
"""Unit of metrics that are shares of examples or otherwise lie in 0..1."""


def _always_defined(_: Outcomes) -> str:
    return ""


@dataclass(frozen=True)
class MetricDefinition:
    """A metric of per-example outcomes.

    Exactly one of `correct`, `statistic` and `influence` says how it is computed, and with that
    what its intervals rest on: counts, a bootstrap, or the variance of its influence.

    Attributes:
        name: As in the manifest.
        tasks: Tasks that it is for.
        direction: Which way is better.
        unit: Its unit; empty for none, or the target's own.
        correct: Right or wrong for each example, (n,) bool; the metric is the share of right ones.
        statistic: The metric as a function of sums over units; see `statistic`.
        influence: The metric's value, and each example's influence on it, (n,).
        noise: Of a metric that sampling noise can only raise, the statistic of that noise.
        undefined: Why the metric has no value on these outcomes; empty where it has.
    """

    name: str
    tasks: tuple[Literal["classification", "regression"], ...]
    direction: Direction
    unit: str = ""
    correct: Callable[[Outcomes], Array] | None = None
    statistic: Callable[[Outcomes, Array], SumStatistic] | None = None
    influence: Callable[[Outcomes, bool], tuple[float, Array]] | None = None
    noise: Callable[[SumStatistic], SumStatistic] | None = None
    undefined: Callable[[Outcomes], str] = _always_defined

    def on_units(self, outcomes: Outcomes, units: Array) -> SumStatistic:
        """Return the metric as a function of sums over `units` (n,).

        Raises:
            ValueError: For a metric that is no such function.
        """
        if self.correct is not None:
            return mean_statistic(self.correct(outcomes), units)
        if self.statistic is not None:
            return self.statistic(outcomes, units)
        raise ValueError(f"{self.name} is not a function of sums over examples")
