"""Intervals from few units: Student's t from printed tables, and the expansion of bootstraps."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fulcrum_components.student import expanded_cdf, expanded_quantile, t_cdf, t_quantile

TABLE = [  # Student (1908), as printed in any textbook: level, degrees of freedom, t
    (0.95, 1, 12.706),
    (0.95, 4, 2.776),
    (0.99, 4, 4.604),
    (0.90, 10, 1.812),
    (0.95, 1000, 1.962),
]


@pytest.mark.parametrize(("level", "degrees", "t"), TABLE)
def test_quantiles_are_those_of_printed_tables(level: float, degrees: int, t: float) -> None:
    assert t_quantile(level, degrees) == pytest.approx(t, abs=5e-4)
    assert t_cdf(t, degrees) == pytest.approx((1 + level) / 2, abs=5e-5)


@settings(deadline=None)
@given(st.integers(2, 999), st.floats(0.5, 0.9999))
def test_expansion_can_be_undone(units: int, level: float) -> None:
    z = expanded_quantile(level, units)
    assert expanded_cdf(z, units) == pytest.approx((1 + level) / 2, abs=1e-9)


def test_infinity_is_certain() -> None:
    assert t_cdf(float("inf"), 4) == 1
    assert t_cdf(float("-inf"), 4) == 0
