"""Intervals of a figure that noise raises (ECE), for which BCa's correction for bias does harm.

A resample has the noise of the data and its own, so the resampled values lie too high, and BCa
takes that for a reason to look lower still: in simulation (4 classes, 60 to 1500 examples) its 95 %
interval of the difference of two models' ECE held the truth in 88 % of cases. Which way the bias of
a difference goes is unknown, so the interval here is the hull of the percentile interval and of its
reflection at the value ("basic", Davison and Hinkley 1997, section 5.2).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from statistics import NormalDist

import numpy as np

from fulcrum_components.evaluation.bootstrap import Replicates, clipped_quantile
from fulcrum_components.student import expanded_cdf, expanded_quantile
from fulcrum_pipelines.evidence import Interval

METHOD = "bootstrap-percentile-and-basic"


@dataclass(frozen=True)
class BiasedReplicates(Replicates):
    """Resampled values whose bias is not known."""

    def interval(self, level: float) -> Interval:
        """See `Replicates`."""
        if self.constant:
            return super().interval(level)
        share = NormalDist().cdf(expanded_quantile(level, self.units))
        low, high = np.quantile(self.resampled, [1 - share, share]).tolist()
        reach = max(self.value - low, high - self.value, 0.0)
        return Interval(level=level, low=self.value - reach, high=self.value + reach, method=METHOD)

    def p_at_least(self, bound: float) -> float:
        """See `Replicates`."""
        if self.constant:
            return super().p_at_least(bound)
        count = len(self.resampled)
        below = np.count_nonzero(self.resampled < bound)
        mirrored = np.count_nonzero(self.resampled > 2 * self.value - bound)
        z = clipped_quantile((min(below, mirrored) + 1) / (count + 1), count)
        return max(1 - expanded_cdf(z, self.units), 1 / (count + 1))


def biased(replicates: Replicates) -> BiasedReplicates:
    """Return the same resampled values, read as biased ones."""
    return BiasedReplicates(**{f.name: getattr(replicates, f.name) for f in fields(replicates)})
