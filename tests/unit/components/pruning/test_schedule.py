"""Sparsity over the steps."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum_components.pruning.schedule import SparsitySchedule, cubic, linear, sparsities

targets = st.floats(0.01, 0.99)
steps = st.integers(1, 50)


@given(st.sampled_from(["linear", "cubic"]), targets, steps)
def test_rises_and_ends_at_the_target_exactly(
    schedule: SparsitySchedule, target: float, count: int
) -> None:
    values = sparsities(schedule, target, count)

    assert len(values) == count
    assert values[-1] == target
    assert all(0 < a < b for a, b in pairwise(values))


@given(targets, steps, st.data())
def test_cubic_is_never_behind_linear(target: float, count: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, count))

    assert cubic(target, step, count) >= linear(target, step, count) - 1e-12


def test_cubic_is_the_formula_of_zhu_and_gupta() -> None:
    assert cubic(0.8, 1, 2) == pytest.approx(0.8 - 0.8 * (1 - 0.5) ** 3)
