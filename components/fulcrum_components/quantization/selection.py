"""`auto`: builds several quantized models and keeps the one that is measurably best.

No rule tells beforehand which scheme is fast: S8S8 is as fast as U8S8 on a plain chain and slower
than fp32 on a residual net, dynamic wins on LSTMs and loses on convolutions, and on a small model
every scheme loses. So each is timed against fp32 on this machine, and fp32 stays where none wins.

Which candidates there are, is in `candidates`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fulcrum_components.quantization.building import Builder, Built, Candidate
from fulcrum_components.quantization.candidates import explore
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import QuantizationCandidate, RatioInterval

MIN_SHARE = 0.01  # less than this in integers cannot be what makes a model faster

Quality = Callable[[Path], float]
MeasureSpeedup = Callable[[Path, Path], RatioInterval]


@dataclass(frozen=True)
class Judge:
    """Measures quality and speed against the fp32 model.

    Attributes:
        baseline: The fp32 file.
        quality: Computes the metric of a file on validation data.
        higher_is_better: Direction of the metric.
        max_drop: How much worse is allowed: in the metric's own unit where higher is better (it is
            a share then), relative where lower is better.
        measure_speedup: Times baseline and candidate, interleaved.
        baseline_quality: The metric of the fp32 file.
    """

    baseline: Path
    quality: Quality
    higher_is_better: bool
    max_drop: float
    measure_speedup: MeasureSpeedup
    baseline_quality: float

    def drop(self, quality: float) -> float:
        """Return how much worse `quality` is than the baseline's, positive for worse."""
        if self.higher_is_better:
            return self.baseline_quality - quality
        difference = quality - self.baseline_quality
        if self.baseline_quality == 0:
            return math.inf if difference > 0 else difference
        return difference / abs(self.baseline_quality)

    def keeps(self, quality: float) -> bool:
        """Tell whether `quality` is as good as allowed; NaN never is."""
        return self.drop(quality) <= self.max_drop


@dataclass(frozen=True)
class Judged:
    """A candidate with its record, and with its file where it could be built."""

    candidate: Candidate
    record: QuantizationCandidate
    built: Built | None = None
    keeps_quality: bool = False
    drop: float = math.inf


@dataclass(frozen=True)
class Selection:
    """What `auto` decided.

    Attributes:
        winner: The file to ship; None keeps fp32.
        records: All candidates, the winner marked `kept`.
        reason: Why, for the user.
    """

    winner: Built | None
    records: tuple[QuantizationCandidate, ...]
    reason: str


def select(builder: Builder, judge: Judge) -> Selection:
    """Build, check and time the candidates, and pick."""
    return _pick(explore(builder, judge.max_drop, partial(_judge, builder, judge)))


def _judge(builder: Builder, judge: Judge, candidate: Candidate) -> Judged:
    name = candidate.name(builder.options.weights)
    try:
        built = builder.build(candidate)
    except UserError as error:
        return Judged(candidate, _record(name, f"not built: {error}"))
    if built.coverage.share < MIN_SHARE:
        reason = f"only {built.coverage.share:.1%} of its multiplications run in integers"
        return Judged(candidate, _record(name, reason, built))
    quality = judge.quality(built.path)
    drop = judge.drop(quality)
    if not judge.keeps(quality):
        reason = f"loses {drop:.4g} on validation, {judge.max_drop:.4g} is allowed"
        record = _record(name, reason, built, judge, quality)
        return Judged(candidate, record, built, drop=math.inf if math.isnan(drop) else drop)
    speedup = judge.measure_speedup(judge.baseline, built.path)
    low = speedup.interval.low
    reason = (
        f"{speedup.ratio:.2f} times as fast as fp32"
        if low > 1
        else f"not measurably faster than fp32 (ratio {speedup.ratio:.2f}, from {low:.2f})"
    )
    record = _record(name, reason, built, judge, quality, speedup)
    return Judged(candidate, record, built, keeps_quality=True, drop=drop)


def _record(
    name: str,
    reason: str,
    built: Built | None = None,
    judge: Judge | None = None,
    quality: float | None = None,
    speedup: RatioInterval | None = None,
) -> QuantizationCandidate:
    return QuantizationCandidate(
        name=name,
        size_bytes=built.path.stat().st_size if built else 0,
        quality=finite_or_none(quality),
        quality_delta=finite_or_none(
            None if quality is None or judge is None else quality - judge.baseline_quality
        ),
        speedup=speedup,
        int8_coverage=built.coverage.share if built else None,
        kept=False,
        reason=reason,
    )


def finite_or_none(value: float | None) -> float | None:
    """Return `value` for evidence, which has no NaN and no infinity."""
    return value if value is not None and math.isfinite(value) else None


def _pick(judged: list[Judged]) -> Selection:
    faster = [
        item
        for item in judged
        if item.keeps_quality and item.record.speedup and item.record.speedup.interval.low > 1
    ]
    best = max(faster, key=_ratio, default=None)
    records = tuple(
        item.record.model_copy(update={"kept": True}) if item is best else item.record
        for item in judged
    )
    if best is None:
        holding = sum(item.keeps_quality for item in judged)
        reason = (
            f"fp32 is kept: {len(judged)} candidates were tried, {holding} of them keep the "
            "quality, and none is measurably faster than fp32 on this machine"
        )
        return Selection(None, records, reason)
    reason = f"the fastest of those that keep the quality: {best.record.reason}"
    return Selection(best.built, records, reason)


def _ratio(judged: Judged) -> float:
    return judged.record.speedup.ratio if judged.record.speedup else 0.0
