"""Would the gates let a model pass that always gives the same answer?

The margin of a non-inferiority trial must be smaller than the whole effect of the treatment that is
compared with, since otherwise a placebo passes (FDA, Non-Inferiority Clinical Trials to Establish
Effectiveness, 2016). Here the placebo is the constant answer whose metrics stage evaluate recorded.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Sequence

from fulcrum_pipelines.catalog import GATE_KINDS, METRICS
from fulcrum_pipelines.evidence import EvaluateDetails, Interval, Metric
from fulcrum_pipelines.gates import wording
from fulcrum_pipelines.gates.interval import judge
from fulcrum_pipelines.gates.kinds import module_name
from fulcrum_pipelines.gates.records import ALL
from fulcrum_pipelines.gates.undecided import Undecided
from fulcrum_pipelines.resources.compressionjob import Gate


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
    kept = []
    for gate in gates:
        kind = GATE_KINDS[gate.kind]
        if gate.mode != "Enforce" or kind.measures != "metrics":
            continue
        name = kind.metric_of(gate.metric)
        if METRICS[name].constant_is_perfect:
            continue
        ours, theirs = baseline.get(name), constant.get(name)
        if ours is None or theirs is None or not _keeps(gate, ours, theirs):
            return
        kept.append(f"{gate.name} ({name} {wording.number(theirs)})")
    if kept:
        yield (
            f"the gates would let an answer pass that is always the same: {', '.join(kept)}; set "
            "a margin or limit that is smaller than what the baseline is better by"
        )


def _keeps(gate: Gate, baseline: float, constant: float) -> bool:
    """Return whether a model with the metric `constant` keeps the limit of `gate` on all data."""
    value = {
        "metric": constant,
        "metric change": constant - baseline,
        "relative change": constant / baseline - 1 if baseline > 0 else math.inf,
        "share": max(0.0, baseline - constant),  # right answers that are lost are changed ones
    }[GATE_KINDS[gate.kind].value]
    limit = getattr(importlib.import_module(module_name(gate.kind)), "limit", None)
    if limit is None:
        return False
    try:
        kept = limit(gate, None)
    except Undecided:
        return False
    point = Interval(level=gate.confidence, low=value, high=value, method="constant answer")
    return judge(point, kept) == "Pass"
