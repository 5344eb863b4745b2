"""Does the baseline mean what is thought, and is it good for anything?

A comparison with a baseline whose outputs are misread proves nothing: a ruined candidate gives the
same wrong answers. Pure, because stage evaluate warns by these rules and the operator decides by
them, from the same evidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from fulcrum_pipelines.catalog import GATE_KINDS, MAIN_METRICS, RANKS
from fulcrum_pipelines.evidence import (
    Comparison,
    EvaluateDetails,
    FirstOutput,
    Metric,
    ValidateDetails,
)
from fulcrum_pipelines.resources.compressionjob import Gate

SUM_TOLERANCE = 0.01
"""How far the probabilities of one example may sum from 1. Over 2 to 32,000 classes, 500 examples
each, a softmax in float32 missed 1 by up to 4e-6, in float16 by 7e-4, in bfloat16 by 3e-3."""

ENOUGH_EXAMPLES = 20
"""From this many on, outputs that never leave [0, 1] are no chance: logits of fewer may."""

CUT_SHARE, CUT_Z = 0.05, 3.3
"""How much better a cut of one logit at 0.5 must be before it is asked whether it is a logit: a
share of the examples, and McNemar's z. Logits seldom lie between 0 and 0.5, scores that were fitted
to 0 and 1 half of the time."""

ALONE_ERROR = 0.1
"""Relative error from which on an example's outputs count as dependent on others in its batch.
Integers whose ranges are found batch by batch move them by 0.3 to 3.8 % (docs/gates.md)."""


def contradiction(details: EvaluateDetails) -> str | None:
    """Return why the first output cannot hold what is thought, or None if it can."""
    first = details.first_output
    refute = None if first is None else _REFUTING.get(first.meaning)
    return None if first is None or refute is None else refute(first, details)


def _shown(first: FirstOutput, details: EvaluateDetails) -> str:
    return f"from {first.low:.4g} to {first.high:.4g} on {details.test_examples} test examples"


def _within(first: FirstOutput) -> bool:
    return first.low >= -SUM_TOLERANCE and first.high <= 1 + SUM_TOLERANCE


def _no_probabilities(first: FirstOutput, details: EvaluateDetails) -> str | None:
    if not _within(first):
        shown = _shown(first, details)
        return f"the outputs are taken for probabilities, but go {shown}; {_say('logits')}"
    if first.sum_low is None or (_is_one(first.sum_low) and _is_one(first.sum_high)):
        return None
    return (
        "the outputs are taken for probabilities, but those of one example sum to between "
        f"{first.sum_low:.4g} and {first.sum_high:.4g}, not to 1 (a sigmoid for each "
        f"class?); end the model with a softmax, or {_say('logits')}"
    )


def _no_logits(first: FirstOutput, details: EvaluateDetails) -> str | None:
    shown = _shown(first, details)
    if _within(first) and _is_one(first.sum_low) and _is_one(first.sum_high):
        return (
            f"the outputs are taken for logits, but go {shown}, and those of each example sum to "
            f"1: do they mean probabilities? Then {_say('probabilities')}"
        )
    enough = details.test_examples >= ENOUGH_EXAMPLES
    if first.low >= 0 and first.high <= 1 and enough and not details.weak_baseline_allowed:
        return (
            f"the outputs are taken for logits, but go {shown} and never leave [0, 1]: do they "
            f"mean probabilities? Then {_say('probabilities')}; if they are logits, set "
            "spec.allowWeakBaseline"
        )
    return None


_REFUTING: Final[dict[str, Callable[[FirstOutput, EvaluateDetails], str | None]]] = {
    "probabilities": _no_probabilities,
    "logits": _no_logits,
}
"""By meaning, what shows that outputs do not have it. Values may be any numbers."""


def _is_one(total: float | None) -> bool:
    return total is not None and abs(total - 1) <= SUM_TOLERANCE


def _say(meaning: str) -> str:
    return f"set meaning: {meaning} in fulcrum.yaml (for .pt2 and ONNX in the manifest)"


def weaknesses(
    details: EvaluateDetails, metrics: Sequence[Metric], gates: Sequence[Gate]
) -> Iterator[str]:
    """Yield why a comparison with this baseline proves nothing, one line each.

    Args:
        details: What stage evaluate recorded.
        metrics: The baseline's, with intervals.
        gates: Those that are asked; with a metric of theirs by which the baseline is measurably
            better than a constant answer, a candidate that lost everything cannot pass.
    """
    first = details.first_output
    if first is None or details.weak_baseline_allowed:
        return
    if first.only_class is not None and not _ranks_better(details, metrics, gates):
        yield (
            f"do the outputs mean {first.meaning}? The baseline answers class {first.only_class} "
            f"on all {details.test_examples} test examples, {_ALLOW}"
        )
        return
    yield from depends_on_batch("baseline", details)
    named = _named(gates)
    if not named or not RANKS.issuperset(named):  # ranks need no cut
        yield from _cut_elsewhere(first, details.test_examples)
    found = _no_better_by_any("baseline", details, metrics, gates)
    if found:
        yield f"{_question(first)} {'; '.join(found)}, {_ALLOW}"


def ruin(
    evaluate: EvaluateDetails, details: ValidateDetails, gates: Sequence[Gate]
) -> Iterator[str]:
    """Yield that nothing is left of the candidate, whatever the gates look at.

    It answers no better than a constant, although the baseline does, and measurably worse than the
    baseline. Of a baseline that is hardly better than a constant itself, an honest candidate may
    be neither.
    """
    if evaluate.weak_baseline_allowed:
        return
    if _no_better_by_any("baseline", evaluate, details.metrics_baseline, gates):
        return
    worse = {
        each.metric
        for each in details.comparisons
        if each.slice == "all" and each.interval is not None and _is_worse(each)
    }
    rows = _rows(evaluate, details.metrics_candidate)
    asked = _asked(gates, rows)
    found = _no_better_by_any("candidate", evaluate, details.metrics_candidate, gates)
    if found and worse.issuperset(asked):
        yield f"nothing is left of the model: {'; '.join(found)}"


def _ranks_better(
    details: EvaluateDetails, metrics: Sequence[Metric], gates: Sequence[Gate]
) -> bool:
    """Return whether a gate looks at ranks, by which the baseline is better than a constant."""
    rows = _rows(details, metrics)
    return any(
        name in RANKS and name in rows and _no_better("baseline", *rows[name]) is None
        for name in _named(gates)
    )


def _is_worse(comparison: Comparison) -> bool:
    """Return whether the candidate is measurably worse than the baseline."""
    interval = comparison.interval
    assert interval is not None
    return interval.high < 0 if comparison.direction == "higher" else interval.low > 0


def _named(gates: Sequence[Gate]) -> list[str | None]:
    """Return the metrics that enforced gates name."""
    return [
        gate.metric
        for gate in gates
        if gate.mode == "Enforce" and GATE_KINDS[gate.kind].names_metric
    ]


def _asked(gates: Sequence[Gate], rows: Mapping[str, object]) -> list[str]:
    """Return the metrics of `rows` that gates name, else the main ones of tasks."""
    asked = [str(name) for name in dict.fromkeys(_named(gates)) if name in rows]
    return asked or [name for name in MAIN_METRICS if name in rows]


def _no_better_by_any(
    model: str, details: EvaluateDetails, metrics: Sequence[Metric], gates: Sequence[Gate]
) -> list[str]:
    """Return why `model` is no better than a constant, empty if it is by one asked metric."""
    rows = _rows(details, metrics)
    found = [_no_better(model, *rows[name]) for name in _asked(gates, rows)]
    return [each for each in found if each is not None] if all(found) else []


def depends_on_batch(model: str, details: EvaluateDetails) -> Iterator[str]:
    """Yield that answers of `model` depend on other examples, unless the job allows that."""
    first = details.first_output
    if first is None or first.alone_error is None or details.weak_baseline_allowed:
        return
    if first.alone_error > ALONE_ERROR:
        yield (
            f"the {model}'s answer to an example depends on the others in its batch (relative "
            f"error {first.alone_error:.2g} among copies of itself), so its figures hold for "
            "batches like these alone; look for means, softmax or batch norm over axis 0. Set "
            "spec.allowWeakBaseline if it is meant"
        )


def _cut_elsewhere(first: FirstOutput, examples: int) -> Iterator[str]:
    zero, half = first.right_at_zero, first.right_at_half
    if zero is None or half is None:
        return
    gain = half - zero
    if gain >= CUT_SHARE * examples and gain > CUT_Z * math.sqrt(half + zero):
        yield (
            "do the outputs mean scores that are cut at 0.5? Logits are cut at 0, which alone is "
            f"right on {zero} of {examples} test examples, a cut at 0.5 alone on {half}. Let "
            "the model subtract 0.5, or set spec.allowWeakBaseline if it is meant"
        )


def _rows(details: EvaluateDetails, metrics: Sequence[Metric]) -> dict[str, tuple[Metric, float]]:
    """Return the baseline's metrics that are defined, each with that of a constant answer."""
    constant = {metric.name: metric.value for metric in details.constant_answer}
    rows: dict[str, tuple[Metric, float]] = {}
    for metric in metrics:
        value = constant.get(metric.name)
        if metric.slice == "all" and metric.value is not None and value is not None:
            rows.setdefault(metric.name, (metric, value))
    return rows


_ALLOW = (
    "so no gate can distinguish a ruined candidate from it. If this is intended, set "
    "spec.allowWeakBaseline"
)


def _question(first: FirstOutput) -> str:
    if first.meaning in _REFUTING:
        return f"do the outputs mean {first.meaning}, in the order of the labels?"
    return "are outputs and targets of the same unit and order?"


def _no_better(model: str, metric: Metric, constant: float) -> str | None:
    """Return that `model` is not measurably better than a constant, or None if it is."""
    interval, shown = metric.interval, ""
    low = high = metric.value
    assert low is not None  # `_rows` has checked
    assert high is not None
    if interval is not None:
        low, high = interval.low, interval.high
        shown = f" ({100 * interval.level:g} % interval {low:.4g} to {high:.4g})"
    if interval is None and metric.groups is not None:
        shown = f" (too few groups for an interval: {metric.groups})"
    elif low > constant if metric.direction == "higher" else high < constant:
        return None
    return (
        f"the {model}'s {metric.name} of {metric.value:.4g}{shown} is not measurably better than "
        f"the {constant:.4g} of an answer that is always the same"
    )
