"""Check the order and duration of calls with fake sessions and a fake clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fulcrum_components.latency.interleaving import (
    FEWEST_CONTROLS,
    Effort,
    Interleaved,
    interleave,
)
from fulcrum_components.latency.intervals import median_ratio

INPUTS = {"x": np.zeros((32, 4), np.float32)}
BASELINE, CANDIDATE = Path("baseline.onnx"), Path("candidate.onnx")


@dataclass(frozen=True)
class Output:
    """Describes an output."""

    name: str = "y"


@dataclass
class Machine:
    """Opens sessions whose calls take the time that their file is said to need.

    Attributes:
        call_s: Seconds of a call of each file.
        session_noise: How far sessions of one file differ, a share.
        call_noise: How far calls of one session differ, a share.
        now_ns: What the clock says.
        calls: The session of each call so far, by number.
    """

    call_s: Mapping[Path, float]
    session_noise: float = 0.0
    call_noise: float = 0.0
    seed: int = 0
    now_ns: int = 0
    calls: list[int] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.generator = np.random.default_rng(self.seed)

    def clock(self) -> int:
        return self.now_ns

    def open(self, path: Path, threads: int) -> Session:
        mean_ns = 1e9 * self.call_s[path] * np.exp(self.session_noise * self.generator.normal())
        self.paths.append(path)
        return Session(self, len(self.paths) - 1, float(mean_ns))

    def interleave(self, effort: Effort, seed: int = 0) -> Interleaved:
        return interleave(
            BASELINE, CANDIDATE, INPUTS, 1, effort, seed, opener=self.open, clock=self.clock
        )

    def half_clock(self) -> int:
        """CPU time where others have the CPU half of the time."""
        return self.now_ns // 2

    @property
    def seconds(self) -> float:
        return self.now_ns / 1e9


@dataclass(frozen=True)
class Session:
    """One session on the machine."""

    machine: Machine
    number: int
    mean_ns: float

    def get_outputs(self) -> list[Output]:
        return [Output()]

    def run(self, names: list[str] | None, feed: Mapping[str, Any]) -> list[Any]:
        noise = np.exp(self.machine.call_noise * self.machine.generator.normal())
        self.machine.now_ns += round(self.mean_ns * noise)
        self.machine.calls.append(self.number)
        return [np.zeros((32, 2), np.float32)]


@dataclass(frozen=True)
class TestCase:
    """How long calls take, and what that leaves of pairs and controls."""

    __test__ = False

    name: str
    baseline_s: float
    candidate_s: float
    pairs: int
    controls: int
    seconds: float


EFFORT = Effort(pairs=400, fewest_pairs=200, rounds=5, warmup=20, budget_seconds=60)
CASES = (
    TestCase("all fits", 0.010, 0.005, 400, 400, 12.5),
    TestCase("pairs are cut", 0.060, 0.020, 330, 325, 60),
    TestCase("controls are cut, too", 0.100, 0.040, 200, 100, 62),
    TestCase("the fewest take longer", 0.740, 0.280, 200, 100, 454),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_warm_up_and_control_are_in_the_time(case: TestCase) -> None:
    machine = Machine({BASELINE: case.baseline_s, CANDIDATE: case.candidate_s})
    found = machine.interleave(EFFORT)
    assert found.models.first.size == found.models.second.size == case.pairs
    assert found.itself.first.size == found.itself.second.size == case.controls
    assert machine.seconds == pytest.approx(case.seconds, rel=0.05)


def test_each_round_has_fresh_sessions_that_are_warm_before_a_call_counts() -> None:
    machine = Machine({BASELINE: 0.7, CANDIDATE: 0.3})
    machine.interleave(EFFORT)
    assert machine.paths.count(BASELINE) == 2 * EFFORT.rounds
    assert machine.paths.count(CANDIDATE) == EFFORT.rounds
    for first in range(0, 3 * EFFORT.rounds, 3):
        ours = [call for call in machine.calls if first <= call < first + 3]
        warmup, counted = ours[: 3 * EFFORT.warmup], ours[3 * EFFORT.warmup :]
        assert {warmup.count(number) for number in range(first, first + 3)} == {EFFORT.warmup}
        assert sorted(counted.count(number) for number in set(counted)) == [
            FEWEST_CONTROLS,
            EFFORT.fewest_pairs // EFFORT.rounds,
            EFFORT.fewest_pairs // EFFORT.rounds,
        ]


def test_every_order_of_the_three_comes_up() -> None:
    machine = Machine({BASELINE: 0.001, CANDIDATE: 0.001})
    machine.interleave(Effort(pairs=500, fewest_pairs=5, rounds=5, warmup=2, budget_seconds=60))
    counted = machine.calls[6 : 6 + 300]  # of the first round, after its warm-up
    orders = [tuple(counted[start : start + 3]) for start in range(0, 300, 3)]
    assert {frozenset(order) for order in orders} == {frozenset({0, 1, 2})}
    assert len(set(orders)) == 6


def test_the_fewest_controls_have_one_in_their_interval() -> None:
    """Of 20 with 99 % each, more than 2 without 1 would be seen once in a thousand seeds."""
    without = 0
    for seed in range(20):
        machine = Machine({BASELINE: 0.01, CANDIDATE: 0.01}, 0.03, 0.1, seed)
        found = machine.interleave(Effort(200, 200, 5, 20, 0.0), seed)
        interval = median_ratio(found.itself, 0.99, seed).interval
        without += not interval.low <= 1 <= interval.high
    assert without <= 2


@pytest.mark.parametrize("seed", range(3))
def test_as_many_pairs_as_the_fewest_controls_see_a_fifth_of_difference(seed: int) -> None:
    machine = Machine({BASELINE: 0.01, CANDIDATE: 0.012}, 0.01, 0.1, seed)
    pairs = 5 * FEWEST_CONTROLS
    found = machine.interleave(Effort(pairs, pairs, 5, 20, 0.0), seed)
    assert median_ratio(found.models, 0.99, seed).interval.high < 1


def test_share_of_the_cpu_is_measured() -> None:
    machine = Machine({BASELINE: 0.01, CANDIDATE: 0.005})
    effort = Effort(pairs=50, fewest_pairs=50, rounds=5, warmup=2, budget_seconds=60)
    found = interleave(
        BASELINE, CANDIDATE, INPUTS, 1, effort, 0,
        opener=machine.open, clock=machine.clock, cpu_clock=machine.half_clock,
    )  # fmt: skip
    assert found.cpu_share == pytest.approx(0.5, abs=0.01)
