"""Kind drift: did a metric move at all, for better or worse? The example of how to add a kind."""

from __future__ import annotations

from fulcrum_pipelines.catalog import METRICS
from fulcrum_pipelines.evidence import ValidateDetails
from fulcrum_pipelines.gates import wording
from fulcrum_pipelines.gates.interval import Observation, declared
from fulcrum_pipelines.gates.recompute import paired_interval
from fulcrum_pipelines.gates.records import find_comparison
from fulcrum_pipelines.gates.undecided import inconclusive
from fulcrum_pipelines.gates.verdict import Limit
from fulcrum_pipelines.resources.compressionjob import Gate, GateSlice


def limit(gate: Gate, part: GateSlice | None) -> Limit:
    """Return how far the metric may move either way."""
    if (most := declared(gate.max, "max")) is None:
        raise inconclusive("the gate names no max")
    return Limit(minimum=-most, maximum=most)


def observe(gate: Gate, details: ValidateDetails, where: str, limit: Limit) -> Observation:
    """Return the change of the metric on slice `where`."""
    metric = str(gate.metric)
    comparison = find_comparison(details, metric, where, gate.confidence)
    return Observation(
        subject=f"drift of {metric} on {where}",
        value=comparison.delta or 0.0,
        interval=paired_interval(comparison, gate.confidence),
        n=comparison.n if comparison.groups is None else comparison.groups,
        show=wording.points if METRICS[metric].share else wording.signed,
        unit="examples" if comparison.groups is None else "groups",
    )
