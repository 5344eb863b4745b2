"""Kind change: how far did a metric move, relative to the baseline's?

The interval combines that of the paired change and that of the baseline's value, which is not
known exactly either: if it is small, a few more examples may double it.
"""

from __future__ import annotations

from fulcrum_pipelines.catalog import METRICS
from fulcrum_pipelines.evidence import Comparison, Interval, ValidateDetails
from fulcrum_pipelines.gates import wording
from fulcrum_pipelines.gates.interval import Observation, declared
from fulcrum_pipelines.gates.recompute import (
    counts_of,
    metric_interval,
    paired_interval,
    share_interval,
)
from fulcrum_pipelines.gates.records import find_comparison, find_metric
from fulcrum_pipelines.gates.undecided import inconclusive
from fulcrum_pipelines.gates.verdict import Limit
from fulcrum_pipelines.resources.compressionjob import Gate, GateSlice
from fulcrum_pipelines.statistics import ratio_interval


def limit(gate: Gate, part: GateSlice | None) -> Limit:
    """Return the declared bounds of candidate / baseline - 1."""
    low, high = declared(gate.min, "min"), declared(gate.max, "max")
    if gate.metric is None or (low is None and high is None):
        raise inconclusive("the gate names no metric, or neither min nor max")
    return Limit(minimum=low, maximum=high)


def observe(gate: Gate, details: ValidateDetails, where: str, limit: Limit) -> Observation:
    """Return the relative change of the metric on slice `where`."""
    metric = str(gate.metric)
    if METRICS[metric].raised_by_noise:
        raise inconclusive(
            f"a relative change of {metric} cannot be bounded, since noise raises the baseline's; "
            "use kind calibration or nonInferiority"
        )
    comparison = find_comparison(details, metric, where, gate.confidence)
    interval = paired_interval(comparison, gate.confidence)
    baseline = comparison.baseline or 0.0
    if baseline <= 0:
        raise inconclusive(
            f"the baseline's {metric} on {where} is {wording.number(baseline)}; a relative change "
            "needs a value above 0, use kind nonInferiority"
        )
    relative = ratio_interval(
        comparison.delta or 0.0,
        interval,
        baseline,
        _of_baseline(details, comparison, gate.confidence),
    )
    if relative is None:
        raise inconclusive(
            f"the baseline's {metric} on {where}, {wording.number(baseline)}, is not known well "
            "enough to divide by; use kind nonInferiority or more examples"
        )
    return Observation(
        subject=f"relative change of {metric} on {where}",
        value=(comparison.delta or 0.0) / baseline,
        interval=relative,
        n=comparison.n if comparison.groups is None else comparison.groups,
        show=wording.signed_percent,
        unit="examples" if comparison.groups is None else "groups",
    )


def _of_baseline(details: ValidateDetails, comparison: Comparison, level: float) -> Interval:
    """Return the interval of the baseline's own metric, from counts where there are some.

    Raises:
        Undecided: No interval at `level` exists.
    """
    name, where = comparison.metric, comparison.slice
    found = find_metric(details.metrics_baseline, name, where, level)
    what = f"the baseline's {name} on {where}"
    if counts := counts_of(comparison):
        right = counts.both_right + counts.only_baseline_right
        return share_interval(found.interval, right, comparison.n, level, what)
    return metric_interval(found, level, what)
