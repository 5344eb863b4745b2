"""Gates accept every comparison that the benchmark records, whatever the times look like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fulcrum_components.latency import benchmark, compare_latency, intervals
from fulcrum_components.latency.interleaving import Array, Interleaved, Timings
from fulcrum_pipelines.evidence import LatencyComparison
from fulcrum_pipelines.gates.timings import check_timing
from fulcrum_pipelines.resources.compressionjob import Measure

Make = Callable[[np.random.Generator, tuple[int, int]], Array]

SHAPES: dict[str, Make] = {
    "lognormal": lambda generator, shape: generator.lognormal(0, 0.1, shape),
    "heavy-tailed": lambda generator, shape: 1 + generator.pareto(0.5, shape),
    "bimodal": lambda generator, shape: np.where(generator.random(shape) < 0.5, 1.0, 9.0),
    "rarely-slow": lambda generator, shape: np.where(generator.random(shape) < 0.98, 1.0, 500.0),
    "constant": lambda generator, shape: np.ones(shape),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_gates_accept_what_the_benchmark_records(
    shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intervals, "REPLICATES", 40)
    generator = np.random.default_rng(0)
    for _ in range(60):
        rounds = int(generator.integers(5, 12))
        pairs = -(-int(generator.integers(200, 1000)) // rounds)
        simulated = made_up(SHAPES[shape], generator, rounds, pairs)
        monkeypatch.setattr(benchmark, "interleave", lambda *_, found=simulated: found)
        percentiles = tuple(sorted(generator.choice(np.arange(50, 96), 4, replace=False).tolist()))
        measure = Measure(pairs=rounds * pairs, sessions=rounds, percentiles=percentiles)
        (timed,) = compare_latency(Path("a"), Path("b"), {1: {}}, measure, 0)
        read = LatencyComparison.model_validate_json(timed.comparison.model_dump_json())
        check_timing(read, "the speed-up")


def made_up(make: Make, generator: np.random.Generator, rounds: int, pairs: int) -> Interleaved:
    """Return timings of nanoseconds to seconds, by clocks of 1 ns and of 1 us."""
    tick, typical_ns = int(generator.choice([1, 1000])), 10 ** generator.uniform(1.5, 9)

    def times(factor: float) -> Any:
        sessions = np.exp(0.03 * generator.standard_normal((rounds, 1)))
        drawn = np.clip(
            make(generator, (rounds, pairs)) * typical_ns * factor * sessions, tick, 1e15
        )
        return (drawn // tick * tick).astype(np.int64)

    baseline, candidate, control = times(10 ** generator.uniform(-1, 1)), times(1), times(1)
    return Interleaved(
        Timings(baseline, candidate),
        Timings(baseline[:, :18], control[:, :18]),
        float(generator.uniform(0.5, 1)),
    )
