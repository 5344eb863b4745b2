"""The one rule of all gates that look at an interval, on all data and on slices.

A gate passes if the whole interval keeps its limit, fails if the whole interval breaks it, and is
inconclusive otherwise. Kinds differ only in the observation and the limit, so a kind's module
defines only these.

Slices: a pass needs every slice to pass on its own. That is an intersection-union test and needs no
correction (Berger 1982). A fail on a slice is one of many chances to fail, so it needs a p-value
below (1 - confidence) / 2 after Holm's correction over the gate's slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Protocol

from fulcrum_pipelines.catalog import GATE_KINDS, METRICS
from fulcrum_pipelines.evidence import Counts, Interval, ValidateDetails
from fulcrum_pipelines.gates import wording
from fulcrum_pipelines.gates.records import ALL, slice_sizes
from fulcrum_pipelines.gates.undecided import Undecided, finite, inconclusive
from fulcrum_pipelines.gates.verdict import GateResult, Limit, Outcome, SliceResult, worst
from fulcrum_pipelines.power import sample_size_as_seen
from fulcrum_pipelines.resources.compressionjob import Gate, GateSlice
from fulcrum_pipelines.statistics import holm, normal_quantile

POWER = 0.8
"""Probability of a decision that the advised number of examples is meant to give."""

_NORMAL = NormalDist()


@dataclass(frozen=True)
class Observation:
    """A measurement on all data or on one slice.

    Attributes:
        subject: What it is, as messages name it.
        value: The estimate.
        interval: Its two-sided interval at the gate's confidence.
        n: Independent units: examples, groups of them, or pairs of calls.
        show: How the value is written.
        show_limit: How its limit is written, None for the same.
        unit: What the independent units are.
        detail: More that a reader wants to know.
        p_break: Exact one-sided p-value of "the limit is kept", if there is one.
        exact: The value is known, not sampled, so that `n` does not matter.
        counts: Right and wrong of both models, if the value is the change of that share.
        untested: How far the value may be off for classes that have no example.
    """

    subject: str
    value: float
    interval: Interval
    n: int
    show: wording.Show
    show_limit: wording.Show | None = None
    unit: str = "examples"
    detail: str = ""
    p_break: float | None = None
    exact: bool = False
    counts: Counts | None = None
    untested: float = 0.0


class IntervalKind(Protocol):
    """The parts that a kind of gate adds to the rule."""

    def limit(self, gate: Gate, part: GateSlice | None) -> Limit:
        """Return what is accepted, on all data or on the slices of `part`."""

    def observe(
        self, gate: Gate, details: ValidateDetails, where: str, limit: Limit
    ) -> Observation:
        """Return what the evidence says of slice `where`, or raise Undecided."""


def decide_interval(gate: Gate, details: ValidateDetails, kind: IntervalKind) -> GateResult:
    """Decide a gate from intervals, on all data and on each slice that it names."""
    whole, _ = _decide_part(gate, details, kind, ALL, None)
    slices, left_out, missing = _decide_slices(gate, details, kind)
    parts = [whole, *slices, *missing]
    verdict = worst(part.verdict for part in parts)
    return GateResult(
        name=gate.name,
        kind=gate.kind,
        mode=gate.mode,
        verdict=verdict,
        reason=_summary(verdict, parts, left_out),
        metric=gate.metric,
        value=whole.value,
        interval=whole.interval,
        limit=whole.limit,
        n=whole.n,
        slices=slices,
        left_out=left_out,
        inputs=tuple(f"{gate.metric or gate.kind} on {part.slice}" for part in (whole, *slices)),
    )


def judge(interval: Interval, limit: Limit) -> Outcome:
    """Return whether the whole interval keeps the limit, breaks it, or reaches across it."""
    low, high = limit.minimum, limit.maximum
    if (low is not None and interval.high < low) or (high is not None and interval.low > high):
        return "Fail"
    if limit.strict:
        kept = (low is None or interval.low > low) and (high is None or interval.high < high)
    else:
        kept = (low is None or interval.low >= low) and (high is None or interval.high <= high)
    return "Pass" if kept else "Inconclusive"


def p_of_break(observation: Observation, limit: Limit) -> float:
    """Return the one-sided p-value of "the limit is kept".

    Without an exact one it follows from the interval, whose half towards the limit is taken for a
    normal one (Altman and Bland 2011); so it is below (1 - level) / 2 exactly if the interval
    breaks the limit.
    """
    if observation.p_break is not None:
        return observation.p_break
    interval, value = observation.interval, observation.value
    p = 1.0
    if limit.minimum is not None:
        p = min(p, _tail(limit.minimum - value, interval.high - value, interval.level))
    if limit.maximum is not None:
        p = min(p, _tail(value - limit.maximum, value - interval.low, interval.level))
    return p


def _tail(beyond: float, half_width: float, level: float) -> float:
    if beyond <= 0:
        return 1.0
    if half_width <= 0:
        return 0.0
    return _NORMAL.cdf(-normal_quantile(level) * beyond / half_width)


def examples_to_decide(observation: Observation, limit: Limit) -> float | None:
    """Return how many units would decide with probability `POWER` if the value stays as it is.

    From the counts where there are some and a pass is in reach. Else the normal approximation, from
    the width of the interval itself; with hardly a discordant pair it asks for several times too
    many, since that width shrinks with n and not with its root. None if the value lies on the
    limit, so that no number would.
    """
    if observation.counts is not None and limit.minimum is not None and limit.minimum < 0:
        level = observation.interval.level
        seen = sample_size_as_seen(
            observation.counts, margin=-limit.minimum, level=level, power=POWER
        )
        if seen is not None:
            return max(seen, observation.n + 1.0)
    value, interval = observation.value, observation.interval
    needed = []
    for bound in (limit.minimum, limit.maximum):
        if bound is None:
            continue
        half_width = value - interval.low if bound < value else interval.high - value
        if bound == value:
            return None
        factor = 1 + _NORMAL.inv_cdf(POWER) / normal_quantile(interval.level)
        ratio = factor * half_width / (value - bound)
        needed.append(observation.n * ratio * ratio)  # ** 2 would raise where this is infinite
    return max([*needed, observation.n + 1.0]) if needed else None


def _decide_part(
    gate: Gate, details: ValidateDetails, kind: IntervalKind, where: str, part: GateSlice | None
) -> tuple[SliceResult, float | None]:
    """Return the result on all data or one slice, and its p-value where something was seen."""
    min_samples = gate.min_samples if part is None else part.min_samples
    limit: Limit | None = None
    try:
        limit = kind.limit(gate, part)
        seen = kind.observe(gate, details, where, limit)
        if details.identical_models and GATE_KINDS[gate.kind].of_change:
            seen = _unchanged(seen)
        if seen.n < min_samples and not seen.exact:
            raise inconclusive(
                f"{seen.subject}: only {seen.n} {seen.unit}, minSamples is {min_samples}"
            )
    except Undecided as end:
        missing = SliceResult(slice=where, verdict=end.verdict, reason=end.reason, limit=limit)
        return missing, None
    verdict = judge(seen.interval, limit)
    result = SliceResult(
        slice=where,
        verdict=verdict,
        reason=explain(seen, limit, verdict),
        value=seen.value,
        interval=seen.interval,
        limit=limit,
        n=seen.n,
    )
    return result, p_of_break(seen, limit)


def _unchanged(seen: Observation) -> Observation:
    """Return a change of nothing between equal files: it is known, however few examples there are.

    Records that differ all the same, because two machines rounded differently, stay as they are.
    """
    counts = seen.counts
    if seen.value != 0 or (counts and counts.only_baseline_right + counts.only_candidate_right):
        return seen
    interval = Interval(level=seen.interval.level, low=0.0, high=0.0, method="identical")
    detail = "no difference: both models are the same file"
    return replace(seen, interval=interval, detail=detail, p_break=None, exact=True)


def _decide_slices(
    gate: Gate, details: ValidateDetails, kind: IntervalKind
) -> tuple[tuple[SliceResult, ...], tuple[str, ...], list[SliceResult]]:
    """Return the results of slices, the slices left out, and what is missing altogether."""
    results: list[tuple[SliceResult, float | None]] = []
    left_out: list[str] = []
    missing: list[SliceResult] = []
    for part in gate.slices or ():
        sizes = slice_sizes(details, part.by)
        large = [name for name, n in sizes.items() if n >= part.min_samples]
        results += [_decide_part(gate, details, kind, name, part) for name in large]
        left_out += [name for name in sizes if name not in large]
        missing += _incomplete(details, part, sizes, large)
    return _correct(results, (1 - gate.confidence) / 2), tuple(left_out), missing


def _incomplete(
    details: ValidateDetails, part: GateSlice, sizes: dict[str, int], large: Sequence[str]
) -> list[SliceResult]:
    """Return what keeps the slices `part.by` from covering the test data."""
    if not sizes:
        reason = f"the evidence has no results by {part.by}"
    elif not large:
        reason = f"no slice by {part.by} has minSamples {part.min_samples} examples"
    elif (covered := sum(sizes.values())) != details.test_examples:
        reason = f"slices by {part.by} have {covered} of {details.test_examples} examples"
    else:
        return []
    return [SliceResult(slice=part.by, verdict="Inconclusive", reason=reason)]


def _correct(
    results: Sequence[tuple[SliceResult, float | None]], alpha: float
) -> tuple[SliceResult, ...]:
    """Return the results, with fails that may be chance after Holm's correction taken back."""
    adjusted = iter(holm([p for _, p in results if p is not None]))
    tests = sum(p is not None for _, p in results)
    return tuple(
        result if p is None else _corrected(result, next(adjusted), tests, alpha)
        for result, p in results
    )


def _corrected(result: SliceResult, p_adjusted: float, tests: int, alpha: float) -> SliceResult:
    changes: dict[str, object] = {"p_adjusted": p_adjusted}
    if result.verdict == "Fail" and p_adjusted >= alpha and tests > 1:
        changes["verdict"] = "Inconclusive"
        changes["reason"] = (
            f"{result.reason}; but one of {tests} slices does that by chance "
            f"(Holm-adjusted p = {p_adjusted:.3g}, a fail needs less than {alpha:.3g})"
        )
    return result.model_copy(update=changes)


def explain(seen: Observation, limit: Limit, verdict: Outcome) -> str:
    """Return one line: what was seen, what was asked, and what would decide it."""
    line = (
        f"{seen.subject} {seen.show(seen.value)}, {wording.bounds(seen.interval, seen.show)}, "
        f"n = {seen.n}{f' ({seen.detail})' if seen.detail else ''}; "
        f"must be {wording.limit(limit, seen.show_limit or seen.show)}"
    )
    if verdict == "Pass":
        return f"{line}: all of the interval is"
    if verdict == "Fail":
        return f"{line}: none of the interval is"
    if seen.untested:
        return (
            f"{line}: the interval reaches across, {wording.number(seen.untested)} of it at both "
            "ends for classes that have no example; it takes examples of every class"
        )
    needed = examples_to_decide(seen, limit)
    if needed is None:
        return f"{line}: the value lies on the limit, which no number of {seen.unit} decides"
    return (
        f"{line}: the interval reaches across; {wording.about(needed)} {seen.unit} would decide it"
    )


def _summary(verdict: Outcome, parts: Sequence[SliceResult], left_out: Sequence[str]) -> str:
    """Return the reason of the part that decided, and how many others say the same."""
    deciding = [part for part in parts if part.verdict == verdict]
    first = deciding[0] if verdict != "Pass" else parts[0]
    reason = first.reason
    others = len(deciding) - 1
    if verdict == "Pass" and others:
        reason += f"; so do all {others} slices"
    elif others:
        more = ", ".join(part.slice for part in deciding[1:4])
        reason += f"; the same on {more}{f' and {others - 3} more' if others > 3 else ''}"
    if left_out:
        reason += f"; {len(left_out)} slices with too few examples were left out"
    return reason


def declared(value: float | None, field: str) -> float | None:
    """Return a limit of the gate, which must be a number if it is given."""
    return None if value is None else finite(value, f"the gate's {field}")


def plausible_gain(gate: Gate, metric: str) -> float | None:
    """Return the gain above which a result of `metric` is implausible, or None for no limit."""
    own = declared(gate.max_gain, "maxGain")
    return METRICS[metric].max_gain if own is None else own
