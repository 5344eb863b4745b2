"""Latency of candidate against baseline by the protocol of the design (section 7)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fulcrum_components.latency.interleaving import Array, Effort, Inputs, Interleaved, interleave
from fulcrum_components.latency.intervals import median_ratio
from fulcrum_components.sessions import OPTIMIZATION_LEVEL
from fulcrum_pipelines.catalog import GATE_KINDS
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import LatencyComparison, LatencyDistribution, RatioInterval
from fulcrum_pipelines.latency_limits import CONTROL_LEVEL, FEWEST_CPU_SHARE, UNRELIABLE
from fulcrum_pipelines.resources.compressionjob import Gate, Measure

FEWEST_PAIRS = 200
BUDGET_SECONDS = 60.0
"""Time for all calls at one batch size, unless warm-up and `FEWEST_PAIRS` need more."""

DEFAULT_CONFIDENCE = 0.95

QUICK = Effort(pairs=100, fewest_pairs=15, rounds=5, warmup=3, budget_seconds=2.0)
"""For a choice between candidates. On a quiet core the interval is 2 to 4 % to each side."""
TRIES = 3
"""The control excludes 1 by chance once in 100 timings; three times in a row is the machine."""

_BEYOND = 10
"""Calls that must lie above a percentile, else it is an accident: 200 calls for p95, 1000 for
p99."""
_NS_PER_MS = 1e6


@dataclass(frozen=True)
class Timed:
    """A comparison for the evidence, and the timings that it was computed from."""

    comparison: LatencyComparison
    timings: Interleaved


def compare_latency(
    baseline: Path,
    candidate: Path,
    inputs_by_batch: Mapping[int, Inputs],
    measure: Measure,
    seed: int,
    *,
    confidence_by_batch: Mapping[int, float] | None = None,
    budget_seconds: float = BUDGET_SECONDS,
) -> tuple[Timed, ...]:
    """Return the comparison at each batch size, in the order of `inputs_by_batch`.

    Args:
        baseline: ONNX file.
        candidate: ONNX file with the same inputs.
        inputs_by_batch: For each batch size one array for each input.
        measure: Pairs, rounds, warm-up, threads and percentiles.
        seed: Of the order of calls and of the bootstrap.
        confidence_by_batch: Confidence of the speed-up's interval, 0.95 if it is not named.
        budget_seconds: Time for all calls at one batch size, warm-up and control included. It cuts
            the number of pairs, but not below what the percentiles need.

    Raises:
        UserError: If the pairs are too few for a percentile, or a model refuses the inputs.
    """
    fewest = _check_percentiles(measure)
    effort = Effort(measure.pairs, fewest, measure.sessions, measure.warmup, budget_seconds)
    levels = confidence_by_batch or {}
    found = []
    for batch, inputs in inputs_by_batch.items():
        load = _load_note(measure.threads)
        timings = interleave(baseline, candidate, inputs, measure.threads, effort, seed)
        level = levels.get(batch, DEFAULT_CONFIDENCE)
        comparison = _comparison(timings, batch, measure, level, seed, load)
        found.append(Timed(comparison, timings))
    return tuple(found)


def speedup_confidences(gates: Iterable[Gate]) -> dict[int, float]:
    """Return the confidence that the gates on speed-up want at each batch size.

    Of several gates at one batch size the first one's: evidence holds one timing of each size.
    """
    wanted: dict[int, float] = {}
    for gate in gates:
        if GATE_KINDS[gate.kind].measures == "latency":
            wanted.setdefault(gate.batch or 1, gate.confidence)
    return wanted


def compare_quickly(
    baseline: Path,
    candidate: Path,
    inputs_by_batch: Mapping[int, Inputs],
    measure: Measure,
    seed: int,
    *,
    precision: float,
    effort: Effort = QUICK,
) -> tuple[LatencyComparison, ...]:
    """Return the comparison at each batch size, to choose between candidates, not to prove.

    The protocol is that of `compare_latency` with fewer calls. An unreliable timing is
    repeated, `TRIES` times in all; if it stays so, later batch sizes are left out.

    Args:
        baseline: ONNX file.
        candidate: ONNX file with the same inputs.
        inputs_by_batch: For each batch size one array for each input.
        measure: Says how many threads.
        seed: Of the order of calls and of the bootstrap.
        precision: Widest distance, as a share, from the speed-up to an end of its interval; what
            is wider is unreliable.
        effort: How many calls.

    Raises:
        UserError: If a model cannot be loaded or does not take the inputs.
    """
    quick = measure.model_copy(
        update={
            "pairs": effort.pairs,
            "sessions": effort.rounds,
            "warmup": effort.warmup,
            "percentiles": (),
        }
    )
    found: list[LatencyComparison] = []
    for batch, inputs in inputs_by_batch.items():
        for attempt in range(TRIES):
            load = _load_note(measure.threads)
            timings = interleave(
                baseline, candidate, inputs, measure.threads, effort, seed + attempt
            )
            compared = _comparison(timings, batch, quick, DEFAULT_CONFIDENCE, seed, load)
            compared = _without_histograms(_if_precise(compared, precision))
            if compared.reliable:
                break
        found.append(compared)
        if not compared.reliable:
            break
    return tuple(found)


def _if_precise(compared: LatencyComparison, precision: float) -> LatencyComparison:
    """Return the comparison, as unreliable where its interval is too wide to choose by."""
    ratio, interval = compared.speedup.ratio, compared.speedup.interval
    width = max(interval.high / ratio, ratio / interval.low) - 1
    if width <= precision:
        return compared
    note = f"{UNRELIABLE}: the speed-up of {ratio:.2f} may be off by {width:.0%}"
    notes = "; ".join(filter(None, (compared.note, note)))
    return compared.model_copy(update={"reliable": False, "note": notes})


def _without_histograms(compared: LatencyComparison) -> LatencyComparison:
    """Return the comparison without what only plots need, as there are many candidates."""
    sides = {
        side: getattr(compared, side).model_copy(update={"histogram_ms": ()})
        for side in ("baseline", "candidate")
    }
    return compared.model_copy(update=sides)


def pairs_for_percentile(percentile: int) -> int:
    """Return how many calls `percentile` needs so that ten lie above it."""
    return math.ceil(_BEYOND * 100 / (100 - percentile))


def _check_percentiles(measure: Measure) -> int:
    """Return the fewest pairs that all percentiles of `measure` can be read from."""
    for percentile in measure.percentiles:
        if (needed := pairs_for_percentile(percentile)) > measure.pairs:
            message = (
                f"{measure.pairs} pairs are too few for percentile {percentile}, which needs "
                f"{needed}; raise pairs or drop the percentile"
            )
            raise UserError(message, where="spec.measure.pairs")
    return max([FEWEST_PAIRS, *map(pairs_for_percentile, measure.percentiles)])


def _comparison(
    timings: Interleaved, batch: int, measure: Measure, level: float, seed: int, load: str
) -> LatencyComparison:
    pairs = timings.models.first.size
    itself = median_ratio(timings.itself, CONTROL_LEVEL, seed)
    doubts = _doubts(itself, timings.cpu_share)
    notes = [load, _cut_note(pairs, timings.itself.first.size, measure), *doubts]
    return LatencyComparison(
        batch=batch,
        threads=measure.threads,
        pairs=pairs,
        sessions=measure.sessions,
        warmup=measure.warmup,
        optimization_level=OPTIMIZATION_LEVEL,
        baseline=_distribution(timings.models.first, measure.percentiles),
        candidate=_distribution(timings.models.second, measure.percentiles),
        speedup=median_ratio(timings.models, level, seed),
        aa=itself,
        cpu_share=timings.cpu_share,
        reliable=not doubts,
        note="; ".join(filter(None, notes)),
    )


def _distribution(times_ns: Array, percentiles: tuple[int, ...]) -> LatencyDistribution:
    times_ms = times_ns.ravel() / _NS_PER_MS
    quantiles = np.quantile(times_ms, np.linspace(0, 1, 101))
    return LatencyDistribution(
        n=times_ms.size,
        median_ms=float(np.median(times_ms)),
        mean_ms=float(times_ms.mean()),
        percentiles_ms={
            f"p{p}": float(np.percentile(times_ms, p, method="inverted_cdf")) for p in percentiles
        },
        histogram_ms=tuple(quantiles.tolist()),
    )


def available_cpus() -> int:
    """Return how many CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _load_note(threads: int) -> str:
    cpus, notes = available_cpus(), []
    load = os.getloadavg()[0]
    if load > cpus:
        notes.append(f"the machine was busy: load {load:.1f} on {cpus} CPUs")
    if threads > cpus:
        notes.append(f"{threads} threads on {cpus} CPUs")
    return "; ".join(notes)


def _cut_note(pairs: int, controls: int, measure: Measure) -> str:
    """Return what the time left out of the pairs, and of those of the baseline with itself."""
    notes = []
    if pairs < measure.pairs:
        notes.append(f"{pairs} of {measure.pairs} pairs fitted into the time")
    if controls < pairs:
        notes.append(f"the baseline against itself was timed in {controls} pairs")
    return "; ".join(notes)


def _doubts(itself: RatioInterval, cpu_share: float) -> list[str]:
    """Return why the timings cannot be relied on, nothing where they can."""
    found = []
    low, high = itself.interval.low, itself.interval.high
    if not low <= 1 <= high:
        found.append(
            f"{UNRELIABLE}: the baseline against itself gives {itself.ratio:.3f}, "
            f"{itself.interval.level:.0%} interval {low:.3f} to {high:.3f}, which excludes 1; "
            "measure again on a quiet machine"
        )
    if cpu_share < FEWEST_CPU_SHARE:
        found.append(
            f"{UNRELIABLE}: calls had a CPU for {cpu_share:.0%} of their time only, others had it "
            f"for the rest; at least {FEWEST_CPU_SHARE:.0%} is needed, measure again on a quiet "
            "machine"
        )
    return found
