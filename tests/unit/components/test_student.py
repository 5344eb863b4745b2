"""Student's t against scipy."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fulcrum_components.student import expanded_cdf, expanded_quantile, t_cdf, t_quantile


@settings(deadline=None)
@given(st.integers(1, 999), st.floats(-40, 40))
def test_the_distribution_is_scipys(degrees: int, t: float) -> None:
    # SciPy takes a t below about 1e-11 as 0: of one degree and 3.6e-12 it gives 0.5, which is
    # 1.1e-12 off.
    assert t_cdf(t, degrees) == pytest.approx(stats.t.cdf(t, degrees), abs=1e-11)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 999), st.floats(0.5, 0.9999))
def test_quantiles_are_scipys(degrees: int, level: float) -> None:
    assert t_quantile(level, degrees) == pytest.approx(
        stats.t.ppf((1 + level) / 2, degrees), rel=1e-8
    )


def test_large_samples_are_normal() -> None:
    assert t_quantile(0.95, 1000) == pytest.approx(stats.t.ppf(0.975, 1000), rel=2e-3)
    assert t_cdf(2.0, 5000) == pytest.approx(stats.t.cdf(2.0, 5000), abs=1e-4)


@settings(deadline=None)
@given(st.integers(2, 999), st.floats(0.5, 0.9999))
def test_expansion_can_be_undone(units: int, level: float) -> None:
    z = expanded_quantile(level, units)
    assert expanded_cdf(z, units) == pytest.approx((1 + level) / 2, abs=1e-9)


def test_infinity_is_certain() -> None:
    assert t_cdf(float("inf"), 4) == 1
    assert t_cdf(float("-inf"), 4) == 0
