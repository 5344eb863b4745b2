"""Learning rates over the steps."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fulcrum_components.finetuning.schedules import LearningRateSchedule, learning_rate_factor

NAMES: tuple[LearningRateSchedule, ...] = ("constant", "cosine", "linear", "step", "oneCycle")


@dataclass(frozen=True)
class Case:
    name: LearningRateSchedule
    factors: tuple[float, ...]  # at steps 0, 5 and 8 of 10


CASES = [
    Case("constant", (1.0, 1.0, 1.0)),
    Case("cosine", (1.0, 0.5, 0.0954915)),
    Case("linear", (1.0, 0.5, 0.2)),
    Case("step", (1.0, 0.1, 0.01)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_follows_its_curve(case: Case) -> None:
    factors = [learning_rate_factor(case.name, step, 10, 0) for step in (0, 5, 8)]

    assert factors == pytest.approx(case.factors)


def test_one_cycle_is_torch_s() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    # torch reaches its phases' ends at the last step, we at the step after it.
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=1001)
    for step in range(1000):
        factor = learning_rate_factor("oneCycle", step, 1000, 0)
        assert factor == pytest.approx(schedule.get_last_lr()[0], abs=0.01)
        optimizer.step()
        schedule.step()


@given(st.sampled_from(NAMES), st.integers(1, 500), st.integers(0, 100), st.data())
def test_is_between_nothing_and_the_highest_rate(
    name: LearningRateSchedule, steps: int, warmup: int, data: st.DataObject
) -> None:
    step = data.draw(st.integers(0, steps - 1))

    assert 0.0 < learning_rate_factor(name, step, steps, warmup) <= 1.0


@given(st.sampled_from(NAMES), st.integers(2, 50))
def test_warm_up_rises(name: LearningRateSchedule, warmup: int) -> None:
    factors = [learning_rate_factor(name, step, 200, warmup) for step in range(warmup + 1)]

    assert factors == sorted(factors)
    assert factors[0] < factors[-1]
