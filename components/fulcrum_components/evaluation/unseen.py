"""Floors of intervals: what may have changed although no example of the sample shows it.

A bootstrap knows only the differences that it has seen. With none it has no width, and with few it
is too narrow: of 100 examples none changes in 37 % of samples where one in a hundred does. So each
metric says what it costs if one more example is lost, and the score test that is behind Wilson's
and Tango's intervals is asked what share of lost examples the sample cannot exclude. Units are
groups where examples are not independent: a group may be lost as a whole.

Of examples that are lost those are feared that move the metric most. Macro F1 and AUC depend on
them by class, so every set of classes is tried, from the smallest to all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fulcrum_components.evaluation.statistic import Array
from fulcrum_components.student import t_cdf, t_quantile
from fulcrum_pipelines.evidence import Interval
from fulcrum_pipelines.statistics import unseen_half_width, unseen_score

METHOD = "unseen-changes"
GROUPS = "score-over-groups"


@dataclass(frozen=True)
class Stratum:
    """Examples that move a metric alike.

    Attributes:
        cost: How much the metric changes if one of them is lost.
        selected: Mask (n,); None for all.
    """

    cost: float
    selected: Array | None = None


@dataclass(frozen=True)
class Lost:
    """The metric's loss with one independent unit, and the number of such units."""

    cost: float
    units: float


@dataclass(frozen=True)
class Unseen:
    """A value, its variance in the sample, and what the sample may lack; a `Difference`.

    Attributes:
        value: The estimate.
        variance: Of the estimate, 0 if nothing in the sample varies.
        units: Independent units, for Student's quantile.
        lost: Kinds of lost units; the worst counts.
        method: How its intervals are named.
    """

    value: float
    variance: float
    units: int
    lost: tuple[Lost, ...] = ()
    method: str = METHOD

    @property
    def worst(self) -> Lost:
        """The loss that decides the width if nothing varies."""
        return max(self.lost, key=lambda lost: self._half(1.96, lost, 0.0))

    def interval(self, level: float) -> Interval:
        """Return the two-sided interval."""
        z = t_quantile(level, self.units - 1)
        half = max(self._half(z, lost, self.variance) for lost in self.lost)
        return Interval(
            level=level, low=self.value - half, high=self.value + half, method=self.method
        )

    def p_at_least(self, bound: float) -> float:
        """Return the one-sided p-value of "the value is at least `bound`"."""
        distance = bound - self.value
        z = min(unseen_score(abs(distance), self.variance, x.cost, x.units) for x in self.lost)
        return t_cdf(-z if distance > 0 else z, self.units - 1)

    def negated(self) -> Unseen:
        """Return the same of the negative value."""
        return replace(self, value=-self.value)

    @staticmethod
    def _half(z: float, lost: Lost, variance: float) -> float:
        return unseen_half_width(z, variance, lost.cost, lost.units)


def lost_units(strata: Sequence[Stratum], groups: Array | None, n: int) -> tuple[Lost, ...]:
    """Return the kinds of lost units of `n` examples, from the dearest stratum to all of them.

    With groups (n,) also what is lost with a group that has examples of all strata.
    """
    found = [
        (stratum, effective_units(groups, stratum.selected, n), _count(stratum.selected, n))
        for stratum in strata
    ]
    ordered = sorted(found, key=lambda each: -each[0].cost * each[2] / each[1])
    kinds, total, units = [], 0.0, 0.0
    for stratum, effective, count in ordered:
        total += stratum.cost * count
        units += effective
        kinds.append(Lost(total / units, units))
    if groups is not None and len(found) > 1:
        effective = effective_units(groups, None, n)
        kinds.append(Lost(total / effective, effective))
    return tuple(kinds)


def effective_units(groups: Array | None, selected: Array | None, n: int) -> float:
    """Return how many independent units the `selected` of `n` examples are; all for None.

    Of groups it is Kish's (sum n_g)^2 / sum n_g^2: as many groups of equal size vary as much.
    """
    if groups is None:
        return float(_count(selected, n))
    sizes = np.unique(groups if selected is None else groups[selected], return_counts=True)[1]
    return float(sizes.sum() ** 2 / (sizes @ sizes))


def _count(selected: Array | None, n: int) -> int:
    return n if selected is None else int(np.count_nonzero(selected))


def share_of_units(right: Array, groups: Array) -> Unseen:
    """Return the mean of `right` (n,) with the variance between `groups` (n,), at least 2.

    The variance is that of a ratio of sums over groups (Cochran 1977, section 6.8), because the
    groups' sizes vary too.
    """
    numbers = np.unique(groups, return_inverse=True)[1]
    value = float(right.mean())
    residuals = np.bincount(numbers, weights=right - value)
    count = len(residuals)
    variance = float(residuals @ residuals) * count / max(count - 1, 1) / len(right) ** 2
    lost = lost_units([Stratum(1 / len(right))], groups, len(right))
    return Unseen(value, variance, count, lost, GROUPS)
