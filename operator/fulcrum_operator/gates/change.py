"""Kind change: how far did a metric move, relative to the baseline's?

The interval is that of the paired change, divided by the baseline's value, which is taken as known;
both models saw the same examples, so nearly all of the uncertainty is in the change.
"""

from __future__ import annotations

from fulcrum_operator.gates import wording
from fulcrum_operator.gates.interval import Observation, declared
from fulcrum_operator.gates.recompute import paired_interval
from fulcrum_operator.gates.records import find_comparison
from fulcrum_operator.gates.undecided import inconclusive
from fulcrum_operator.gates.verdict import Limit
from fulcrum_pipelines.evidence import ValidateDetails
from fulcrum_pipelines.resources.compressionjob import Gate, GateSlice


def limit(gate: Gate, part: GateSlice | None) -> Limit:
    """Return the declared bounds of candidate / baseline - 1."""
    low, high = declared(gate.min, "min"), declared(gate.max, "max")
    if gate.metric is None or (low is None and high is None):
        raise inconclusive("the gate names no metric, or neither min nor max")
    return Limit(minimum=low, maximum=high)


def observe(gate: Gate, details: ValidateDetails, where: str, limit: Limit) -> Observation:
    """Return the relative change of the metric on slice `where`."""
    metric = str(gate.metric)
    comparison = find_comparison(details, metric, where, gate.confidence)
    interval = paired_interval(comparison, gate.confidence)
    baseline = comparison.baseline or 0.0
    if baseline <= 0:
        raise inconclusive(
            f"the baseline's {metric} on {where} is {wording.number(baseline)}; a relative change "
            "needs a value above 0, use kind nonInferiority"
        )
    relative = interval.model_copy(
        update={"low": interval.low / baseline, "high": interval.high / baseline}
    )
    return Observation(
        subject=f"relative change of {metric} on {where}",
        value=(comparison.delta or 0.0) / baseline,
        interval=relative,
        n=comparison.n if comparison.groups is None else comparison.groups,
        show=wording.signed_percent,
        unit="examples" if comparison.groups is None else "groups",
    )
