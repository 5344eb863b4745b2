"""Compute how many test examples a gate on right answers needs, before anything runs.

The usual formula, n = 6.2 churn / margin^2 for 80 % power at one-sided 5 %, is optimistic: at 1 %
of changed answers and a margin of one point it gives 620 pairs, which pass a two-sided 95 %
interval in 53 % of cases. So the power is summed over all outcomes of the very test that decides.
Pure Python, since the command line warns too.

Notation: each of n examples is discordant (one model right, the other wrong) with probability d,
then fixed with probability f, else broken. Before a run f is 1/2: the candidate is as good as the
baseline. After one, d and f are what was seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from statistics import NormalDist

from fulcrum_pipelines.evidence import Counts
from fulcrum_pipelines.statistics import normal_quantile, p_worse_than_margin

ASSUMED_CHURN = 0.02
"""Share of answers that change from right to wrong or back, before one knows. Eight-bit integers
change about 1 %, pruning with fine-tuning several."""
POWER = 0.8
MOST_EXAMPLES = 10_000_000
"""More than this is not advice but a way to say that it will not be decided."""

_DEVIATIONS = 6
"""Numbers of discordant pairs further from their mean than this many standard deviations weigh
less than 1e-8 together."""
_PRECISION = 0.01
_ENOUGH_FOR_NORMAL = 1000

_NORMAL = NormalDist()


def required_sample_size(
    *,
    baseline_accuracy: float,
    margin: float,
    churn: float = ASSUMED_CHURN,
    level: float = 0.95,
    power: float = POWER,
) -> int | None:
    """Return about how many examples prove with probability `power` that the candidate is as good.

    Args:
        baseline_accuracy: Share of right answers, which bounds how many can be fixed or broken.
        margin: How much worse is still as good, a share.
        churn: Assumed share of examples that are discordant.
        level: Confidence of the two-sided interval whose lower end must stay above -margin.
        power: Wanted probability of a pass where both models are equally good.

    Returns:
        Examples to two digits, within one per cent; None if `MOST_EXAMPLES` are not enough, as
        always with a margin of 0.
    """
    if margin <= 0:
        return None
    room = 2 * min(baseline_accuracy, 1 - baseline_accuracy)
    discordance = max(0.0, min(churn, room))
    return _smallest(lambda n: power_at(n, discordance, margin, level) >= power)


def sample_size_as_seen(
    counts: Counts, *, margin: float, level: float, power: float = POWER
) -> int | None:
    """Return about how many examples pass with probability `power` if the change stays as seen.

    The share of discordant pairs is taken by the rule of succession, (seen + 1) / (n + 2): none
    seen among n does not prove that none exist, but they are few, and with few of them an interval
    shrinks faster than with the root of n.

    Args:
        counts: Right and wrong of both models on the same examples.
        margin: How much worse is still as good, a share.
        level: Confidence of the two-sided interval whose lower end must stay above -margin.
        power: Wanted probability of a pass.

    Returns:
        Examples to two digits, within one per cent; None if the change is not above -margin, or
        `MOST_EXAMPLES` are not enough.
    """
    broken, fixed = counts.only_baseline_right, counts.only_candidate_right
    n = counts.both_right + broken + fixed + counts.both_wrong
    change = (fixed - broken) / n
    if change <= -margin:
        return None
    discordance = min(1.0, (broken + fixed + 1) / (n + 2))
    fixed_share = min(1.0, max(0.0, (1 + change / discordance) / 2))
    return _smallest(lambda n: power_at(n, discordance, margin, level, fixed_share) >= power)


def _smallest(enough: Callable[[int], bool]) -> int | None:
    """Return the smallest number for which `enough` holds, to two digits, within one per cent."""
    high = 8
    while not enough(high):
        high *= 2
        if high > MOST_EXAMPLES:
            return None
    low = high // 2
    while high - low > max(1, _PRECISION * high):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return two_digits(high)


def power_at(
    n: int, discordance: float, margin: float, level: float, fixed_share: float = 0.5
) -> float:
    """Return the probability that `n` examples pass, for models that are equally good by default.

    Summed over the number t of discordant pairs, which is Binomial(n, `discordance`), and the
    number of fixed among them, Binomial(t, `fixed_share`). What passes passes with more fixed, and
    the least that does grows with t, so that the inner sum is updated and not done again. Where
    thousands are discordant the normal approximation is as good.
    """
    if n * discordance > _ENOUGH_FOR_NORMAL:
        change = discordance * (2 * fixed_share - 1)
        error = math.sqrt((discordance - change * change) / n)
        return _NORMAL.cdf((change + margin) / error - normal_quantile(level)) if error else 1.0
    total, fewest_fixed, tail = 0.0, 0, 1.0
    previous: int | None = None
    for t in _likely_discordant(n, discordance):
        if previous is None:
            fewest_fixed = _fewest_fixed(n, t, margin, level)
            tail = sum(_binomial(t, k, fixed_share) for k in range(fewest_fixed, t + 1))
        else:
            if fewest_fixed > 0:
                tail += _binomial(previous, fewest_fixed - 1, fixed_share) * fixed_share
            while fewest_fixed <= t and not _passes(n, t, fewest_fixed, margin, level):
                tail -= _binomial(t, fewest_fixed, fixed_share)
                fewest_fixed += 1
        previous = t
        total += _binomial(n, t, discordance) * max(tail, 0.0)
    return min(total, 1.0)


def _likely_discordant(n: int, discordance: float) -> Iterator[int]:
    mean = n * discordance
    reach = _DEVIATIONS * math.sqrt(mean * (1 - discordance)) + _DEVIATIONS
    yield from range(max(0, math.floor(mean - reach)), min(n, math.ceil(mean + reach)) + 1)


def _fewest_fixed(n: int, discordant: int, margin: float, level: float) -> int:
    """Return the smallest number of fixed that passes; `discordant` + 1 where none does."""
    low, high = 0, discordant + 1
    while low < high:
        middle = (low + high) // 2
        if middle <= discordant and not _passes(n, discordant, middle, margin, level):
            low = middle + 1
        else:
            high = middle
    return low


def _passes(n: int, discordant: int, fixed: int, margin: float, level: float) -> bool:
    """Return whether the interval's lower end is above -margin, by p and without a search."""
    counts = Counts.model_construct(
        both_right=n - discordant,
        only_baseline_right=discordant - fixed,
        only_candidate_right=fixed,
        both_wrong=0,
    )
    return p_worse_than_margin(counts, margin) > (1 + level) / 2


def _binomial(n: int, k: int, p: float) -> float:
    """Return the probability of `k` among `n`."""
    if p <= 0 or p >= 1:
        return float(k == (0 if p <= 0 else n))
    log_ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(log_ways + k * math.log(p) + (n - k) * math.log1p(-p))


def two_digits(n: int) -> int:
    """Return `n` rounded up to two significant digits."""
    unit = int(10 ** max(0, len(str(n)) - 2))
    return -(-n // unit) * unit
