"""The top of the page: the verdict in a sentence, and the figures that people ask for first."""

from __future__ import annotations

from fulcrum_pipelines.evidence import Comparison, LatencyComparison, ValidateDetails
from fulcrum_pipelines.gates.verdict import Verdict
from fulcrum_pipelines.report.blocks import Tile, Tone
from fulcrum_pipelines.report.formatting import (
    NOT_MEASURED,
    byte_size,
    factor,
    level,
    span,
)
from fulcrum_pipelines.report.metric_styles import is_worse, style_of
from fulcrum_pipelines.report.reading import main_comparison

TONES: dict[str, Tone] = {
    "Pass": "good",
    "Fail": "bad",
    "Inconclusive": "unclear",
    "Anomalous": "odd",
}

_SENTENCES = {
    "Pass": "The candidate keeps every enforced gate.",
    "Fail": "Rejected: the candidate breaks at least one enforced gate and must not be promoted.",
    "Inconclusive": "The evidence does not decide: neither good nor bad was shown.",
    "Anomalous": "The evidence cannot be right, so nothing is concluded from it.",
}

IDENTICAL = "Both models are the same file, so neither is faster: they are not timed."

NO_VERDICT = "No verdict"
_NO_VERDICT_SENTENCE = (
    "No gates were given, so nothing was decided. This page shows what was measured."
)


def headline(verdict: Verdict | None) -> tuple[str, str, Tone]:
    """Return the verdict's word, a sentence, and its tone."""
    if verdict is None:
        return NO_VERDICT, _NO_VERDICT_SENTENCE, "quiet"
    return verdict.outcome, _SENTENCES[verdict.outcome], TONES[verdict.outcome]


def tiles(validate: ValidateDetails | None) -> tuple[Tile, ...]:
    """Return quality, size, speed at each batch size, and memory; each also where missing."""
    if validate is None:
        return tuple(
            Tile(name, NOT_MEASURED, "validate left no evidence", "quiet")
            for name in ("Quality", "File size", "Speed", "Peak memory")
        )
    size = validate.size
    return (
        _quality(main_comparison(validate)),
        _times_smaller("File size", size.baseline_bytes, size.candidate_bytes, ""),
        *_speeds(validate),
        _times_smaller(
            "Peak memory",
            size.baseline_peak_memory_bytes,
            size.candidate_peak_memory_bytes,
            size.memory_note,
        ),
    )


def _quality(comparison: Comparison | None) -> Tile:
    if comparison is None or comparison.candidate is None:
        return Tile("Quality", NOT_MEASURED, comparison.note if comparison else "", "quiet")
    style = style_of(comparison.metric, comparison.unit)
    detail = f"{style.value(comparison.baseline)} before, change {style.delta(comparison)}"
    if comparison.interval is not None:
        confidence = level(comparison.interval)
        detail += f", {confidence} interval {style.delta_span(comparison)}"
    tone = change_tone(comparison)
    detail += {"bad": ": measurably worse", "good": ": measurably better"}.get(tone, "")
    return Tile(style.label, style.value(comparison.candidate), detail)


def change_tone(comparison: Comparison) -> Tone:
    """Return `bad` or `good` only if the interval of a change leaves zero out."""
    interval = comparison.interval
    if interval is None or comparison.delta is None or interval.low <= 0 <= interval.high:
        return ""
    return "bad" if is_worse(comparison.direction, comparison.delta) else "good"


def _times_smaller(name: str, before: int | None, after: int | None, note: str) -> Tile:
    if before is None or after is None or after == 0:
        return Tile(name, NOT_MEASURED, note, "quiet")
    word = "smaller" if after <= before else "larger"
    times = before / after if after <= before else after / before
    if factor(times) == factor(1.0):
        return Tile(name, "unchanged", f"{byte_size(before)} → {byte_size(after)}")
    return Tile(name, f"{factor(times)} {word}", f"{byte_size(before)} → {byte_size(after)}")


def _speeds(validate: ValidateDetails) -> tuple[Tile, ...]:
    latency = validate.latency
    if validate.identical_models:
        return (Tile("Speed", "no difference", IDENTICAL),)
    if not latency:
        return (Tile("Speed", NOT_MEASURED, "latency was not measured", "quiet"),)
    return tuple(_speed(measured) for measured in latency[:2])


def _speed(measured: LatencyComparison) -> Tile:
    interval = measured.speedup.interval
    name = f"Speed at batch {measured.batch}"
    detail = f"{level(interval)} interval {span(interval, 2, sign=False)}"
    if not measured.reliable:
        return Tile(name, "unreliable", measured.note or detail, "unclear")
    ratio = measured.speedup.ratio
    if interval.low <= 1 <= interval.high:
        return Tile(name, "no difference", f"{factor(ratio)}, {detail}")
    if ratio < 1:
        return Tile(
            name, f"{factor(1 / ratio)} slower", f"speed-up {factor(ratio)}, {detail}", "bad"
        )
    return Tile(name, f"{factor(ratio)} faster", detail)
