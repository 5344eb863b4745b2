"""Paired statistics against scipy, statsmodels, and slow definitions of our own."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from fulcrum_pipelines.evidence import Counts, Interval
from fulcrum_pipelines.statistics import (
    holm,
    mcnemar_p,
    normal_quantile,
    p_worse_than_margin,
    paired_difference_interval,
    proportion_interval,
    ratio_interval,
)


def table(broken: int, fixed: int, n: int) -> Counts:
    same = n - broken - fixed
    return Counts(
        both_right=same - same // 5,
        only_baseline_right=broken,
        only_candidate_right=fixed,
        both_wrong=same // 5,
    )


# Machines under load are slow at random; a slow example is no failure.
untimed = settings(deadline=None)

tables = st.builds(
    lambda broken, fixed, same: table(broken, fixed, broken + fixed + same),
    st.integers(0, 60),
    st.integers(0, 60),
    st.integers(1, 2000),
)


def slow_score(n: int, b: int, c: int, d: float) -> float:
    """The score statistic with q found by maximising the likelihood numerically."""

    def minus_log_likelihood(q: float) -> float:
        terms = ((b, q + d), (c, q), (n - b - c, 1 - 2 * q - d))
        return -sum(count * math.log(max(p, 1e-300)) for count, p in terms if count)

    low, high = max(0.0, -d), (1 - d) / 2
    found = optimize.minimize_scalar(
        minus_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12}
    )
    q = min((low, high, found.x), key=minus_log_likelihood)
    return (b - c - n * d) / math.sqrt(n * (2 * q + d * (1 - d)))


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(
    ("broken", "fixed", "n"),
    [(15, 4, 1500), (0, 0, 100), (0, 0, 1), (1, 0, 1), (0, 7, 7), (3, 9, 12), (40, 41, 10_000)],
)
def test_the_interval_is_where_the_slow_score_test_stops_rejecting(
    broken: int, fixed: int, n: int, level: float
) -> None:
    interval = paired_difference_interval(table(broken, fixed, n), level)
    z = stats.norm.ppf((1 + level) / 2)
    assert -1 <= interval.low <= (fixed - broken) / n <= interval.high <= 1
    if interval.low > -1:
        assert slow_score(n, fixed, broken, interval.low) == pytest.approx(z, abs=2e-5)
    if interval.high < 1:
        assert slow_score(n, fixed, broken, interval.high) == pytest.approx(-z, abs=2e-5)


def test_no_discordant_pairs_have_the_closed_form() -> None:
    for n in (1, 10, 1000):
        interval = paired_difference_interval(table(0, 0, n), 0.95)
        bound = normal_quantile(0.95) ** 2 / (n + normal_quantile(0.95) ** 2)
        assert (interval.low, interval.high) == pytest.approx((-bound, bound), rel=1e-12)


def test_only_discordant_pairs_have_the_closed_form() -> None:
    z2 = normal_quantile(0.95) ** 2
    interval = paired_difference_interval(table(broken=0, fixed=20, n=20), 0.95)
    assert interval.low == pytest.approx((20 - z2) / (20 + z2), rel=1e-12)
    assert interval.high == 1


@untimed
@given(tables, st.sampled_from([0.8, 0.95, 0.999]))
def test_swapping_the_models_mirrors_the_interval(counts: Counts, level: float) -> None:
    swapped = counts.model_copy(
        update={
            "only_baseline_right": counts.only_candidate_right,
            "only_candidate_right": counts.only_baseline_right,
        }
    )
    there, back = (paired_difference_interval(each, level) for each in (counts, swapped))
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-14)


@untimed
@given(tables, st.floats(0, 0.2), st.sampled_from([0.8, 0.95, 0.99]))
def test_the_p_value_and_the_interval_say_the_same(
    counts: Counts, margin: float, level: float
) -> None:
    p = p_worse_than_margin(counts, margin)
    assert 0 <= p <= 1
    upper = paired_difference_interval(counts, level).high
    if abs(upper + margin) > 1e-12:
        assert (upper < -margin) == (p < (1 - level) / 2)


def test_a_margin_of_everything_is_never_missed() -> None:
    assert p_worse_than_margin(table(broken=9, fixed=0, n=9), 1.0) == 1.0
    assert p_worse_than_margin(table(broken=9, fixed=0, n=9), 2.5) == 1.0


@pytest.mark.parametrize(
    ("broken", "fixed"),
    [(0, 0), (1, 0), (5, 5), (15, 4), (4, 15), (300, 200), (5100, 4900), (0, 3000)],
)
def test_mcnemar_is_statsmodels_exact(broken: int, fixed: int) -> None:
    ours = mcnemar_p(table(broken, fixed, broken + fixed + 10))
    theirs = mcnemar([[1, broken], [fixed, 1]], exact=True).pvalue
    assert ours == pytest.approx(min(1.0, float(theirs)), rel=1e-9, abs=1e-300)


def test_mcnemar_is_the_sum_of_its_definition() -> None:
    for broken, fixed in itertools.product(range(8), repeat=2):
        n, k = broken + fixed, min(broken, fixed)
        tail = Fraction(sum(math.comb(n, i) for i in range(k + 1)), 2**n)
        expected = float(min(Fraction(1), 2 * tail))
        assert mcnemar_p(table(broken, fixed, 100)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [10, 15, 30, 50])
def test_a_difference_at_its_margin_passes_as_rarely_as_said(n: int) -> None:
    """Exactly, over all tables: 3.7 % up to margins of a third, as docs/gates.md says, then 5 %."""
    broken, fixed = np.mgrid[: n + 1, : n + 1]
    possible = broken + fixed <= n
    lows = np.full(broken.shape, np.inf)
    for c, b in zip(broken[possible].tolist(), fixed[possible].tolist(), strict=True):
        lows[c, b] = paired_difference_interval(table(c, b, n), 0.95).low
    worst = dict.fromkeys(("small", "large"), 0.0)
    for margin, fixes in itertools.product(
        (0.005, 0.01, 0.03, 0.05, 0.09, 0.1, 0.2, 0.3, 0.4), (0, 0.01, 0.05, 0.1, 0.2, 0.3)
    ):
        chances = stats.binom.pmf(fixed, n, fixes) * stats.binom.pmf(
            broken, n - fixed, (fixes + margin) / (1 - fixes)
        )
        size = "small" if margin < 1 / 3 else "large"
        worst[size] = max(worst[size], float(chances[possible & (lows > -margin)].sum()))
    assert 0.015 < worst["small"] <= 0.037
    assert worst["large"] <= 0.051


@untimed
@given(
    st.one_of(st.integers(1, 300), st.integers(1, 2_000_000)),
    st.data(),
    st.sampled_from([0.5, 0.9, 0.95, 0.9999]),
)
def test_the_interval_of_a_share_is_statsmodels_exact(
    n: int, data: st.DataObject, level: float
) -> None:
    successes = data.draw(st.one_of(st.integers(0, min(n, 5)), st.integers(0, n)))
    interval = proportion_interval(successes, n, level)
    theirs = proportion_confint(successes, n, alpha=1 - level, method="beta")
    assert (interval.low, interval.high) == pytest.approx(theirs, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("n", [1, 2, 10, 30, 100])
def test_neither_end_of_a_share_is_wrong_more_often_than_said(n: int, level: float) -> None:
    """Computed exactly over all counts, at every end, the worst points, and in between."""
    intervals = [proportion_interval(k, n, level) for k in range(n + 1)]
    lows, highs = (np.array([getattr(i, end) for i in intervals]) for end in ("low", "high"))
    ends = np.concatenate([lows, highs, np.linspace(0.0005, 0.9995, 50)])
    for share in ends[(ends > 0) & (ends < 1)]:
        chances = stats.binom.pmf(np.arange(n + 1), n, share)
        assert chances[lows > share].sum() <= (1 - level) / 2 + 1e-9
        assert chances[highs < share].sum() <= (1 - level) / 2 + 1e-9


@settings(max_examples=30, deadline=None)  # statsmodels takes most of the time
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_statsmodels(p_values: list[float]) -> None:
    theirs = multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(tuple(theirs), rel=1e-12, abs=1e-300)


def test_a_ratio_by_a_known_base_is_scaled() -> None:
    change = Interval(level=0.95, low=-0.02, high=0.06, method="x")
    exact = Interval(level=0.95, low=0.5, high=0.5, method="x")
    found = ratio_interval(0.02, change, 0.5, exact)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((-0.04, 0.12))


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.6), (-0.1, 0.6), (0.4, 1.0)])
def test_a_ratio_by_what_may_be_nothing_is_not_bounded(low: float, high: float) -> None:
    change = Interval(level=0.95, low=-0.02, high=0.06, method="x")
    assert (
        ratio_interval(0.02, change, 0.5, Interval(level=0.95, low=low, high=high, method="x"))
        is None
    )


@pytest.mark.parametrize("ratio", [-0.4, 0.0, 0.3, 2.5])
def test_a_ratio_of_normal_figures_is_held_as_often_as_said(ratio: float) -> None:
    """4000 draws: the standard error is 0.35 %, and three are allowed."""
    generator = np.random.default_rng(0)
    held = 0
    for change, base in generator.normal((ratio, 1.0), (0.2, 0.15), (4000, 2)).tolist():
        of_change, of_base = (
            Interval(level=0.95, low=x - 1.96 * e, high=x + 1.96 * e, method="x")
            for x, e in ((change, 0.2), (base, 0.15))
        )
        found = ratio_interval(change, of_change, base, of_base) if base > 0 else None
        held += found is None or found.low <= ratio <= found.high
    assert abs(held / 4000 - 0.95) < 0.0105


def test_holm_of_nothing_is_nothing() -> None:
    assert holm([]) == ()


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95, 0.9999])
def test_normal_quantile_is_scipys(level: float) -> None:
    assert normal_quantile(level) == pytest.approx(stats.norm.ppf((1 + level) / 2), rel=1e-9)


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        paired_difference_interval(table(0, 0, 0), 0.95)
    with pytest.raises(ValueError, match="negative"):
        p_worse_than_margin(table(-1, 0, 10), 0.01)
    with pytest.raises(ValueError, match="3 of 2"):
        proportion_interval(3, 2, 0.95)
