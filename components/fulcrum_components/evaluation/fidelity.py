"""How well a candidate keeps the outputs after the first, with intervals.

Those outputs mostly have no right answers among the data: the baseline's are what they must stay.
Both figures are means over examples, so the bootstrap of the metrics serves them too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from fulcrum_components.evaluation.bootstrap import (
    Replicates,
    StatisticPair,
    paired_replicates,
    replicates_for,
    unit_numbers,
)
from fulcrum_components.evaluation.differing import CONSTANT, Differences
from fulcrum_components.evaluation.statistic import SumStatistic, mean_statistic, summed_by_unit
from fulcrum_components.tasks import Array, Outcomes
from fulcrum_pipelines.evidence import Interval, OutputFidelity
from fulcrum_pipelines.fidelity_limits import MAX_RELATIVE_ERROR, MIN_AGREEMENT
from fulcrum_pipelines.resources.compressionjob import Gate
from fulcrum_pipelines.statistics import proportion_interval

DEFAULT_CONFIDENCE = 0.95

WORSE_UNSEEN = 2.0
"""With 1, lognormal squared errors (sigma 1) at the limit pass in 5.9 % of 2000 sets of 50 examples
and 4.2 % of 160, with 2 in well below the nominal 2.5 %."""


def fidelity_levels(gates: Sequence[Gate], output: str) -> tuple[float, ...]:
    """Return the confidences at which gates look at `output`, that of the default gate first."""
    asked = [gate.confidence for gate in gates if gate.output == output]
    return tuple(dict.fromkeys([DEFAULT_CONFIDENCE, *asked]))


def fidelity_of(
    differences: Differences,
    *,
    level: float = DEFAULT_CONFIDENCE,
    groups: Array | None = None,
    seed: int = 0,
) -> OutputFidelity:
    """Return relative error and agreement of one output.

    The relative error is the root of the sum of squared differences, over all examples and values,
    divided by that of the baseline's squared distances from its mean, which is each value's own
    mean over the examples: its standard deviation. Values of an output with few of them are divided
    by their own standard deviations first (`MOST_VALUES`). An output that is constant is divided by
    its root mean square, and one that is zero everywhere has error 1 if anything differs. An
    example on which NaN, infinity, fill values or shapes differ counts as wholly wrong.

    Args:
        differences: Of the output.
        level: Confidence of the intervals.
        groups: What examples belong together, (n,) or longer; None if they are independent.
        seed: Of the bootstrap.
    """
    n = len(differences)
    groups = None if groups is None else groups[:n]
    features, reference = _error_features(differences)
    statistics: dict[str, SumStatistic] = {}
    units = _units(n, groups, seed)
    if features is not None:
        statistics["error"] = SumStatistic(summed_by_unit(features, units), _root_ratio)
    if differences.same is not None:
        statistics["agreement"] = mean_statistic(differences.same, units)
    sampled = _sampled(statistics, int(units.max()) + 1, level, seed)
    error = None if features is None else float(_root_ratio(features.sum(axis=0)[None])[0])
    agreement = None if differences.same is None else float(differences.same.mean())
    return OutputFidelity(
        output=differences.spec.name,
        kind=differences.spec.dtype,
        n=n,
        groups=None if groups is None else len(np.unique(groups)),
        unit="calls" if differences.by_call else "examples",
        reference=reference,
        relative_error=error,
        relative_error_interval=_error_interval(statistics, sampled, level),
        answer=differences.answer,
        agreement=agreement,
        agreement_interval=_agreement_interval(differences, groups, sampled, level),
        wrong=int(differences.wrong.sum()),
        not_finite=int(differences.not_finite.sum()),
    )


def lost_outputs(
    differences: Mapping[str, Differences], gates: Sequence[Gate] = ()
) -> tuple[str, ...]:
    """Return a line for each output that is not kept, by an enforced gate's limits or the default.

    Values decide, not intervals: what is nearly kept is for the test data to decide.
    """
    found = []
    for name, each in differences.items():
        record, (high, low) = fidelity_of(each), _limits(name, gates)
        error, agreement = record.relative_error, record.agreement
        if record.not_finite:
            found.append(f"output '{name}' becomes NaN or infinite")
        elif error is not None and high is not None and error > high:
            found.append(
                f"output '{name}' has a relative error of {error:.1%}, {high:.1%} is allowed"
            )
        elif agreement is not None and low is not None and agreement < low:
            found.append(
                f"output '{name}' gives the same answer on {agreement:.1%}, {low:.1%} is needed"
            )
    return tuple(found)


def _limits(output: str, gates: Sequence[Gate]) -> tuple[float | None, float | None]:
    """Return the largest relative error and the smallest agreement that `output` may have."""
    own = [gate for gate in gates if gate.output == output and gate.mode == "Enforce"]
    if not own:
        return MAX_RELATIVE_ERROR, MIN_AGREEMENT
    highs = [gate.max for gate in own if gate.max is not None]
    lows = [gate.min for gate in own if gate.min is not None]
    return min(highs, default=None), max(lows, default=None)


def _error_features(differences: Differences) -> tuple[Array | None, str]:
    """Return squared difference and reference of each example, (n, 2), and what the latter is."""
    if differences.squared is None:
        return None, ""
    spread, power = differences.spread, differences.power
    name, reference = "standard deviation", spread
    if spread.sum() <= CONSTANT * power.sum():
        name, reference = "root mean square", power
    squared = differences.squared
    if reference.sum() == 0:
        name, reference = "none", np.ones(len(spread))
        squared = (squared > 0).astype(np.float64)
    whole = np.maximum(np.maximum(squared, reference), reference.mean())
    squared = np.where(differences.wrong, whole, squared)
    return np.stack([squared, reference], axis=1), name


def _root_ratio(sums: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Array = np.sqrt(sums[:, 0] / sums[:, 1])
    return result


def _units(n: int, groups: Array | None, seed: int) -> Array:
    blank = Outcomes(np.zeros((n, 1)), np.zeros(n))
    return unit_numbers(blank, groups, seed)


def _sampled(
    statistics: Mapping[str, SumStatistic], units: int, level: float, seed: int
) -> dict[str, Replicates]:
    if units < 2 or not statistics:
        return {}
    pairs: list[StatisticPair] = [(statistic, None) for statistic in statistics.values()]
    found = paired_replicates(pairs, units, replicates_for([level]), seed)
    return {name: each for name, each in zip(statistics, found, strict=True) if len(each.resampled)}


def _error_interval(
    statistics: Mapping[str, SumStatistic], sampled: Mapping[str, Replicates], level: float
) -> Interval | None:
    """Return the bootstrap's interval, and at least what so few examples cannot exclude.

    At `level`, a share of -ln((1 - level) / 2) / n of all examples may be unseen; had those
    `WORSE_UNSEEN` times the squared error of the worst seen, the upper bound would be this.
    """
    if "error" not in sampled:
        return None
    squared, reference = statistics["error"].features.T
    unseen = -math.log((1 - level) / 2) * WORSE_UNSEEN * float(squared.max())
    floor = math.sqrt((float(squared.sum()) + unseen) / float(reference.sum()))
    interval = sampled["error"].interval(level)
    return interval.model_copy(
        update={
            "low": min(max(0.0, interval.low), sampled["error"].value),
            "high": max(interval.high, floor),
            "method": f"{interval.method}, upper bound with unseen worst cases",
        }
    )


def _agreement_interval(
    differences: Differences, groups: Array | None, sampled: Mapping[str, Replicates], level: float
) -> Interval | None:
    """Return the exact interval; with groups that of as many, and at least the bootstrap's."""
    if differences.same is None:
        return None
    share = float(differences.same.mean())
    if groups is None:
        return _of_share(share, len(differences), level)
    if "agreement" not in sampled:
        return None
    few = _of_share(share, len(np.unique(groups)), level)
    resampled = sampled["agreement"].interval(level)
    return Interval(
        level=level,
        low=max(0.0, min(few.low, resampled.low)),
        high=min(1.0, max(few.high, resampled.high)),
        method=f"{few.method} of groups or {resampled.method}",
    )


def _of_share(share: float, n: int, level: float) -> Interval:
    """Return the exact interval of a share of n, of which parts of examples may count."""
    low = proportion_interval(math.floor(share * n + 1e-9), n, level)
    high = proportion_interval(math.ceil(share * n - 1e-9), n, level)
    return low.model_copy(update={"high": high.high})
