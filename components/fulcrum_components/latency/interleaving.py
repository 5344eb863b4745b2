"""Times two models so that nothing but the models differs.

Timing one model after the other invents speed-ups of 1.6 for a model against itself, since the
machine changes in between. Here all sessions are open in one process and take turns, in a new
random order for each turn. Since two sessions of one file still differ by some percent, as
memory lies differently, several fresh ones are opened.

Each round also opens a second session of the baseline, the control, and times it against the first:
a difference there is noise. It takes part in the same turns, so one timing of the baseline serves
both comparisons. That is sound: each interval is about one pair of sessions and needs pairs that
are independent of one another from round to round, not of the other comparison; since both share
the baseline, the control checks the very calls that the speed-up rests on.

Warm-up and control count against the time for all calls. Calls beyond it are cut in this order:
turns down to `fewest_pairs`; then turns with the control, down to `FEWEST_CONTROLS` a round, spread
by chance over the round. Fewer of those make the control's interval wider, as the bootstrap
resamples what there is, by little: sessions differ by percents, and their number stays. The warm-up
is never cut. So a comparison takes the time given or what these fewest calls take, if that is more.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns, process_time_ns
from typing import Any

import numpy as np

from fulcrum_components.sessions import open_session, run_session

Array = np.ndarray[Any, np.dtype[Any]]
Inputs = Mapping[str, np.ndarray]
SessionOpener = Callable[[Path, int], Any]
Clock = Callable[[], int]

FEWEST_CONTROLS = 20
"""Calls of the control in each round, however long they take. If single calls differ by 10 %,
chance moves the ratio of two medians of 20 by 4 %, as much as sessions differ. Five rounds
distinguish a difference of a fifth from none (made-up sessions that differ by 1 %, 3 of 3
seeds)."""


@dataclass(frozen=True)
class Effort:
    """How much to measure.

    Attributes:
        pairs: Pairs of calls asked for, over all rounds.
        fewest_pairs: Pairs below which `budget_seconds` does not cut.
        rounds: Rounds of fresh sessions.
        warmup: Calls of each session that are not counted.
        budget_seconds: Time for all calls of all rounds.
    """

    pairs: int
    fewest_pairs: int
    rounds: int
    warmup: int
    budget_seconds: float


@dataclass(frozen=True)
class Timings:
    """Nanoseconds of both calls of each pair, (rounds, pairs a round) each."""

    first: Array
    second: Array


@dataclass(frozen=True)
class Interleaved:
    """Timings of baseline with candidate, and of baseline with itself.

    Attributes:
        models: Baseline and candidate.
        itself: Baseline and control.
        cpu_share: CPU time of this process for each unit of time that the turns took. Below 1,
            calls waited for a CPU that others had, which the control suffers as much as the
            baseline does and so cannot show.
    """

    models: Timings
    itself: Timings
    cpu_share: float


@dataclass(frozen=True)
class Turns:
    """One round: `pairs` turns, of which `controls` include the control."""

    pairs: int
    controls: int


@contextmanager
def _few_objects_to_collect() -> Iterator[None]:
    """Exempt all objects of the process from each round's collection, which outlasts its calls.

    A caller that exempted its own objects before keeps them exempt.
    """
    were_exempt = gc.get_freeze_count() > 0
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        if not were_exempt:
            gc.unfreeze()


@_few_objects_to_collect()
def interleave(
    baseline: Path,
    candidate: Path,
    inputs: Inputs,
    threads: int,
    effort: Effort,
    seed: int,
    *,
    opener: SessionOpener = open_session,
    clock: Clock = perf_counter_ns,
    cpu_clock: Clock = process_time_ns,
) -> Interleaved:
    """Return timings of both models on `inputs`.

    Args:
        baseline: ONNX file.
        candidate: ONNX file with the same inputs.
        inputs: One array for each input.
        threads: Intra-op threads.
        effort: How much to measure.
        seed: Of the order in each turn.
        opener: Opens a session of a file.
        clock: Returns nanoseconds.
        cpu_clock: Returns nanoseconds of CPU time of this process.

    Raises:
        UserError: If a model cannot be loaded or does not take the inputs.
    """
    generator = np.random.default_rng(seed)
    paths = [baseline, candidate, baseline]
    turns: Turns | None = None
    models: list[Array] = []
    itself: list[Array] = []
    took_ns = cpu_ns = 0
    for _ in range(effort.rounds):
        sessions = _open_in_random_order(paths, threads, generator, opener)
        with _no_garbage_collection():
            call_ns = [
                _warm_up(session, inputs, effort.warmup, path.name, clock)
                for session, path in zip(sessions, paths, strict=True)
            ]
            turns = turns or plan_turns(effort, call_ns)
            started_ns, cpu_started_ns = clock(), cpu_clock()
            times, controlled = _take_turns(sessions, dict(inputs), turns, generator, clock)
            cpu_ns += cpu_clock() - cpu_started_ns
            took_ns += clock() - started_ns
        models.append(times[:2])
        itself.append(times[::2, controlled])
    return Interleaved(_stacked(models), _stacked(itself), cpu_ns / max(took_ns, 1))


def _stacked(rounds: Sequence[Array]) -> Timings:
    """Return timings of rounds of shape (2, pairs) each."""
    first, second = np.stack(rounds, axis=1)
    return Timings(first, second)


def _open_in_random_order(
    paths: list[Path], threads: int, generator: np.random.Generator, opener: SessionOpener
) -> list[Any]:
    """Return one session a path. Which is opened first decides on its memory."""
    opened = {int(i): opener(paths[i], threads) for i in generator.permutation(len(paths))}
    return [opened[index] for index in range(len(paths))]


def _warm_up(session: Any, inputs: Inputs, calls: int, where: str, clock: Clock) -> float:
    """Return the median time of the later half of `calls` calls, in nanoseconds."""
    run_session(session, inputs, where=where)  # reports inputs that do not fit; the first warm-up
    times = [_call_ns(session, dict(inputs), clock) for _ in range(calls - 1)]
    return float(np.median(times[len(times) // 2 :]))


def plan_turns(effort: Effort, call_ns: Sequence[float]) -> Turns:
    """Return how many turns a round takes, and how many of them include the control.

    Args:
        effort: What is asked for, and the time.
        call_ns: Time of a call of baseline, candidate and control.
    """
    warmup_ns = effort.rounds * effort.warmup * sum(call_ns)
    left_ns = effort.budget_seconds * 1e9 - warmup_ns
    affordable = int(max(0.0, left_ns) / sum(call_ns))
    pairs = _a_round(min(effort.pairs, max(effort.fewest_pairs, affordable)), effort)
    left_ns -= effort.rounds * pairs * sum(call_ns[:2])
    controls = int(max(0.0, left_ns) / (effort.rounds * call_ns[2]))
    return Turns(pairs, min(pairs, max(FEWEST_CONTROLS, controls)))


def _a_round(pairs: int, effort: Effort) -> int:
    return -(-pairs // effort.rounds)


def _take_turns(
    sessions: Sequence[Any],
    feed: dict[str, np.ndarray],
    turns: Turns,
    generator: np.random.Generator,
    clock: Clock,
) -> tuple[Array, Array]:
    """Let the sessions take turns, in an order that is drawn for each turn.

    Returns:
        Nanoseconds (sessions, turns), and the numbers of the turns that include the control.
    """
    times = np.zeros((len(sessions), turns.pairs), dtype=np.int64)
    controlled = np.sort(generator.choice(turns.pairs, turns.controls, replace=False))
    with_control = set(controlled.tolist())
    for turn in range(turns.pairs):
        taking_part = len(sessions) if turn in with_control else 2
        for which in generator.permutation(taking_part).tolist():
            times[which, turn] = _call_ns(sessions[which], feed, clock)
    return times, controlled


def _call_ns(session: Any, feed: dict[str, np.ndarray], clock: Clock) -> int:
    start = clock()
    session.run(None, feed)
    return clock() - start


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
