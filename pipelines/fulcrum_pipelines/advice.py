"""Warnings that a gate cannot pass, or hardly, on the given test data.

They come before anything is compressed. The best case decides, a candidate that answers each test
example as the baseline does: its interval is as wide as the change that the data cannot exclude.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fulcrum_pipelines.catalog import COUNTED, GATE_KINDS, METRICS, MetricKind
from fulcrum_pipelines.power import (
    ASSUMED_CHURN,
    MOST_EXAMPLES,
    POWER,
    power_at,
    required_sample_size,
    two_digits,
)
from fulcrum_pipelines.resources.compressionjob import Gate, GateSlice
from fulcrum_pipelines.statistics import unseen_score

_MARGIN_PRECISION = 0.02


@dataclass(frozen=True)
class BestCase:
    """A candidate without any change, on all data or on a slice.

    Attributes:
        slice: `all`, or `<by>=<value>`.
        by: `all`, or the slice's name.
        n: Independent units there, which `minSamples` counts.
        unit: What they are, `examples` or `groups`.
        examples: How many examples they have.
        value: The baseline's metric; None where it is undefined.
        half_width: How far the interval reaches; None if there can be none.
        unseen: As in evidence.
        effective_n: As in evidence.
        constant: The metric of an answer that ignores the inputs, if the width rests on the cost of
            a mixed-up answer; None otherwise.
        untested: As in evidence; more examples of the existing classes do not reduce it.
    """

    slice: str
    by: str
    n: int
    unit: str
    examples: int
    value: float | None
    half_width: float | None
    unseen: float = 0.0
    effective_n: float = 0.0
    untested: float = 0.0
    constant: float | None = None

    def factor_for(self, width: float) -> float:
        """Return how many times as many such units have a half width of `width`, above 0.

        Infinite where it is for classes without an example that the width is larger.
        """
        assert self.half_width is not None
        if width <= self.untested:
            return math.inf
        z = unseen_score(self.half_width - self.untested, 0.0, self.unseen, self.effective_n)
        return z * z * (self.unseen / (width - self.untested) - 1 / self.effective_n)


def advice(
    gates: Sequence[Gate], cases: Sequence[Sequence[BestCase]], shares: Mapping[str, float]
) -> tuple[str, ...]:
    """Return warnings about gates that cannot pass, or hardly.

    Args:
        gates: Of the job.
        cases: Best cases of each gate, in the same order; none for gates on other than quality.
        shares: The baseline's share of right answers by metric, accuracy and top5.
    """
    found: list[str] = []
    for gate, parts in zip(gates, cases, strict=True):
        whole = [case for case in parts if case.by == "all"]
        for case in whole:
            found += _of_whole(gate, case, shares)
        for declared in gate.slices or ():
            found += _of_slices(gate, declared, [case for case in parts if case.by == declared.by])
    return tuple(found)


def _of_whole(gate: Gate, case: BestCase, shares: Mapping[str, float]) -> Iterator[str]:
    start = f"gate {gate.name}: "
    has_margin = GATE_KINDS[gate.kind].has_margin
    if has_margin and not gate.margin:
        yield start + "with a margin of 0 a candidate that is only as good never passes; raise it"
    elif case.n < gate.min_samples:
        few = f"has {case.n:,} {case.unit}, fewer than minSamples {gate.min_samples:,}"
        yield f"{start}the test set {few}, so it never passes"
    elif why := _never(gate, case, gate.margin):
        yield f"{start}never passes on these test data: {why}"
    elif has_margin and case.unit == "examples":
        share = shares.get(gate.metric or "")
        yield from () if share is None else _hardly(gate, share, case.n)


def _of_slices(gate: Gate, declared: GateSlice, parts: Sequence[BestCase]) -> Iterator[str]:
    """Yield what is wrong with slices by `declared.by`; the smallest that never passes is named."""
    start = f"gate {gate.name}: "
    large = [case for case in parts if case.examples >= declared.min_samples]
    if parts and not large:
        yield (
            f"{start}no slice by {declared.by} has minSamples {declared.min_samples:,} examples, "
            f"the largest has {max(case.examples for case in parts):,}, so it never passes"
        )
    margin = gate.margin if declared.margin is None else declared.margin
    has_margin = GATE_KINDS[gate.kind].has_margin
    if has_margin and not margin:
        return
    hopeless = [case for case in large if _never(gate, case, margin)]
    if hopeless:
        worst = max(hopeless, key=lambda case: case.half_width or math.inf)
        yield (
            f"{start}never passes, since {len(hopeless)} of {len(large)} slices by {declared.by} "
            f"cannot. {worst.slice}: {_never(gate, worst, margin)}"
        )
    elif has_margin and gate.metric in COUNTED and margin:
        independent = [case for case in large if case.unit == "examples"]
        yield from _hardly_on_slices(gate, declared.by, independent, margin)


def _never(gate: Gate, case: BestCase, margin: float | None) -> str:
    """Return why the best case does not pass, and what would; empty if it may pass."""
    if case.value is None:
        return ""  # the metric is undefined, which evaluate reports
    if case.half_width is None:
        return (
            f"{gate.metric or gate.kind} has no interval there: it needs two examples or groups, "
            "for auc two of each class"
        )
    relative = GATE_KINDS[gate.kind].value == "relative change"
    if relative and _metric(gate).raised_by_noise:
        return (
            f"a relative change of {gate.metric} cannot be bounded; use kind calibration or "
            "nonInferiority"
        )
    room = _room(gate, case, margin)
    if room is None or case.half_width < room:
        return ""
    if room <= 0:
        return f"nothing is within its limits ({_limit(gate, margin)})"
    counted = "examples" if case.unit == "examples" else "groups"
    effective = f"{case.effective_n:,.4g} {counted} that count"
    seen = f"{case.n:,} {counted}"
    if case.effective_n < 0.999 * case.n:
        seen += f", {effective} most,"
    known = f"{case.half_width:.3g}"
    if worse := _worse_than_constant(gate, case):
        return (
            f"with {seen} even a candidate without any change is only known to {known}, and the "
            f"limit is {_limit(gate, margin)}; {worse}, so mend the baseline first"
        )
    needed = case.n * case.factor_for(room)
    wanted = f"a {_field(gate)} {_beyond(gate, case)}"
    if needed <= MOST_EXAMPLES:
        wanted += f" or about {two_digits(math.ceil(needed)):,} {counted} of the same kind"
    if case.untested:
        known += f" ({case.untested:.3g} of that for classes without a test example)"
        wanted += ", or examples of every class" if case.untested >= room else ""
    return (
        f"with {seen} even a candidate without any change is only known to {known}, "
        f"and the limit is {_limit(gate, margin)}; it takes {wanted}"
    )


def _worse_than_constant(gate: Gate, case: BestCase) -> str:
    """Return that the baseline is no better than a constant answer; empty if it is better.

    The cost of one lost answer of such a baseline is no guide to margins or numbers of examples.
    """
    if case.constant is None or case.value is None:
        return ""
    higher = _metric(gate).direction == "higher"
    if case.value > case.constant if higher else case.value < case.constant:
        return ""
    return (
        f"the baseline's {gate.metric} of {case.value:.3g} is no better than the "
        f"{case.constant:.3g} of a constant answer"
    )


def _metric(gate: Gate) -> MetricKind:
    return METRICS[GATE_KINDS[gate.kind].metric_of(gate.metric)]


def _room(gate: Gate, case: BestCase, margin: float | None) -> float | None:
    """Return how far an interval may reach from the best case; None if nothing can be said.

    The best case of a gate on one model is a perfect figure, known for shares only.
    """
    low, high = gate.min, gate.max
    kind = GATE_KINDS[gate.kind]
    if kind.has_margin:
        return margin
    if kind.value == "share":
        return high
    if kind.value == "relative change":
        limits = [x for x in (None if low is None else -low, high) if x is not None]
        value = case.value or 0.0
        return min(limits) * value if limits and value > 0 else None
    metric = _metric(gate)
    if not metric.share:
        return None
    if metric.direction == "lower":
        return high
    return None if low is None else 1 - low


def _limit(gate: Gate, margin: float | None) -> str:
    if GATE_KINDS[gate.kind].has_margin:
        return f"a margin of {margin:g}"
    bounds = {"min": gate.min, "max": gate.max}
    return ", ".join(f"{name} {value:g}" for name, value in bounds.items() if value is not None)


def _field(gate: Gate) -> str:
    if GATE_KINDS[gate.kind].has_margin:
        return "margin"
    return "max" if gate.max is not None else "min"


def _beyond(gate: Gate, case: BestCase) -> str:
    """Return the limit that the best case would pass, rounded away from it."""
    assert case.half_width is not None
    width, value = case.half_width, GATE_KINDS[gate.kind].value
    if value == "relative change":
        width /= case.value or 1.0
    if value == "metric" and _metric(gate).direction == "higher":
        return f"below {math.floor(1000 * (1 - width)) / 1000:g}"
    digits = 10 ** (2 - math.ceil(math.log10(width)))
    above = math.ceil(width * digits) / digits
    return f"above {above:g}" if _field(gate) != "min" else f"below {-above:g}"


def _hardly_on_slices(
    gate: Gate, by: str, slices: Sequence[BestCase], margin: float
) -> Iterator[str]:
    """Yield that slices pass less often than they should, since all of them have to."""

    def power(margin: float) -> float:
        found: dict[tuple[int, float], float] = {}
        product = 1.0
        for case in slices:
            share = case.value or 0.0
            discordance = min(ASSUMED_CHURN, 2 * min(share, 1 - share))
            key = (case.n, discordance)
            if key not in found:
                found[key] = power_at(*key, margin, gate.confidence)
            product *= found[key]
        return product

    if not slices or (share := power(margin)) >= POWER:
        return
    low, high = margin, 1.0
    while high - low > _MARGIN_PRECISION * high:
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    value = sum((case.value or 0.0) * case.n for case in slices) / sum(x.n for x in slices)
    needed = required_sample_size(
        baseline_accuracy=value,
        margin=margin,
        level=gate.confidence,
        power=POWER ** (1 / len(slices)),
    )
    smallest = min(case.n for case in slices)
    often = f"{share:.0%} of cases" if share >= 0.01 else "less than 1% of cases"
    enough = f", or about {needed:,} examples a slice," if needed is not None else ""
    yield (
        f"gate {gate.name}: slices by {by}, of {smallest:,} examples or more, are small for a "
        f"margin of {margin:g}: if {ASSUMED_CHURN:.0%} of the answers change between right and "
        f"wrong, in balance, all {len(slices)} pass in {often}; a margin of {high:.2g}{enough} "
        f"gives {POWER:.0%}"
    )


def _hardly(gate: Gate, share: float, examples: int) -> Iterator[str]:
    """Yield that the gate passes less often than it should, if many answers may change."""
    margin = gate.margin or 0.0
    needed = required_sample_size(baseline_accuracy=share, margin=margin, level=gate.confidence)
    if needed is not None and needed <= examples:
        return
    few = f"gate {gate.name}: {examples:,} test examples are few for a margin of {margin:g}"
    condition = f"if {ASSUMED_CHURN:.0%} of the answers change between right and wrong, in balance"
    if needed is None:
        yield f"{few}: {condition}, even {MOST_EXAMPLES:,} would not do; widen the margin"
    else:
        yield f"{few}: {condition}, about {needed:,} give a pass in {POWER:.0%} of cases"
