"""Summarise a job's evidence for people, for status and kubectl's columns."""

from __future__ import annotations

from typing import Any

from fulcrum_operator.resources import compressionjob as resource
from fulcrum_pipelines.catalog import SHARES
from fulcrum_pipelines.evidence import (
    Comparison,
    Evidence,
    QuantizationCandidate,
    QuantizeDetails,
    StageEvidence,
    ValidateDetails,
)
from fulcrum_pipelines.gates.headline import headline
from fulcrum_pipelines.gates.records import ALL
from fulcrum_pipelines.gates.verdict import Verdict

REASON_LIMIT = 1024
HEADLINE_LIMIT = 253
MOST_CANDIDATES = 24
"""The schema allows 32 figures a stage."""
DIGITS = 6


def describe_gates(verdict: Verdict) -> tuple[resource.GateStatus, ...]:
    """Return how each gate was decided."""
    return tuple(
        resource.GateStatus(
            name=gate.name,
            kind=gate.kind,
            mode=gate.mode,
            verdict=gate.verdict,
            reason=gate.reason[:REASON_LIMIT],
            metric=gate.metric,
            value=_short(gate.value),
            low=_short(gate.interval.low if gate.interval else None),
            high=_short(gate.interval.high if gate.interval else None),
            limit=_limit(gate.limit.minimum, gate.limit.maximum) if gate.limit else None,
            samples=gate.n,
        )
        for gate in verdict.gates
    )


def _limit(minimum: float | None, maximum: float | None) -> float | None:
    return minimum if minimum is not None else maximum


def describe_results(evidence: Evidence, verdict: Verdict) -> resource.Results:
    """Return the figures of the metric that decides, and of speed, size and integers."""
    stage = evidence.stage("validate")
    details = stage.details if stage else None
    if not isinstance(details, ValidateDetails):
        return resource.Results()
    whole = headline(details, verdict)
    slices = [each for each in _slices(details) if whole and each.metric == whole.metric]
    size = details.size
    ratio = size.baseline_bytes / size.candidate_bytes if size.candidate_bytes else None
    return resource.Results(
        **(_compared(whole) if whole is not None else {}),
        **_timed(details),
        size_ratio=_short(ratio),
        int8_coverage=_short(int8_coverage(evidence)),
        best_slice=_extreme(slices, best=True),
        worst_slice=_extreme(slices, best=False),
    )


def _compared(whole: Comparison) -> dict[str, Any]:
    interval = whole.interval
    return {
        "metric": whole.metric,
        "baseline": _short(whole.baseline),
        "candidate": _short(whole.candidate),
        "delta": _short(whole.delta),
        "delta_low": _short(interval.low if interval else None),
        "delta_high": _short(interval.high if interval else None),
        "samples": whole.groups or whole.n,
    }


def _timed(details: ValidateDetails) -> dict[str, Any]:
    """Return the speed-up at the smallest batch; a figure that is not reliable is left out."""
    if details.identical_models:
        return dict.fromkeys(("speedup", "speedup_low", "speedup_high"), 1.0)
    latency = min(details.latency, key=lambda each: each.batch, default=None)
    if latency is None or not latency.reliable:
        return {}
    interval = latency.speedup.interval
    return {
        "speedup": _short(latency.speedup.ratio),
        "speedup_low": _short(interval.low),
        "speedup_high": _short(interval.high),
    }


def _short(figure: float | None) -> float | None:
    """Return as many digits as people read; the evidence has all of them."""
    return None if figure is None else float(f"{figure:.{DIGITS}g}")


def int8_coverage(evidence: Evidence) -> float | None:
    """Return the share of multiply-accumulates in integers, if quantize ran."""
    stage = evidence.stage("quantize")
    details = stage.details if stage else None
    return details.int8_coverage if isinstance(details, QuantizeDetails) else None


def _slices(details: ValidateDetails) -> list[Comparison]:
    return [each for each in details.comparisons if each.slice != ALL and each.delta is not None]


def _extreme(slices: list[Comparison], *, best: bool) -> resource.SliceChange | None:
    """Return the slice that the change is best or worst for, whichever direction is good."""

    def goodness(each: Comparison) -> float:
        assert each.delta is not None
        return each.delta if each.direction == "higher" else -each.delta

    if not slices:
        return None
    found = max(slices, key=goodness) if best else min(slices, key=goodness)
    return resource.SliceChange(name=found.slice, delta=_short(found.delta) or 0.0, samples=found.n)


def summarise(results: resource.Results) -> resource.Summary:
    """Return the results as the short texts of kubectl's columns."""
    delta = None
    if results.delta is not None:
        in_points = results.metric in SHARES
        delta = f"{results.delta * 100:+.2f} points" if in_points else f"{results.delta:+.4g}"
    return resource.Summary(
        delta=delta,
        speedup=f"x{results.speedup:.3g}" if results.speedup is not None else None,
        size=f"x{results.size_ratio:.3g}" if results.size_ratio is not None else None,
    )


def headlines(stage: StageEvidence) -> dict[str, str]:
    """Return a few figures of a finished stage, as people read them."""
    details = stage.details
    match details.kind:
        case "evaluate":
            metric = details.metrics[0] if details.metrics else None
            return {metric.name: f"{metric.value:.4g}"} if metric and metric.value else {}
        case "convert":
            return {"format": details.format}
        case "prune":
            return {
                "sparsity": f"{details.achieved_sparsity:.3g}",
                "parameters": str(details.nonzero_after),
            }
        case "finetune":
            return {"epochs": str(len(details.epochs)), "bestEpoch": str(details.best_epoch)}
        case "quantize":
            return _chosen(details)
        case "validate":
            return {"examples": str(details.test_examples)}


def _chosen(details: QuantizeDetails) -> dict[str, str]:
    """Return what was chosen and why, with a line for each candidate."""
    candidates = details.candidates if len(details.candidates) > 1 else ()
    return {
        "chosen": details.chosen,
        "int8Coverage": f"{details.int8_coverage:.3g}",
        "why": _shortened(details.reason),
        **{each.name: _candidate(each) for each in candidates[:MOST_CANDIDATES]},
    }


def _candidate(each: QuantizationCandidate) -> str:
    figures = (
        f"{each.size_bytes} bytes" if each.size_bytes else "",
        f"quality {each.quality:.4g}" if each.quality is not None else "",
        f"x{each.speedup.ratio:.3g}" if each.speedup else "",
        "kept" if each.kept else each.reason,
    )
    return _shortened(", ".join(filter(None, figures)))


def _shortened(text: str) -> str:
    return text if len(text) <= HEADLINE_LIMIT else f"{text[: HEADLINE_LIMIT - 3]}..."
