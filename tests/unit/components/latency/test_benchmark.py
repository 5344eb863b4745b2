"""Timing by the protocol. Only ratios are looked at: the machine that tests run on is busy."""

from __future__ import annotations

import gc
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from outcome_makers import Array, write_mlp

from fulcrum_components.latency import (
    benchmark,
    compare_latency,
    compare_quickly,
    pairs_for_percentile,
    speedup_confidences,
)
from fulcrum_components.latency.interleaving import Effort, Interleaved, Timings, interleave
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import LatencyComparison
from fulcrum_pipelines.latency_limits import FEWEST_CPU_SHARE
from fulcrum_pipelines.resources.compressionjob import Gate, Measure

MEASURE = Measure(pairs=200, sessions=5, warmup=20, percentiles=(50, 95))


def examples(batch: int) -> dict[str, Array]:
    generator = np.random.default_rng(batch)
    return {"x": generator.normal(size=(batch, 64)).astype(np.float32)}


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes about a hundred times as long as `fast` at batch 32."""
    return write_mlp(tmp_path_factory.mktemp("slow") / "slow.onnx", 4096)


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mlp(tmp_path_factory.mktemp("fast") / "fast.onnx", 32)


def test_a_comparison_carries_its_protocol(slow: Path, fast: Path) -> None:
    batches = {1: examples(1), 32: examples(32)}
    found = compare_latency(slow, fast, batches, MEASURE, 7, confidence_by_batch={32: 0.9})
    comparisons = [each.comparison for each in found]
    assert [one.batch for one in comparisons] == [1, 32]
    assert [one.speedup.interval.level for one in comparisons] == [0.95, 0.9]
    for one in comparisons:
        assert (one.pairs, one.sessions, one.warmup, one.threads) == (200, 5, 20, 1)
        assert one.optimization_level == "all"
        assert one.baseline.n == one.candidate.n == 200
        assert set(one.baseline.percentiles_ms) == {"p50", "p95"}
        assert len(one.candidate.histogram_ms) == 101
        assert list(one.candidate.histogram_ms) == sorted(one.candidate.histogram_ms)
        assert one.speedup.ratio == pytest.approx(one.baseline.median_ms / one.candidate.median_ms)
        interval = one.aa.interval
        assert one.cpu_share is not None
        quiet = one.cpu_share >= FEWEST_CPU_SHARE
        assert one.reliable == (quiet and interval.low <= 1 <= interval.high)
        assert one.reliable == ("unreliable" not in one.note)
    assert comparisons[1].speedup.interval.low > 2


@pytest.mark.parametrize(("share", "reliable"), [(0.5, False), (0.79, False), (1.0, True)])
def test_calls_that_waited_for_a_cpu_are_not_relied_on(
    fast: Path, monkeypatch: pytest.MonkeyPatch, share: float, reliable: bool
) -> None:
    def waited(*arguments: Any) -> Interleaved:
        found = interleave(*arguments)
        return replace(found, itself=Timings(*[found.models.first] * 2), cpu_share=share)

    monkeypatch.setattr(benchmark, "interleave", waited)
    (found,) = compare_latency(fast, fast, {1: examples(1)}, MEASURE, 0)
    assert found.comparison.reliable == reliable
    assert reliable or f"calls had a CPU for {share:.0%} of their time" in found.comparison.note


def test_the_same_file_on_both_sides_gives_no_difference(slow: Path) -> None:
    (found,) = compare_latency(slow, slow, {8: examples(8)}, MEASURE, 0)
    speedup = found.comparison.speedup
    assert 0.7 < speedup.ratio < 1.4
    interval = speedup.interval
    assert interval.low * 0.97 < 1 < interval.high * 1.03


def quickly(
    baseline: Path, candidate: Path, *batches: int, precision: float = 9.0
) -> tuple[LatencyComparison, ...]:
    inputs = {batch: examples(batch) for batch in batches}
    return compare_quickly(baseline, candidate, inputs, MEASURE, 0, precision=precision)


def test_a_quick_comparison_finds_the_faster_model(slow: Path, fast: Path) -> None:
    (there,) = quickly(slow, fast, 32)
    (back,) = quickly(fast, slow, 32)
    assert there.speedup.interval.low > 1.5
    assert back.speedup.interval.high < 0.7
    assert there.baseline.histogram_ms == there.candidate.histogram_ms == ()


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Give timings a whole CPU and a control that shows nothing; return what was timed."""
    timed: list[Path] = []

    def undisturbed(baseline: Path, candidate: Path, *arguments: Any) -> Interleaved:
        timed.append(candidate)
        found = interleave(baseline, candidate, *arguments)
        return replace(found, itself=Timings(*[found.models.first] * 2), cpu_share=1.0)

    monkeypatch.setattr(benchmark, "interleave", undisturbed)
    return timed


def test_every_batch_size_is_timed_once_where_it_is_reliable(
    quiet: list[Path], slow: Path, fast: Path
) -> None:
    found = quickly(slow, fast, 1, 8, 32)
    assert [each.batch for each in found] == [1, 8, 32]
    assert all(each.reliable for each in found)
    assert len(quiet) == 3


def test_unreliable_timings_are_repeated_and_then_given_up(
    quiet: list[Path], slow: Path, fast: Path
) -> None:
    (found,) = quickly(slow, fast, 1, 8, 32, precision=0.0)
    assert (found.batch, found.reliable) == (1, False)
    assert "may be off by" in found.note
    assert len(quiet) == benchmark.TRIES


def test_a_percentile_without_ten_calls_beyond_it_is_refused(fast: Path) -> None:
    measure = Measure(pairs=400, percentiles=(99,))
    with pytest.raises(UserError, match=r"spec.measure.pairs: 400 pairs .* 99, which needs 1000"):
        compare_latency(fast, fast, {1: examples(1)}, measure, 0)


@pytest.mark.parametrize(("percentile", "pairs"), [(50, 20), (90, 100), (95, 200), (99, 1000)])
def test_pairs_for_a_percentile(percentile: int, pairs: int) -> None:
    assert pairs_for_percentile(percentile) == pairs


def test_the_budget_cuts_pairs_but_not_below_what_percentiles_need(fast: Path) -> None:
    measure = Measure(pairs=100_000)
    (found,) = compare_latency(fast, fast, {1: examples(1)}, measure, 0, budget_seconds=0.001)
    assert found.comparison.pairs == 200
    assert "200 of 100000 pairs" in found.comparison.note


def test_more_threads_than_cpus_are_noted(fast: Path) -> None:
    measure = Measure(pairs=200, threads=64)
    (found,) = compare_latency(fast, fast, {1: examples(1)}, measure, 0)
    assert "64 threads on" in found.comparison.note


@dataclass(frozen=True)
class Wrong:
    """Inputs that the model does not take."""

    name: str
    inputs: dict[str, Array]


WRONG = (
    Wrong("name", {"z": np.zeros((1, 64), dtype=np.float32)}),
    Wrong("width", {"x": np.zeros((1, 63), dtype=np.float32)}),
    Wrong("dtype", {"x": np.zeros((1, 64), dtype=np.float64)}),
)


@pytest.mark.parametrize("row", WRONG, ids=lambda row: row.name)
def test_inputs_that_do_not_fit_are_the_users_fault(row: Wrong, fast: Path) -> None:
    with pytest.raises(UserError, match=r"fast.onnx: the model fails on inputs"):
        compare_quickly(fast, fast, {1: row.inputs}, MEASURE, 0, precision=0.1)
    assert gc.isenabled()


@pytest.mark.parametrize("exempt", [False, True])
def test_timing_leaves_exempt_objects_as_the_caller_had_them(fast: Path, exempt: bool) -> None:
    were_exempt = gc.get_freeze_count() > 0  # the tests' settings exempt their heap too
    try:
        gc.freeze() if exempt else gc.unfreeze()
        compare_quickly(fast, fast, {1: examples(1)}, MEASURE, 0, precision=0.1)
        with pytest.raises(UserError):
            compare_quickly(fast, fast, {1: WRONG[0].inputs}, MEASURE, 0, precision=0.1)
        assert (gc.get_freeze_count() > 0) is exempt
        assert gc.isenabled()
    finally:
        gc.freeze() if were_exempt else gc.unfreeze()


def test_calls_are_interleaved_and_the_baseline_is_timed_against_itself(fast: Path) -> None:
    effort = Effort(pairs=12, fewest_pairs=10, rounds=5, warmup=2, budget_seconds=10)
    found = interleave(fast, fast, examples(1), 1, effort, 0)
    for timings in (found.models, found.itself):
        assert timings.first.shape == timings.second.shape == (5, 3)
        assert (timings.first > 0).all()


def test_gates_say_at_which_confidence_a_speedup_is_wanted() -> None:
    gates = [
        Gate(name="a", kind="speedup", min=2, confidence=0.9),
        Gate(name="b", kind="speedup", min=3, batch=32, confidence=0.99),
        Gate(name="c", kind="speedup", min=3, confidence=0.8),
        Gate(name="d", kind="size", max=0.5),
    ]
    assert speedup_confidences(gates) == {1: 0.9, 32: 0.99}
