"""Advice on sample sizes, against simulation of the test that decides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from fulcrum_pipelines.evidence import Counts
from fulcrum_pipelines.power import (
    power_at,
    required_sample_size,
    sample_size_as_seen,
)
from fulcrum_pipelines.statistics import paired_difference_interval

SIMULATIONS = 1500
"""The standard error of a simulated power is then below 0.013; four of them are allowed."""


@dataclass(frozen=True)
class Row:
    """A test set, and the gate's settings."""

    name: str
    n: int
    discordance: float
    margin: float
    level: float = 0.95
    fixed_share: float = 0.5


ROWS = (
    Row("published-620", 620, 0.01, 0.01),
    Row("published-1000", 1000, 0.01, 0.01),
    Row("many-changes", 500, 0.1, 0.03),
    Row("level-80", 300, 0.02, 0.02, 0.8),
    Row("tiny", 20, 0.1, 0.2),
    Row("normal-approximation", 60_000, 0.02, 0.0015),
    Row("more-broken", 800, 0.03, 0.025, fixed_share=0.3),
    Row("more-fixed", 300, 0.02, 0.01, fixed_share=0.8),
    Row("only-broken", 1500, 0.01, 0.02, fixed_share=0.0),
    Row("more-broken-normal", 40_000, 0.03, 0.01, fixed_share=0.35),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_power_is_what_simulation_finds(row: Row) -> None:
    fixed_rate = row.discordance * row.fixed_share
    rates = [row.discordance - fixed_rate, fixed_rate, 1 - row.discordance]
    drawn = np.random.default_rng(0).multinomial(row.n, rates, SIMULATIONS)
    passed: dict[tuple[int, int], bool] = {}
    for broken, fixed, _ in drawn.tolist():
        if (broken, fixed) not in passed:
            counts = Counts(
                both_right=row.n - broken - fixed,
                only_baseline_right=broken,
                only_candidate_right=fixed,
                both_wrong=0,
            )
            interval = paired_difference_interval(counts, row.level)
            passed[broken, fixed] = interval.low > -row.margin
    simulated = np.mean([passed[broken, fixed] for broken, fixed, _ in drawn.tolist()])
    found = power_at(row.n, row.discordance, row.margin, row.level, row.fixed_share)
    assert found == pytest.approx(simulated, abs=0.052)


@pytest.mark.parametrize("margin", [0.003, 0.01, 0.05])
@pytest.mark.parametrize("churn", [0.0, 0.01, 0.1])
def test_the_advised_number_has_the_power_and_not_many_fewer_have(
    margin: float, churn: float
) -> None:
    n = required_sample_size(baseline_accuracy=0.9, margin=margin, churn=churn)
    assert n is not None
    assert power_at(n, churn, margin, 0.95) >= 0.78
    assert power_at(int(0.85 * n), churn, margin, 0.95) < 0.8


def counts_of(n: int, broken: int, fixed: int) -> Counts:
    """Return counts of `n` examples, the concordant ones right."""
    return Counts(
        both_right=n - broken - fixed,
        only_baseline_right=broken,
        only_candidate_right=fixed,
        both_wrong=0,
    )


@pytest.mark.parametrize("n", [100, 300])
def test_no_discordant_pair_asks_for_more_than_none_would_and_less_than_the_width(n: int) -> None:
    """An interval without discordant pairs ends at -z^2 / (n + z^2); its width goes with 1 / n."""
    margin, z2 = 0.01, 1.96**2
    none_at_all = z2 * (1 - margin) / margin
    by_width = n * ((1 + 0.8416 / 1.96) * z2 / (n + z2) / margin) ** 2
    needed = sample_size_as_seen(counts_of(n, 0, 0), margin=margin, level=0.95)
    assert needed is not None
    assert none_at_all < needed
    assert n == 300 or needed < by_width / 2


@pytest.mark.parametrize(("broken", "fixed"), [(0, 0), (1, 1), (3, 1), (1, 3)])
def test_the_number_as_seen_has_the_power(broken: int, fixed: int) -> None:
    """Simulated at what the rule of succession makes of the counts."""
    n, margin = 250, 0.02
    needed = sample_size_as_seen(counts_of(n, broken, fixed), margin=margin, level=0.95)
    assert needed is not None
    rate = (broken + fixed + 1) / (n + 2)
    change = (fixed - broken) / n
    rates = [(rate - change) / 2, (rate + change) / 2, 1 - rate]
    drawn = np.random.default_rng(1).multinomial(needed, rates, SIMULATIONS).tolist()
    lows = {
        (b, f): paired_difference_interval(counts_of(needed, b, f), 0.95).low
        for b, f, _ in {tuple(row) for row in drawn}
    }
    power = np.mean([lows[b, f] > -margin for b, f, _ in drawn])
    assert 0.75 < power < 0.92


@pytest.mark.parametrize(("broken", "margin"), [(5, 0.01), (9, 0.01), (0, 0.0)])
def test_a_change_beyond_the_margin_never_passes(broken: int, margin: float) -> None:
    assert sample_size_as_seen(counts_of(500, broken, 0), margin=margin, level=0.95) is None


def test_a_perfect_baseline_leaves_nothing_to_fix() -> None:
    perfect = required_sample_size(baseline_accuracy=1, margin=0.01)
    good = required_sample_size(baseline_accuracy=0.98, margin=0.01)
    assert perfect is not None
    assert good is not None
    assert perfect < good


@pytest.mark.parametrize("margin", [0, 1e-6])
def test_what_no_number_decides_is_absent(margin: float) -> None:
    assert required_sample_size(baseline_accuracy=0.9, margin=margin) is None
