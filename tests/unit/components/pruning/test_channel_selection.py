"""Which channels go, and how many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulcrum_components.pruning.channel_selection import (
    Candidates,
    global_counts,
    lowest,
    uniform_count,
    unit_step,
)

candidates = st.builds(Candidates, units=st.integers(1, 200), step=st.integers(1, 16))
sparsity = st.floats(0.0, 0.99)


@dataclass(frozen=True)
class Case:
    name: str
    units: int
    step: int
    sparsity: float
    kept: int


CASES = [
    Case("half of a multiple", 64, 8, 0.5, 32),
    Case("nearest multiple", 32, 8, 0.4, 16),
    Case("a tie keeps more", 24, 8, 0.5, 16),
    Case("fewer than the multiple stays whole", 6, 8, 0.9, 6),
    Case("exactly the multiple stays whole", 8, 8, 0.9, 8),
    Case("an odd size may stay whole", 12, 8, 0.1, 12),
    Case("never down to nothing", 64, 8, 0.99, 8),
    Case("without rounding to the unit", 10, 1, 0.33, 7),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_uniform_count(case: Case) -> None:
    assert uniform_count(Candidates(case.units, case.step), case.sparsity) == case.kept


@given(candidates, sparsity)
def test_uniform_count_is_the_nearest_allowed(candidate: Candidates, share: float) -> None:
    kept = uniform_count(candidate, share)
    wanted = candidate.units * (1 - share)

    assert kept == candidate.units or kept % candidate.step == 0
    assert abs(kept - wanted) == min(abs(count - wanted) for count in candidate.counts())


@given(candidates, sparsity, sparsity)
def test_more_sparsity_never_keeps_more(candidate: Candidates, a: float, b: float) -> None:
    low, high = sorted((a, b))

    assert uniform_count(candidate, high) <= uniform_count(candidate, low)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40), st.data())
def test_a_larger_count_removes_a_superset(scores: list[float], data: st.DataObject) -> None:
    few = data.draw(st.integers(0, len(scores)))
    many = data.draw(st.integers(few, len(scores)))
    values = np.array(scores)

    assert set(lowest(values, few)) <= set(lowest(values, many))
    assert len(lowest(values, many)) == many


def test_lowest_leaves_the_first_of_equals() -> None:
    assert lowest(np.array([1.0, 0.0, 1.0, 1.0]), 2) == [1, 3]


@pytest.mark.parametrize(
    ("groups", "multiple", "step"), [(1, 8, 8), (4, 8, 2), (3, 8, 8), (16, 8, 1), (8, 16, 2)]
)
def test_unit_step_makes_channels_a_multiple(groups: int, multiple: int, step: int) -> None:
    assert unit_step(groups, multiple) == step
    assert step * groups % multiple == 0


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(1, 4), sparsity, st.data())
def test_global_counts_stay_allowed_and_come_near(
    sizes: list[int], step: int, share: float, data: st.DataObject
) -> None:
    layers = [Candidates(size * step, step) for size in sizes]
    scores = [
        np.array(data.draw(st.lists(st.floats(0, 1), min_size=c.units, max_size=c.units)))
        for c in layers
    ]
    total = sum(c.units for c in layers)
    kept = global_counts(scores, layers, [1] * len(layers), total * share)

    assert all(count in c.counts() for count, c in zip(kept, layers, strict=True))
    possible = total - step * len(layers)
    assert abs((total - sum(kept)) - min(total * share, possible)) <= step / 2 + 1e-9


def test_global_counts_take_the_layer_that_matters_least() -> None:
    scores = [np.full(16, 2.0), np.full(16, 1.0)]
    layers = [Candidates(16, 4), Candidates(16, 4)]

    assert global_counts(scores, layers, [1, 1], 8) == [16, 8]
