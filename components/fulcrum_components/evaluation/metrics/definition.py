"""The definition of a metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fulcrum_components.evaluation.statistic import Array, SumStatistic, mean_statistic
from fulcrum_components.evaluation.unseen import Stratum
from fulcrum_components.tasks import Outcomes
from fulcrum_pipelines.catalog import METRICS, Direction, MetricKind

_MOST_MIXED = 20_000
"""Examples whose answers are mixed up to see what a lost one costs; the mean needs no more."""
_MOST_BIAS = 3.0
"""As of squares of normal errors. Without this end one outlier would decide every interval."""
_LOST = 4
"""Examples lost at once for that, since the root of a sum is no sum: as many as z^2 at 95 %."""


def _always_defined(_: Outcomes) -> str:
    return ""


def _mean(targets: Array) -> Array:
    result: Array = targets.mean(axis=0)
    return result


@dataclass(frozen=True)
class MetricDefinition:
    """A metric of per-example outcomes.

    Exactly one of `correct`, `statistic` and `influence` says how it is computed, and with that
    what its intervals rest on: counts, a bootstrap, or the variance of its influence.

    Attributes:
        name: As in the catalogue, which says the rest about it.
        correct: Right or wrong for each example, (n,) bool; the metric is the share of right ones.
        statistic: The metric as a function of sums over units; see `statistic`.
        influence: The metric's value, and each example's influence on it, (n,).
        noise: Of a metric that sampling noise can only raise, the statistic of that noise.
        costs: What one lost example costs, by kind of example; see `strata`.
        undefined: Why the metric has no value on these outcomes; empty where it has.
        by_class: Whether it is a mean over classes, each of which counts as much as any other.
        best_value: Of targets (n, ...) that are numbers, the one answer (...) that is best by it.
    """

    name: str
    correct: Callable[[Outcomes], Array] | None = None
    statistic: Callable[[Outcomes, Array], SumStatistic] | None = None
    influence: Callable[[Outcomes, bool], tuple[float, Array]] | None = None
    noise: Callable[[SumStatistic], SumStatistic] | None = None
    costs: Callable[[Outcomes], Sequence[Stratum]] | None = None
    undefined: Callable[[Outcomes], str] = _always_defined
    by_class: bool = False
    best_value: Callable[[Array], Array] = _mean

    @property
    def kind(self) -> MetricKind:
        """Its row of the catalogue."""
        return METRICS[self.name]

    @property
    def direction(self) -> Direction:
        """Which way is better."""
        return self.kind.direction

    @property
    def unit(self) -> str:
        """Its unit, as evidence has it."""
        return self.kind.unit

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

    def untested(self, outcomes: Outcomes) -> float:
        """Return how far the metric may be off for classes that have no example, at most.

        A class without an example is not in the mean over classes, but the model may answer it;
        its value, which can be anything in 0..1, counts as much as any other's.
        """
        if not self.by_class:
            return 0.0
        classes = int(outcomes.outputs.shape[1])
        return 1 - len(np.unique(outcomes.targets)) / classes

    def strata(self, outcomes: Outcomes, effective_n: float) -> tuple[Stratum, ...]:
        """Return the kinds of examples, and how much the metric changes if one of them is lost.

        If the metric does not define it, a lost example has the answer of another example; in a
        classification, of one of another class. It costs at least what examples cost already, since
        another answer changes little if all are far off.

        Args:
            outcomes: Of a model for which the metric is defined.
            effective_n: Independent units among them.
        """
        if self.costs is not None:
            return tuple(self.costs(outcomes))
        if self.correct is not None:
            return (Stratum(1 / len(outcomes)),)
        return (Stratum(self._cost_of_another_answer(outcomes, effective_n)),)

    def _cost_of_another_answer(self, outcomes: Outcomes, effective_n: float) -> float:
        generator = np.random.default_rng(0)
        seen = outcomes.take(generator.permutation(len(outcomes))[:_MOST_MIXED])
        others = generator.permutation(len(seen))
        one_unit = np.zeros(len(seen), dtype=np.int64)
        each = np.arange(len(seen))
        mixed = Outcomes(seen.outputs[others], seen.targets)
        chosen = np.ones(len(seen), dtype=bool)
        if np.issubdtype(seen.targets.dtype, np.integer):
            chosen = seen.targets != seen.targets[others]
            if not chosen.any():  # of one class: each example has its answer for another one
                mixed = Outcomes(np.roll(seen.outputs, 1, axis=1), seen.targets)
                chosen[:] = True
        before, after = (self.on_units(found, each).features[chosen] for found in (seen, mixed))
        share = min(1.0, _LOST / effective_n)
        sums = self.on_units(seen, one_unit)
        moved = (after - before).mean(axis=0) * len(seen)
        weight = min(1.0, share * _size_bias(after[:, 0] - before[:, 0]))
        doubled = np.zeros_like(moved)
        doubled[0] = before[:, 0].mean() * len(seen)
        lost = sums.features + np.stack([weight * moved, share * doubled])
        changed = np.abs(sums.evaluate(lost) - sums.evaluate(sums.features))
        return float(changed.max()) / (share * len(outcomes))


def _size_bias(costs: Array) -> float:
    """Return by how much the mean of `costs`, each counted by its size, is above their mean.

    A sum of rare and unequal costs varies as one of costs of that size.
    """
    mean = float(costs.mean())
    if mean <= 0:
        return 1.0
    return min(_MOST_BIAS, float(costs @ costs) / len(costs) / mean**2)
