"""Would the gates let a model pass that always gives the same answer?

The margin of a non-inferiority trial must be smaller than the whole effect of the treatment that is
compared with, since otherwise a placebo passes (FDA, Non-Inferiority Clinical Trials to Establish
Effectiveness, 2016). Here the placebo is the constant answer whose metrics stage evaluate recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fulcrum_pipelines.catalog import GATE_KINDS, METRICS
from fulcrum_pipelines.evidence import ConfusionMatrix, EvaluateDetails, Interval, Metric
from fulcrum_pipelines.gates import wording
from fulcrum_pipelines.gates.interval import judge
from fulcrum_pipelines.gates.kinds import limit_of
from fulcrum_pipelines.gates.records import ALL
from fulcrum_pipelines.gates.undecided import Undecided
from fulcrum_pipelines.resources.compressionjob import Gate


def looks_at_answers(gate: Gate) -> bool:
    """Return whether a model that became worse can miss `gate` for that."""
    kind = GATE_KINDS[gate.kind]
    if kind.measures != "metrics":
        return False
    return not METRICS[kind.metric_of(gate.metric)].constant_is_perfect


def too_loose(
    details: EvaluateDetails, metrics: Sequence[Metric], gates: Sequence[Gate]
) -> Iterator[str]:
    """Yield one line if each enforced gate on answers is kept by a constant answer.

    Args:
        details: What stage evaluate recorded; nothing is yielded if a weak baseline is allowed, or
            if an older version recorded no constant answer.
        metrics: The baseline's.
        gates: All gates; those that look at no answers do not count.
    """
    if details.weak_baseline_allowed:
        return
    constant = {each.name: each.value for each in details.constant_answer}
    baseline = {each.name: each.value for each in metrics if each.slice == ALL}
    kept, constants = [], set()
    for gate in gates:
        if gate.mode != "Enforce" or not looks_at_answers(gate):
            continue
        name = GATE_KINDS[gate.kind].metric_of(gate.metric)
        ours, theirs = baseline.get(name), constant.get(name)
        if gate.slices or ours is None or theirs is None:
            return  # on slices a constant may be worse than on all data
        value = _value(gate, ours, theirs, details.confusion)
        if value is None or not _keeps(gate, value):
            return
        constants.add(METRICS[name].best_constant)
        kept.append(f"{gate.name} ({name} {wording.number(theirs)})")
    if len(constants) == 1:  # else it would have to be two answers at once
        yield (
            f"the gates would let an answer pass that is always the same: {', '.join(kept)}; set "
            "a margin or limit that is smaller than what the baseline is better by"
        )


def _value(
    gate: Gate, baseline: float, constant: float, confusion: ConfusionMatrix | None
) -> float | None:
    """Return the figure of a constant answer that `gate` decides on, or None if it is unknown."""
    match GATE_KINDS[gate.kind].value:
        case "metric":
            return constant
        case "metric change":
            return constant - baseline
        case "relative change":
            return constant / baseline - 1 if baseline > 0 else None
        case "share":
            return None if confusion is None else _churn(confusion)
        case _:
            return None


def _churn(confusion: ConfusionMatrix) -> float | None:
    """Return the share of the baseline's answers that are not the most frequent class."""
    rows = [sum(row) for row in confusion.counts]
    n = sum(rows)
    if not n:
        return None
    most = rows.index(max(rows))
    return 1 - sum(row[most] for row in confusion.counts) / n


def _keeps(gate: Gate, value: float) -> bool:
    """Return whether a model with the figure `value` keeps the limit of `gate` on all data."""
    try:
        limit = limit_of(gate)
    except Undecided:
        return False
    point = Interval(level=gate.confidence, low=value, high=value, method="constant answer")
    return limit is not None and judge(point, limit) == "Pass"
