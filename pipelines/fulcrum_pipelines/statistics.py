"""Paired statistics of right and wrong answers, in pure Python.

Validate records them and the gates compute them again from the same counts, so both use
this one definition; without numpy, because decisions must work if it is not installed.

Notation: of n pairs, b is the number that only the candidate answers rightly and c the number that
only the baseline does. The difference d is candidate - baseline, estimated by (b - c) / n.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

from fulcrum_pipelines.evidence import Counts, Interval

_NORMAL = NormalDist()


def normal_quantile(level: float) -> float:
    """Return z such that a standard normal lies in [-z, z] with probability `level`, in (0, 1)."""
    return _NORMAL.inv_cdf((1 + level) / 2)


def pairs(counts: Counts) -> int:
    """Return n, the number of examples that both models answered."""
    return (
        counts.both_right
        + counts.only_baseline_right
        + counts.only_candidate_right
        + counts.both_wrong
    )


def paired_difference_interval(counts: Counts, level: float) -> Interval:
    """Return the score interval of the difference of two paired proportions (Tango 1998).

    It is all differences that the score test does not reject at 1 - `level`. Unlike Wald's, it
    keeps its coverage at few discordant pairs and is not empty at none.

    Raises:
        ValueError: If there are no pairs.
    """
    n, b, c = _table(counts)
    z = normal_quantile(level)
    estimate = (b - c) / n
    low = _bisect(lambda d: _score(n, b, c, d) > z, -1.0, estimate)
    high = -_bisect(lambda d: _score(n, c, b, d) > z, -1.0, -estimate)
    return Interval(level=level, low=low, high=high, method="tango-score")


def p_worse_than_margin(counts: Counts, margin: float) -> float:
    """Return the one-sided p-value of "the difference is at least -margin", by Tango's score.

    Small means that the candidate is measurably worse than the margin allows. It is below
    (1 - level) / 2 exactly where the upper bound of the interval at `level` is below -margin.

    Raises:
        ValueError: If there are no pairs.
    """
    n, b, c = _table(counts)
    if margin >= 1:
        return 1.0  # no difference of proportions is below -1
    return _NORMAL.cdf(_score(n, b, c, -margin))


def mcnemar_p(counts: Counts) -> float:
    """Return the exact two-sided p-value of "broken and fixed are equally likely" (McNemar 1947).

    Twice the smaller tail of a Binomial(b + c, 1/2), at most 1.
    """
    discordant = counts.only_candidate_right + counts.only_baseline_right
    k = min(counts.only_candidate_right, counts.only_baseline_right)
    log_term = (
        math.lgamma(discordant + 1)
        - math.lgamma(k + 1)
        - math.lgamma(discordant - k + 1)
        - discordant * math.log(2)
    )
    term = tail = math.exp(log_term)
    while k > 0 and term > tail * 1e-18:
        term *= k / (discordant - k + 1)
        tail += term
        k -= 1
    return min(1.0, 2 * tail)


def proportion_interval(successes: int, n: int, level: float) -> Interval:
    """Return the exact interval of one proportion (Clopper and Pearson 1934).

    Each end is wrong in at most (1 - `level`) / 2 of samples, for every proportion. The score
    interval (Wilson 1927) is not: with a true share of 0.18 / n its lower end is above it in 16 %
    of samples, namely in all that have a success at all.

    Raises:
        ValueError: If `n` is 0 or `successes` is not within 0..n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is not a proportion")
    low = _exact_low(successes, n, level)
    high = 1 - _exact_low(n - successes, n, level)
    return Interval(level=level, low=low, high=high, method="clopper-pearson")


def _exact_low(successes: int, n: int, level: float) -> float:
    """Return the share at which `successes` or more of `n` have probability (1 - `level`) / 2."""
    tail = (1 - level) / 2
    if successes == 0:
        return 0.0
    if successes == n:
        return math.exp(math.log(tail) / n)
    return _bisect(lambda p: _at_least(successes, n, p) < tail, 0.0, successes / n)


def _at_least(k: int, n: int, p: float) -> float:
    """Return P(X >= `k`) of a Binomial(`n`, `p`), 0 < k < n and p at most k / n.

    The first term times the continued fraction of the incomplete beta function (DLMF 8.17.22),
    which converges fast on this side, by Lentz's method.
    """
    if p <= 0:
        return 0.0
    a, b = float(k), float(n - k + 1)
    log_term = math.lgamma(a + b) - math.lgamma(a + 1) - math.lgamma(b)
    log_term += a * math.log(p) + b * math.log1p(-p)
    d = 1 / (1 - (a + b) * p / (a + 1))
    c, fraction = 1.0, d
    for m in range(1, n + 100):
        even = m * (b - m) * p / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * p / ((a + 2 * m) * (a + 2 * m + 1))
        before = fraction
        for step in (even, odd):
            d, c = 1 / (1 + step * d), 1 + step / c
            fraction *= d * c
        if abs(fraction - before) <= 1e-15 * fraction:
            break
    return math.exp(log_term) * fraction


def unseen_half_width(z: float, variance: float, unseen: float, effective_n: float) -> float:
    """Return how far from its estimate a figure may lie, with changes that the sample lacks.

    The score test, as Wilson's and Tango's: at a distance t the figure has its own variance and
    that of the t / `unseen` examples which changed and were not drawn, of `effective_n` that can;
    t is kept if t <= z sqrt(variance + unseen t - t^2 / effective_n). Without any variance that is
    z^2 `unseen` / (1 + z^2 / `effective_n`): with z = 1.96 it is 3.84 changes.

    Args:
        z: Quantile of the standard normal, or of Student's t.
        variance: Of the estimate, as the sample shows it.
        unseen: How much the figure changes if one more example changes.
        effective_n: How many independent examples there are of that kind, above 0.
    """
    share = z * z / effective_n
    linear = z * z * unseen
    root = math.sqrt(linear * linear + 4 * z * z * variance * (1 + share))
    return max((linear + root) / (2 * (1 + share)), z * math.sqrt(variance))


def unseen_score(distance: float, variance: float, unseen: float, effective_n: float) -> float:
    """Return the z at which `unseen_half_width` is `distance`; 0 or more."""
    if distance <= 0:
        return 0.0
    added = max(0.0, unseen * distance - distance * distance / effective_n)
    if variance + added <= 0:
        return math.inf
    return distance / math.sqrt(variance + added)


def ratio_interval(
    value: float, interval: Interval, base: float, base_interval: Interval
) -> Interval | None:
    """Return the interval of `value` / `base` from those of both (Donner and Zou 2012, MOVER-R).

    A ratio r is kept if r base - value is within what both can be off, each towards the other:
    (r base - value)^2 <= (end - value)^2 + r^2 (end of base - base)^2.

    Returns:
        None if the interval of the base, which is above 0, reaches down to 0 or as far up.
    """
    if base_interval.low <= 0 or base_interval.high >= 2 * base:
        return None
    below, above = base - base_interval.low, base_interval.high - base
    high = _largest_ratio(value, interval.high - value, base, below, above)
    low = -_largest_ratio(-value, value - interval.low, base, below, above)
    return Interval(level=interval.level, low=low, high=high, method=f"{interval.method}, ratio")


def _largest_ratio(value: float, off: float, base: float, below: float, above: float) -> float:
    """Return the largest ratio that is kept if the value may be higher by `off`."""
    slack = below if value + off > 0 else above  # which of them makes the ratio larger
    square = base * base - slack * slack
    root = (base * value) ** 2 - square * (value * value - off * off)
    return (base * value + math.sqrt(max(root, 0.0))) / square


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return the p-values adjusted by Holm's step-down method (Holm 1979), in the given order.

    Calling those below alpha significant wrongly rejects any true hypothesis with probability at
    most alpha, for any dependence between them.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return tuple(adjusted)


def _table(counts: Counts) -> tuple[int, int, int]:
    n = pairs(counts)
    if n < 1 or min(counts.model_dump().values()) < 0:
        raise ValueError(f"{counts} has no pairs or a negative count")
    return n, counts.only_candidate_right, counts.only_baseline_right


def _score(n: int, b: int, c: int, d: float) -> float:
    """Return Tango's score statistic of "the difference is `d`"; it falls as `d` rises.

    With q the probability of a c-pair (that of a b-pair is then q + d), q's maximum-likelihood
    estimate under the hypothesis is the positive root of
    2n q^2 + (d (2n - b + c) - b - c) q - c d (1 - d) = 0.
    """
    if d < 0:  # so that the root's terms never cancel
        return -_score(n, c, b, -d)
    linear = d * (2 * n - b + c) - b - c
    root = math.sqrt(linear * linear + 8 * n * c * d * (1 - d))
    q = (root - linear) / (4 * n) if linear <= 0 else 2 * c * d * (1 - d) / (root + linear)
    variance = n * (2 * q + d * (1 - d))
    distance = b - c - n * d
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def _bisect(above: Callable[[float], bool], low: float, high: float) -> float:
    """Return where `above` turns from true to false in [low, high], to the last bit.

    Returns `low` where it is false there already.
    """
    if not above(low):
        return low
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if above(middle) else (low, middle)
    return high
