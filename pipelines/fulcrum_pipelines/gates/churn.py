"""Kind churn: which share of the answers changed, right or wrong?

Equal accuracy can hide many changed answers, which users of the old model notice.
"""

from __future__ import annotations

from fulcrum_pipelines.catalog import GATE_KINDS
from fulcrum_pipelines.evidence import Comparison, Interval, ValidateDetails
from fulcrum_pipelines.gates import wording
from fulcrum_pipelines.gates.interval import Observation, declared
from fulcrum_pipelines.gates.recompute import check_comparison, recorded_interval, share_interval
from fulcrum_pipelines.gates.undecided import agree, anomalous, finite, inconclusive
from fulcrum_pipelines.gates.verdict import Limit
from fulcrum_pipelines.resources.compressionjob import Gate, GateSlice

METRIC = str(GATE_KINDS["churn"].metric)
"""The comparison that carries the churn."""


def limit(gate: Gate, part: GateSlice | None) -> Limit:
    """Return the largest accepted share."""
    if (high := declared(gate.max, "max")) is None:
        raise inconclusive("the gate names no max")
    return Limit(maximum=high)


def observe(gate: Gate, details: ValidateDetails, where: str, limit: Limit) -> Observation:
    """Return the share of changed answers on slice `where`."""
    comparison = _find(details, where, gate.confidence)
    what = f"the churn on {where}"
    churn = finite(comparison.churn, what, comparison.note)
    if not 0 <= churn <= 1:
        raise anomalous(f"{what} is {churn}, which is not a share")
    independent = comparison.groups is None
    return Observation(
        subject=f"share of changed answers on {where}",
        value=churn,
        interval=_interval(comparison, churn, gate.confidence, what),
        n=comparison.n if comparison.groups is None else comparison.groups,
        show=wording.percent,
        unit="examples" if independent else "groups",
    )


def _find(details: ValidateDetails, where: str, level: float) -> Comparison:
    found = [each for each in details.comparisons if (each.metric, each.slice) == (METRIC, where)]
    if not found:
        raise inconclusive(f"the evidence has no churn on {where}")
    for comparison in found:
        check_comparison(comparison)
    if len({(comparison.n, comparison.churn) for comparison in found}) > 1:
        raise anomalous(f"the evidence has different values of churn on {where}")
    return max(
        found,
        key=lambda each: (
            each.churn_interval is not None and agree(each.churn_interval.level, level)
        ),
    )


def _interval(comparison: Comparison, churn: float, level: float, what: str) -> Interval:
    if comparison.groups is not None or comparison.n == 0:
        return recorded_interval(comparison.churn_interval, level, what)
    changed = round(churn * comparison.n)
    if not agree(churn * comparison.n, changed):
        raise anomalous(f"altered evidence: {what} is no whole number of {comparison.n} answers")
    counts = comparison.counts
    if counts is not None:
        discordant = counts.only_baseline_right + counts.only_candidate_right
        if changed < discordant or changed > discordant + counts.both_wrong:
            raise anomalous(f"altered evidence: {what} does not fit the counts of right and wrong")
    return share_interval(comparison.churn_interval, changed, comparison.n, level, what)
