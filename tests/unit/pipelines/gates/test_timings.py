"""Records of timings that contradict themselves block; honest ones of any shape do not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
from builders.figures import make_interval, make_latency
from gate_subjects import GOOD_DETAILS, make_gate, with_details

from fulcrum_pipelines.evidence import LatencyComparison, LatencyDistribution, RatioInterval
from fulcrum_pipelines.gates import GateResult, decide
from fulcrum_pipelines.latency_limits import FEWEST_CPU_SHARE

GOOD = make_latency(1, speedup=6.4, cpu_share=0.99)


def decided(timing: LatencyComparison) -> GateResult:
    details = GOOD_DETAILS.model_copy(update={"latency": (timing,)})
    return decide(with_details(details), [make_gate("speedup", min=2.0)]).gates[0]


def changed(**changes: Any) -> LatencyComparison:
    return GOOD.model_copy(update=changes)


def with_ratio(name: str, ratio: float, low: float, high: float) -> LatencyComparison:
    interval = make_interval(low, high, level=getattr(GOOD, name).interval.level)
    return changed(**{name: RatioInterval(ratio=ratio, interval=interval)})


def with_side(side: str, **changes: Any) -> LatencyComparison:
    return changed(**{side: getattr(GOOD, side).model_copy(update=changes)})


def quantiles(side: LatencyDistribution, **at: float) -> tuple[float, ...]:
    """Return the quantiles with some of them multiplied: `at` maps "q<percent>" to the factor."""
    values = list(side.histogram_ms)
    for name, factor in at.items():
        values[int(name[1:])] *= factor
    return tuple(values)


@dataclass(frozen=True)
class Row:
    name: str
    timing: LatencyComparison
    words: str


BASELINE, CANDIDATE = GOOD.baseline, GOOD.candidate
FASTEST, SLOWEST = BASELINE.histogram_ms[0], BASELINE.histogram_ms[-1]
P95 = BASELINE.percentiles_ms["p95"]

CONTRADICTING = (
    Row("ratio-below-its-interval", with_ratio("speedup", 6.4, 6.5, 6.9), "outside its own"),
    Row("ratio-above-its-interval", with_ratio("speedup", 6.4, 6.0, 6.3), "outside its own"),
    Row("interval-upside-down", with_ratio("speedup", 6.4, 6.9, 6.0), "outside its own"),
    Row("ratio-of-zero", with_ratio("speedup", 0.0, 0.0, 6.9), "a ratio of times is above 0"),
    Row("interval-from-zero", with_ratio("speedup", 6.4, 0.0, 6.9), "a ratio of times is above 0"),
    Row("control-outside-its-interval", with_ratio("aa", 1.2, 0.9, 1.1), "outside its own"),
    Row("control-of-zero", with_ratio("aa", 0.0, 0.0, 1.1), "a ratio of times is above 0"),
    Row("ratio-unlike-medians", with_ratio("speedup", 6.6, 6.2, 6.9), "but follows as 6.4"),
    Row("ratio-inverted", with_ratio("speedup", 1 / 6.4, 0.1, 0.2), "but follows as 6.4"),
    Row("reliable-without-a-cpu", changed(cpu_share=0.5), "recorded as reliable"),
    Row(
        "reliable-just-below-the-limit",
        changed(cpu_share=FEWEST_CPU_SHARE - 1e-6),
        "recorded as reliable",
    ),
    Row("reliable-against-its-control", with_ratio("aa", 1.1, 1.05, 1.2), "which excludes 1"),
    Row("negative-cpu-share", changed(cpu_share=-1.0, reliable=False), "the CPU share"),
    Row("cpu-share-of-more-threads", changed(cpu_share=2.1), "the CPU share"),
    Row("cpu-share-of-many-cpus", changed(cpu_share=400.0, threads=4), "the CPU share"),
    Row(
        "reliable-with-a-note-on-doubts",
        changed(note="399 of 400 pairs fitted into the time; unreliable: calls had a CPU for 50%"),
        "but its note says",
    ),
    *(
        Row(
            f"control-at-{level:g}",
            changed(aa=RatioInterval(ratio=1.0, interval=make_interval(0.9, 1.1, level=level))),
            "is measured at 0.99",
        )
        for level in (0.0, 0.5, 0.95, 0.999999, 1.0)
    ),
    Row("negative-warmup", changed(warmup=-20), "after -20 calls"),
    Row("no-warmup", changed(warmup=0), "after 0 calls"),
    Row("no-pairs", changed(pairs=0), "0 pairs"),
    Row("negative-pairs", changed(pairs=-400), "-400 pairs"),
    Row("fewer-pairs-than-sessions", changed(pairs=4), "4 pairs in 5 sessions"),
    Row("one-session", changed(sessions=1), "1 sessions"),
    Row("no-threads", changed(threads=0), "0 threads"),
    Row("more-pairs-than-calls", changed(pairs=40_000), "of 400 calls, but pairs are 40000"),
    Row("fewer-calls-of-the-candidate", with_side("candidate", n=399), "of 399 calls"),
    Row("median-of-zero", with_side("candidate", median_ms=0.0), "every call takes time"),
    Row("negative-median", with_side("baseline", median_ms=-1.72), "every call takes time"),
    Row("negative-mean", with_side("baseline", mean_ms=-1.0), "every call takes time"),
    Row("mean-beyond-all-calls", with_side("baseline", mean_ms=9.0), "the mean of"),
    Row("mean-below-all-calls", with_side("baseline", mean_ms=0.9 * FASTEST), "the mean of"),
    Row(
        "negative-percentile",
        with_side("candidate", percentiles_ms={"p95": -0.1}),
        "every call takes time",
    ),
    Row(
        "falling-percentiles",
        with_side("baseline", percentiles_ms={"p90": P95, "p95": P95 * 0.99}),
        "below a lower percentile",
    ),
    Row(
        "p100-below-p95",
        with_side("baseline", percentiles_ms={"p100": P95, "p95": SLOWEST}),
        "below a lower percentile",
    ),
    Row(
        "p95-below-the-median",
        with_side("baseline", percentiles_ms={"p95": 1.0}),
        "p95 of the baseline's latency",
    ),
    Row(
        "p5-above-the-median",
        with_side("baseline", percentiles_ms={"p5": 1.8}),
        "p5 of the baseline's latency",
    ),
    Row(
        "p95-unlike-its-quantile",
        with_side("baseline", percentiles_ms={"p95": SLOWEST}),
        "p95 of the baseline's latency",
    ),
    Row("unknown-percentile", with_side("baseline", percentiles_ms={"best": 1.8}), "'best'"),
    Row("percentile-of-120", with_side("baseline", percentiles_ms={"p120": 9.0}), "'p120'"),
    Row(
        "falling-quantiles",
        with_side("candidate", histogram_ms=quantiles(CANDIDATE, q40=1.5)),
        "below a lower percentile",
    ),
    Row(
        "negative-quantile",
        with_side("candidate", histogram_ms=quantiles(CANDIDATE, q0=-1.0)),
        "every call takes time",
    ),
    Row(
        "quantiles-of-faster-calls",
        with_side("candidate", histogram_ms=tuple(each / 2 for each in CANDIDATE.histogram_ms)),
        "the median of the candidate's latency",
    ),
    Row("no-quantiles", with_side("baseline", histogram_ms=()), "has 0 quantiles"),
    Row("no-quantiles-of-candidate", with_side("candidate", histogram_ms=()), "has 0 quantiles"),
    Row("some-quantiles", with_side("baseline", histogram_ms=(1.0, 1.72, 2.0)), "3 quantiles"),
    Row(
        "quantile-of-nan",
        with_side("baseline", histogram_ms=quantiles(BASELINE, q7=math.nan)),
        "not a number",
    ),
)


@pytest.mark.parametrize("row", CONTRADICTING, ids=lambda row: row.name)
@pytest.mark.parametrize("reliable", [True, False])
def test_timing_that_contradicts_itself_is_anomalous(row: Row, reliable: bool) -> None:
    if row.name.startswith("reliable") and not reliable:
        timing, verdict = row.timing.model_copy(update={"reliable": False}), "Inconclusive"
    else:
        timing, verdict = row.timing.model_copy(update={"reliable": reliable}), "Anomalous"
    found = decided(timing)
    assert found.verdict == verdict, found.reason
    assert verdict == "Inconclusive" or row.words in found.reason


def test_untouched_timing_passes() -> None:
    assert decided(GOOD).verdict == "Pass"


@pytest.mark.parametrize(
    "timing",
    [
        pytest.param(changed(cpu_share=None), id="evidence-without-a-cpu-share"),
        pytest.param(changed(cpu_share=FEWEST_CPU_SHARE), id="cpu-share-at-the-limit"),
        pytest.param(changed(cpu_share=3.9, threads=4), id="several-threads"),
        pytest.param(changed(cpu_share=1.0 + 1e-4), id="cpu-share-above-1-by-rounding"),
        pytest.param(changed(note="the machine was busy: load 3.0 on 2 CPUs"), id="busy"),
        pytest.param(with_side("baseline", percentiles_ms={}), id="no-percentiles"),
        pytest.param(with_ratio("speedup", 6.4, 6.4, 6.4), id="interval-without-a-width"),
    ],
)
def test_timing_with_less_on_record_passes(timing: LatencyComparison) -> None:
    assert decided(timing).verdict == "Pass"
