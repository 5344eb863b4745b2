"""Mean of the classes' F1 scores, which a rare class moves as much as a common one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fulcrum_components.evaluation.metrics.accuracy import answers
from fulcrum_components.evaluation.metrics.definition import SHARE, MetricDefinition
from fulcrum_components.evaluation.outcomes import Outcomes
from fulcrum_components.evaluation.statistic import Array


@dataclass(frozen=True)
class MacroF1Statistic:
    """F1 = 2 right / (targets + answers) of each class that occurs among the targets, averaged.

    Features would be one-hot rows three classes wide, so sums are counted instead of multiplied.

    Attributes:
        targets: Labels (n,).
        answers: Answers (n,).
        units: Unit number of each example, (n,).
        classes: Number of classes.
    """

    targets: Array
    answers: Array
    units: Array
    classes: int

    def resampled(self, weights: Array) -> Array:
        """See `Statistic`."""
        return np.array([self._value(self._counts(row[self.units])) for row in weights])

    def leave_one_out(self, chosen: Array) -> Array:
        """See `Statistic`."""
        total = self._counts(np.ones(len(self.units)))
        order = np.argsort(self.units, kind="stable")
        starts = np.searchsorted(self.units[order], np.arange(int(self.units.max()) + 2))
        members = [order[starts[unit] : starts[unit + 1]] for unit in chosen]
        return np.array([self._value(total - self._counts(np.ones(len(m)), m)) for m in members])

    def _counts(self, weights: Array, members: Array | slice = slice(None)) -> Array:
        """Return right answers, targets and answers of each class, (3, classes)."""
        targets, given = self.targets[members], self.answers[members]
        right = np.where(targets == given, weights, 0.0)
        columns = ((targets, right), (targets, weights), (given, weights))
        return np.stack([np.bincount(c, weights=w, minlength=self.classes) for c, w in columns])

    def _value(self, counts: Array) -> float:
        right, wanted, given = counts
        present = wanted > 0
        if not present.any():
            return float("nan")
        return float(np.mean(2 * right[present] / (wanted + given)[present]))


def _statistic(outcomes: Outcomes, units: Array) -> MacroF1Statistic:
    return MacroF1Statistic(
        outcomes.targets, answers(outcomes), units, int(outcomes.outputs.shape[1])
    )


MACRO_F1 = MetricDefinition("macroF1", ("classification",), "higher", SHARE, statistic=_statistic)
