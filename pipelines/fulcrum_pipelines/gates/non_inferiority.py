"""Kind nonInferiority: is the candidate as good as the baseline, but for a margin?

On paired data. The limit is -margin for metrics of which more is better, and +margin for the
others; it must be cleared, not touched. Right and wrong answers are decided by Tango's score
interval from their counts, everything else by the interval that validate recorded.
"""

from __future__ import annotations

from fulcrum_pipelines.catalog import METRICS
from fulcrum_pipelines.evidence import Comparison, Interval, ValidateDetails
from fulcrum_pipelines.gates import wording
from fulcrum_pipelines.gates.interval import Observation, declared, plausible_gain
from fulcrum_pipelines.gates.recompute import counts_of, name_of, paired_interval
from fulcrum_pipelines.gates.records import ALL, find_comparison
from fulcrum_pipelines.gates.undecided import anomalous, inconclusive
from fulcrum_pipelines.gates.verdict import Limit
from fulcrum_pipelines.resources.compressionjob import Gate, GateSlice
from fulcrum_pipelines.statistics import p_worse_than_margin


def limit(gate: Gate, part: GateSlice | None) -> Limit:
    """Return how far the change may go the wrong way."""
    own = None if part is None else declared(part.margin, "slice margin")
    margin = declared(gate.margin, "margin") if own is None else own
    if gate.metric is None or margin is None:
        raise inconclusive("the gate names no metric or no margin")
    if METRICS[gate.metric].direction == "higher":
        return Limit(minimum=-margin, strict=True)
    return Limit(maximum=margin, strict=True)


def observe(gate: Gate, details: ValidateDetails, where: str, limit: Limit) -> Observation:
    """Return the change of the metric on slice `where`."""
    metric = str(gate.metric)
    margin = limit.maximum if limit.minimum is None else -limit.minimum
    comparison = find_comparison(details, metric, where, gate.confidence, margin)
    interval = paired_interval(comparison, gate.confidence)
    delta = comparison.delta or 0.0
    show = wording.points if METRICS[metric].share else wording.signed
    units = comparison.n if comparison.groups is None else comparison.groups
    if where != ALL or units >= gate.min_samples:
        _check_gain(gate, comparison, interval, show)
    return Observation(
        subject=f"{metric} on {where} data" if where == ALL else f"{metric} on {where}",
        value=delta,
        interval=interval,
        n=units,
        show=show,
        unit="examples" if comparison.groups is None else "groups",
        detail=_counted(comparison),
        p_break=_p_break(comparison, margin or 0.0),
        counts=counts_of(comparison),
        untested=comparison.untested or 0.0,
    )


def _p_break(comparison: Comparison, margin: float) -> float | None:
    counts = counts_of(comparison)
    if counts is not None:
        return p_worse_than_margin(counts, margin)
    return comparison.p_inferior if comparison.margin == margin else None


def _check_gain(gate: Gate, comparison: Comparison, interval: Interval, show: wording.Show) -> None:
    """Refuse a gain that compression does not bring; on a slice only if it is no chance."""
    most = plausible_gain(gate, comparison.metric)
    if most is None:
        return
    higher = comparison.direction == "higher"
    whole = comparison.slice == ALL
    seen = (comparison.delta or 0.0) if whole else (interval.low if higher else interval.high)
    if (seen if higher else -seen) > most:
        raise anomalous(
            f"{name_of(comparison)} {show(comparison.delta or 0.0)} is a larger gain than is "
            f"plausible (maxGain {wording.number(most)}); look for a leak between the data sets "
            "or a baseline that was evaluated wrongly"
        )


def _counted(comparison: Comparison) -> str:
    counts = comparison.counts
    if counts is None:
        return ""
    return f"{counts.only_baseline_right} broken, {counts.only_candidate_right} fixed"
