"""`auto`: builds several quantized models and keeps the one that is best at what is wanted.

No rule predicts which scheme is fast: S8S8 is as fast as U8S8 on a plain chain and slower
than fp32 on a residual net, dynamic wins on LSTMs and loses on convolutions, and on a small model
every scheme loses. So those that keep the quality are timed against fp32 on this machine, where
speed may decide; fp32 is one of them.

Which candidates there are, is in `candidates`; which of them wins, in `choosing`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fulcrum_components.quantization.building import Builder, Built, Candidate
from fulcrum_components.quantization.candidates import MIN_SHARE, explore
from fulcrum_components.quantization.choosing import (
    Choice,
    Option,
    Quality,
    Speed,
    Wanted,
    choose,
)
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import Interval, QuantizationCandidate, RatioInterval

FP32 = "fp32"

MeasureQuality = Callable[[Path], Quality]
MeasureSpeed = Callable[[Path, Path], Speed]

ITSELF = RatioInterval(ratio=1.0, interval=Interval(level=1.0, low=1.0, high=1.0, method="itself"))
"""A model is exactly as fast as itself."""


@dataclass(frozen=True)
class Judge:
    """Measures quality and speed against the fp32 model.

    Attributes:
        baseline: The fp32 file.
        baseline_quality: Its quality.
        measure_quality: Computes the quality of a file on validation data.
        measure_speed: Times baseline and candidate, interleaved.
        higher_is_better: Direction of the metric.
        max_drop: How much worse is allowed: in the metric's own unit where higher is better (it is
            a share then), relative where lower is better.
        wanted: What to choose by.
    """

    baseline: Path
    baseline_quality: Quality
    measure_quality: MeasureQuality
    measure_speed: MeasureSpeed
    higher_is_better: bool
    max_drop: float
    wanted: Wanted

    def drop(self, quality: Quality) -> float:
        """Return how much worse `quality` is than the baseline's, positive for worse."""
        before = self.baseline_quality.value
        if math.isnan(quality.value):
            return math.inf
        if self.higher_is_better:
            return before - quality.value
        difference = quality.value - before
        if before == 0:
            return math.inf if difference > 0 else difference
        return difference / abs(before)


@dataclass(frozen=True)
class Judged:
    """A candidate with its record, and with its file where it could be built.

    Attributes:
        candidate: How it was quantized.
        record: What is known of it; the reason is empty if it may be chosen.
        built: Its file.
        quality: On validation, if it was measured.
        drop: How much worse than fp32 it is; infinite if that is unknown.
    """

    candidate: Candidate
    record: QuantizationCandidate
    built: Built | None = None
    quality: Quality | None = None
    drop: float = math.inf

    @property
    def keeps_quality(self) -> bool:
        """Whether it is as good as allowed."""
        return not self.record.reason


@dataclass(frozen=True)
class Selection:
    """What `auto` decided, or what was asked for.

    Attributes:
        winner: The file to ship; None keeps fp32.
        records: All candidates, the winner marked `kept`.
        reason: Why, for the user.
        prefer: What was chosen by; empty if nothing was chosen.
        timing_reliable: Whether timings that should decide could; None if none was needed.
    """

    winner: Built | None
    records: tuple[QuantizationCandidate, ...]
    reason: str
    prefer: str = ""
    timing_reliable: bool | None = None


def select(builder: Builder, judge: Judge) -> Selection:
    """Build and check the candidates, and choose among those that keep the quality and fp32."""
    judged = explore(builder, judge.max_drop, partial(_judge, builder, judge))
    able = {each.record.name: each for each in judged if each.keeps_quality}
    fp32 = Option(FP32, judge.baseline.stat().st_size, judge.baseline_quality)
    options = [
        Option(name, each.record.size_bytes, each.quality)
        for name, each in able.items()
        if each.quality is not None
    ]

    def measure(option: Option) -> Speed:
        built = able[option.name].built if option.name in able else None
        return Speed(ITSELF) if built is None else judge.measure_speed(judge.baseline, built.path)

    choice = choose([fp32, *options], judge.wanted, measure)
    reason = _why(choice, judge.wanted, tried=len(judged), able=len(able))
    original = make_record(
        FP32, "", size_bytes=fp32.size_bytes, quality=fp32.quality, before=fp32.quality
    )
    records = tuple(
        _decided(record, choice) for record in (*(each.record for each in judged), original)
    )
    winner = None if choice.chosen is fp32 else able[choice.chosen.name].built
    return Selection(winner, records, reason, judge.wanted.prefer, choice.timing_reliable)


def _judge(builder: Builder, judge: Judge, candidate: Candidate) -> Judged:
    """Build a candidate and say what keeps it from being chosen, if anything does."""
    name = candidate.name(builder.options.weights)
    try:
        built = builder.build(candidate)
    except UserError as error:
        return Judged(candidate, make_record(name, f"not built: {error}"))
    describe = partial(make_record, name, size_bytes=built.path.stat().st_size, built=built)
    if built.coverage.share < MIN_SHARE:
        reason = f"only {built.coverage.share:.1%} of its multiplications run in integers"
        return Judged(candidate, describe(reason), built)
    quality = judge.measure_quality(built.path)
    drop = judge.drop(quality)
    reason = quality.objection
    if not drop <= judge.max_drop:
        reason = f"loses {drop:.4g} on validation, {judge.max_drop:.4g} is allowed"
    record = describe(reason, quality=quality, before=judge.baseline_quality)
    return Judged(candidate, record, built, quality, math.inf if quality.objection else drop)


def make_record(
    name: str,
    reason: str,
    *,
    size_bytes: int = 0,
    built: Built | None = None,
    quality: Quality | None = None,
    before: Quality | None = None,
) -> QuantizationCandidate:
    """Return what is known of a candidate.

    Args:
        name: Its name.
        reason: Why it was kept or not.
        size_bytes: Of its file; 0 without a file.
        built: Its integer form.
        quality: On validation.
        before: Quality of the fp32 model.
    """
    value = None if quality is None else finite_or_none(quality.value)
    return QuantizationCandidate(
        name=name,
        size_bytes=size_bytes,
        quality=value,
        quality_delta=None if value is None or before is None else value - before.value,
        speedup=None,
        int8_coverage=built.coverage.share if built else None,
        kept=False,
        reason=reason,
    )


def finite_or_none(value: float | None) -> float | None:
    """Return `value` for evidence, which has no NaN and no infinity."""
    return value if value is not None and math.isfinite(value) else None


def _decided(record: QuantizationCandidate, choice: Choice) -> QuantizationCandidate:
    """Return the record with its timings, and with why it was chosen or lost."""
    kept = record.name == choice.chosen.name
    lost = choice.lost.get(record.name, record.reason)
    reason = f"chosen {_short_why(choice)}" if kept else lost
    return with_speed(record, choice.speeds.get(record.name)).model_copy(
        update={"kept": kept, "reason": reason}
    )


def with_speed(record: QuantizationCandidate, speed: Speed | None) -> QuantizationCandidate:
    """Return the record with timings; an unreliable speed-up is left out."""
    if speed is None:
        return record
    overall = None if speed.doubt else speed.overall
    return record.model_copy(update={"speedup": overall, "timings": speed.timings})


def _short_why(choice: Choice) -> str:
    """Return what separated the chosen option from the others."""
    criteria = {"speed": "latency", "quality": "quality", "size": "size"}
    by = ", then ".join(criteria[each] for each in choice.decided_by)
    by = f"by {by}" if by else "as the first of equals" if choice.lost else "as the only one left"
    return f"{by}, without timing" if choice.doubt else by


def _why(choice: Choice, wanted: Wanted, *, tried: int, able: int) -> str:
    """Return why the chosen option won, for the user."""
    kept = "fp32 is kept" if choice.chosen.name == FP32 else "chosen"
    if able == 0:
        return f"{kept}: none of {tried} candidates runs in integers and keeps the quality"
    speed = choice.speeds.get(choice.chosen.name)
    fast = ""
    if speed is not None and not choice.doubt and choice.chosen.name != FP32:
        fast = f": {speed.overall.ratio:.2f} times as fast as fp32"
    field = (
        f"{wanted.prefer} is preferred; {able} of {tried} candidates run in integers and keep the "
        "quality"
    )
    doubt = f"; {choice.doubt}" if choice.doubt else ""
    return f"{kept} {_short_why(choice)}{fast} ({field}){doubt}"
