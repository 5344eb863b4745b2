"""Student's t distribution, for intervals that rest on few independent units.

A bootstrap over five session pairs or twenty users gives intervals that are too narrow, since its
variance is (n - 1) / n of the right one and it looks up normal tails, not t's. Hesterberg (2015,
"What Teachers Should Know About the Bootstrap", section 5) corrects both by moving the quantile;
`expanded_quantile` is that.
"""

from __future__ import annotations

import math

from scipy.special import stdtr, stdtrit


def t_cdf(t: float, degrees: int) -> float:
    """Return P(T <= `t`) for a number of degrees of freedom."""
    return float(stdtr(degrees, t))


def t_quantile(level: float, degrees: int) -> float:
    """Return t such that T lies in [-t, t] with probability `level`."""
    return float(stdtrit(degrees, (1 + level) / 2))


def expanded_quantile(level: float, units: int) -> float:
    """Return the normal quantile to look up in a bootstrap over `units` units, at least 2."""
    return math.sqrt(units / (units - 1)) * t_quantile(level, units - 1)


def expanded_cdf(z: float, units: int) -> float:
    """Return the probability that belongs to a bootstrap's normal quantile `z`.

    The inverse of `expanded_quantile`.
    """
    return t_cdf(z * math.sqrt((units - 1) / units), units - 1)
