"""Times two models so that nothing but the models differs.

Timing one model after the other invents speed-ups of 1.6 for a model against itself, since the
machine changes in between. Here both sessions are open in one process and take turns, in an order
that is drawn anew for each pair. Since two sessions of one file still differ by some percent, as
memory lies differently, several fresh ones are opened. Each round also opens a second session of
the baseline and times it against the first: what differs there is noise.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
import onnxruntime as ort

from fulcrum_components.sessions import open_session, run_session

Array = np.ndarray[Any, np.dtype[Any]]
Inputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Effort:
    """How much to measure.

    Attributes:
        pairs: Pairs of calls asked for, over all rounds.
        fewest_pairs: Pairs below which `budget_seconds` does not cut.
        rounds: Rounds of fresh sessions.
        warmup: Calls of each session that are not counted.
        budget_seconds: Time for the counted calls of all rounds.
        against_itself: Whether to time the baseline against itself, too.
    """

    pairs: int
    fewest_pairs: int
    rounds: int
    warmup: int
    budget_seconds: float
    against_itself: bool = True


@dataclass(frozen=True)
class Timings:
    """Nanoseconds of both calls of each pair, (rounds, pairs a round) each."""

    first: Array
    second: Array


@dataclass(frozen=True)
class Interleaved:
    """Timings of baseline with candidate, and of baseline with itself where asked for."""

    models: Timings
    itself: Timings | None


def interleave(
    baseline: Path, candidate: Path, inputs: Inputs, threads: int, effort: Effort, seed: int
) -> Interleaved:
    """Return timings of both models on `inputs`.

    Args:
        baseline: ONNX file.
        candidate: ONNX file with the same inputs.
        inputs: One array for each input.
        threads: Intra-op threads.
        effort: How much to measure.
        seed: Of the order in each pair.

    Raises:
        UserError: Where a model cannot be loaded or does not take the inputs.
    """
    generator = np.random.default_rng(seed)
    paths = [baseline, candidate, *([baseline] if effort.against_itself else [])]
    per_round = 0
    taken: list[list[tuple[Array, Array]]] = []
    for _ in range(effort.rounds):
        sessions = _open_in_random_order(paths, threads, generator)
        with _no_garbage_collection():
            call_ns = [
                _warm_up(session, inputs, effort.warmup, path.name)
                for session, path in zip(sessions, paths, strict=True)
            ]
            per_round = per_round or _pairs_a_round(effort, call_ns)
            first = sessions[0]
            taken.append([_take(first, s, inputs, per_round, generator) for s in sessions[1:]])
    return Interleaved(_stack(taken, 0), _stack(taken, 1) if effort.against_itself else None)


def _stack(taken: list[list[tuple[Array, Array]]], index: int) -> Timings:
    rounds = [one[index] for one in taken]
    return Timings(np.stack([r[0] for r in rounds]), np.stack([r[1] for r in rounds]))


def _open_in_random_order(
    paths: list[Path], threads: int, generator: np.random.Generator
) -> list[ort.InferenceSession]:
    """Return one session a path. Which is opened first decides on its memory."""
    opened = {int(i): open_session(paths[i], threads) for i in generator.permutation(len(paths))}
    return [opened[index] for index in range(len(paths))]


def _warm_up(session: ort.InferenceSession, inputs: Inputs, calls: int, where: str) -> float:
    """Return the median time of the later half of `calls` calls, in nanoseconds."""
    run_session(session, inputs, where=where)
    times = [_call_ns(session, dict(inputs)) for _ in range(calls)]
    return float(np.median(times[calls // 2 :]))


def _pairs_a_round(effort: Effort, call_ns: list[float]) -> int:
    """Return how many pairs of each kind fit into a round, between what is needed and asked for."""
    pair_ns = sum(call_ns[0] + other for other in call_ns[1:])
    affordable = int(effort.budget_seconds * 1e9 / pair_ns)
    pairs = min(effort.pairs, max(effort.fewest_pairs, affordable))
    return -(-pairs // effort.rounds)


def _take(
    first: ort.InferenceSession,
    second: ort.InferenceSession,
    inputs: Inputs,
    pairs: int,
    generator: np.random.Generator,
) -> tuple[Array, Array]:
    """Return nanoseconds (pairs,) of both sessions, in an order that is drawn for each pair."""
    feed = dict(inputs)
    times = np.empty((2, pairs), dtype=np.int64)
    sessions = (first, second)
    for pair, swapped in enumerate(generator.integers(0, 2, pairs).tolist()):
        for which in (swapped, 1 - swapped):
            times[which, pair] = _call_ns(sessions[which], feed)
    return times[0], times[1]


def _call_ns(session: ort.InferenceSession, feed: dict[str, np.ndarray]) -> int:
    start = perf_counter_ns()
    session.run(None, feed)
    return perf_counter_ns() - start


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep Python's collector from running inside a timed call."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
