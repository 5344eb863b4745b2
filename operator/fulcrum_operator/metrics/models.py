"""Convert the last evidence of a model into samples of the families about models.

Evidence replaces all earlier figures of its model, so no figure of an earlier candidate
is shown beside those of the present one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fulcrum_pipelines.evidence import (
    Comparison,
    Evidence,
    Interval,
    LatencyComparison,
    LatencyDistribution,
    QuantizeDetails,
    SizeComparison,
    ValidateDetails,
)
from fulcrum_pipelines.gates import Verdict
from fulcrum_pipelines.gates.headline import headline

MS_PER_S = 1000.0
QUANTILES = {"p50": "0.5", "p95": "0.95"}


@dataclass(frozen=True)
class Sample:
    """One value of one family, without the label `model`."""

    family: str
    labels: dict[str, str]
    value: float


def model_samples(evidence: Evidence, verdict: Verdict) -> tuple[Sample, ...]:
    """Return the samples of `evidence`; `verdict` selects the metric that counts most."""
    return tuple(_samples(evidence, verdict))


def _samples(evidence: Evidence, verdict: Verdict) -> Iterator[Sample]:
    for stage in evidence.stages:
        if isinstance(stage.details, QuantizeDetails):
            coverage = stage.details.int8_coverage
            yield Sample("fulcrum_model_int8_coverage_ratio", {}, coverage)
        if isinstance(stage.details, ValidateDetails):
            for timing in stage.details.latency:
                yield from _timing(timing)
            yield from _size(stage.details.size)
            yield from _delta(headline(stage.details, verdict))


def _timing(timing: LatencyComparison) -> Iterator[Sample]:
    batch = {"batch": str(timing.batch)}
    for role, distribution in (("baseline", timing.baseline), ("candidate", timing.candidate)):
        for quantile, value_ms in _quantiles_ms(distribution).items():
            labels = {**batch, "role": role, "quantile": quantile}
            yield Sample("fulcrum_model_latency_seconds", labels, value_ms / MS_PER_S)
    yield Sample("fulcrum_model_speedup_ratio", batch, timing.speedup.ratio)
    yield from _bounds("fulcrum_model_speedup_bound_ratio", batch, timing.speedup.interval)


def _quantiles_ms(distribution: LatencyDistribution) -> dict[str, float]:
    percentiles = {"p50": distribution.median_ms} | distribution.percentiles_ms
    return {QUANTILES[name]: value for name, value in percentiles.items() if name in QUANTILES}


def _size(size: SizeComparison) -> Iterator[Sample]:
    yield Sample("fulcrum_model_size_bytes", {"role": "baseline"}, size.baseline_bytes)
    yield Sample("fulcrum_model_size_bytes", {"role": "candidate"}, size.candidate_bytes)
    if size.candidate_bytes:
        ratio = size.baseline_bytes / size.candidate_bytes
        yield Sample("fulcrum_model_size_ratio", {}, ratio)


def _delta(comparison: Comparison | None) -> Iterator[Sample]:
    if comparison is None or comparison.delta is None:
        return
    metric = {"metric": comparison.metric}
    yield Sample("fulcrum_model_metric_delta", metric, comparison.delta)
    if comparison.interval is not None:
        yield from _bounds("fulcrum_model_metric_delta_bound", metric, comparison.interval)


def _bounds(family: str, labels: dict[str, str], interval: Interval) -> Iterator[Sample]:
    yield Sample(family, {**labels, "bound": "low"}, interval.low)
    yield Sample(family, {**labels, "bound": "high"}, interval.high)
