"""The interval of a speed-up, on simulated timings."""

from __future__ import annotations

import numpy as np
import pytest

from fulcrum_components.latency import geometric_mean, median_ratio
from fulcrum_components.latency.interleaving import Timings

ROUNDS, PAIRS = 5, 20


def simulated(seed: int, ratio: float, session_noise: float) -> Timings:
    """Return timings whose sessions differ from each other by `session_noise` (a share)."""
    generator = np.random.default_rng(seed)
    means = np.exp(session_noise * generator.normal(size=(2, ROUNDS, 1)))
    machine = generator.exponential(size=(ROUNDS, PAIRS))  # hits both calls of a pair
    calls = 1 + 0.1 * machine + 0.02 * generator.exponential(size=(2, ROUNDS, PAIRS))
    times = 1e6 * means * calls
    return Timings(times[0] * ratio, times[1])


@pytest.mark.parametrize("session_noise", [0.0, 0.03])
def test_intervals_hold_the_truth_as_often_as_they_say(session_noise: float) -> None:
    """Of 80 with 95 % each, fewer than 69 would be seen once in a thousand seeds."""
    hits = 0
    for seed in range(80):
        interval = median_ratio(simulated(seed, 2.5, session_noise), 0.95, seed).interval
        hits += interval.low <= 2.5 <= interval.high
    assert hits >= 69


def test_a_higher_confidence_is_a_wider_interval() -> None:
    timings = simulated(0, 2.0, 0.02)
    narrow, wide = (median_ratio(timings, level, 0).interval for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_equal_times_give_exactly_one() -> None:
    same = np.full((5, 40), 1000)
    found = median_ratio(Timings(same, same), 0.95, 0)
    assert (found.ratio, found.interval.low, found.interval.high) == (1, 1, 1)


def test_the_same_seed_gives_the_same_interval() -> None:
    timings = simulated(0, 2.0, 0.02)
    assert median_ratio(timings, 0.95, 3) == median_ratio(timings, 0.95, 3)


def test_mean_over_batch_sizes_is_narrower_than_each_and_holds_the_truth() -> None:
    """Of 40 with 95 % each, fewer than 32 would be seen once in a thousand seeds."""
    hits = 0
    for seed in range(40):
        each = [
            median_ratio(simulated(2 * seed + part, ratio, 0.03), 0.95, seed)
            for part, ratio in enumerate((1.0, 4.0))
        ]
        mean = geometric_mean(each)
        assert mean.ratio == pytest.approx((each[0].ratio * each[1].ratio) ** 0.5)
        widths = [one.interval.high / one.interval.low for one in (*each, mean)]
        assert widths[2] < max(widths[:2])
        hits += mean.interval.low <= 2.0 <= mean.interval.high
    assert hits >= 32
