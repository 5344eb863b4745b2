"""Kind threshold: is the candidate's metric itself within bounds, for any baseline?

Shares of right answers are decided by the exact interval from their counts, everything else by the
interval that validate recorded.
"""

from __future__ import annotations

from fulcrum_pipelines.catalog import METRICS
from fulcrum_pipelines.evidence import Interval, Metric, ValidateDetails
from fulcrum_pipelines.gates import wording
from fulcrum_pipelines.gates.interval import Observation, declared
from fulcrum_pipelines.gates.recompute import counts_of, metric_interval, share_interval
from fulcrum_pipelines.gates.records import find_comparison, find_metric
from fulcrum_pipelines.gates.undecided import agree, anomalous, finite, inconclusive
from fulcrum_pipelines.gates.verdict import Limit
from fulcrum_pipelines.resources.compressionjob import Gate, GateSlice


def limit(gate: Gate, part: GateSlice | None) -> Limit:
    """Return the declared bounds."""
    low, high = declared(gate.min, "min"), declared(gate.max, "max")
    if gate.metric is None or (low is None and high is None):
        raise inconclusive("the gate names no metric, or neither min nor max")
    return Limit(minimum=low, maximum=high)


def observe(gate: Gate, details: ValidateDetails, where: str, limit: Limit) -> Observation:
    """Return the candidate's metric on slice `where`."""
    name = str(gate.metric)
    metric = find_metric(details.metrics_candidate, name, where, gate.confidence)
    return Observation(
        subject=f"the candidate's {name} on {where}",
        value=finite(metric.value, f"{name} on {where}", metric.note),
        interval=_interval(gate, details, metric),
        n=metric.n if metric.groups is None else metric.groups,
        show=wording.percent if METRICS[name].share else wording.number,
        unit="examples" if metric.groups is None else "groups",
        untested=metric.untested or 0.0,
    )


def _interval(gate: Gate, details: ValidateDetails, metric: Metric) -> Interval:
    what = f"the candidate's {metric.name} on {metric.slice}"
    if not METRICS[metric.name].counted:
        return metric_interval(metric, gate.confidence, what)
    comparison = find_comparison(details, metric.name, metric.slice, gate.confidence)
    if not agree(comparison.candidate or 0.0, metric.value or 0.0) or comparison.n != metric.n:
        raise anomalous(f"altered evidence: {what} is recorded with two different values")
    counts = counts_of(comparison)
    if counts is None:
        return metric_interval(metric, gate.confidence, what)
    right = counts.both_right + counts.only_candidate_right
    return share_interval(metric.interval, right, comparison.n, gate.confidence, what)
