"""Kind calibration: does the candidate's confidence still mean what it says (ECE)?

Bounds the candidate's expected calibration error itself. Its fall from the baseline's is checked
for plausibility only.
"""

from __future__ import annotations

from fulcrum_pipelines.catalog import GATE_KINDS
from fulcrum_pipelines.evidence import ValidateDetails
from fulcrum_pipelines.gates import wording
from fulcrum_pipelines.gates.interval import Observation, declared, plausible_gain
from fulcrum_pipelines.gates.recompute import metric_interval
from fulcrum_pipelines.gates.records import ALL, find_metric
from fulcrum_pipelines.gates.undecided import anomalous, finite, inconclusive
from fulcrum_pipelines.gates.verdict import Limit
from fulcrum_pipelines.resources.compressionjob import Gate, GateSlice

METRIC = str(GATE_KINDS["calibration"].metric)


def limit(gate: Gate, part: GateSlice | None) -> Limit:
    """Return the largest accepted error."""
    if (high := declared(gate.max, "max")) is None:
        raise inconclusive("the gate names no max")
    return Limit(maximum=high)


def observe(gate: Gate, details: ValidateDetails, where: str, limit: Limit) -> Observation:
    """Return the candidate's calibration error on slice `where`."""
    metric = find_metric(details.metrics_candidate, METRIC, where, gate.confidence)
    what = f"the candidate's {METRIC} on {where}"
    value = finite(metric.value, what, metric.note)
    interval = metric_interval(metric, gate.confidence, what)
    units = metric.n if metric.groups is None else metric.groups
    if where == ALL and units >= gate.min_samples:
        _check_gain(gate, details, value)
    return Observation(
        subject=what,
        value=value,
        interval=interval,
        n=units,
        show=wording.percent,
        unit="examples" if metric.groups is None else "groups",
    )


def _check_gain(gate: Gate, details: ValidateDetails, value: float) -> None:
    most = plausible_gain(gate, METRIC)
    before = find_metric(details.metrics_baseline, METRIC, ALL, gate.confidence)
    gain = finite(before.value, f"the baseline's {METRIC}", before.note) - value
    if most is not None and gain > most:
        raise anomalous(
            f"the calibration error fell by {wording.percent(gain)}, more than is plausible "
            f"(maxGain {wording.number(most)}); look for a leak between the data sets"
        )
