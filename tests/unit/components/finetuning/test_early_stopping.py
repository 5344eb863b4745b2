"""When to stop, from the losses."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from fulcrum_components.finetuning.early_stopping import best_epoch, should_stop
from fulcrum_pipelines.resources.compressionjob import EarlyStopping


@dataclass(frozen=True)
class Case:
    name: str
    losses: tuple[float, ...]
    best: int
    stop: bool
    min_delta: float = 0.0


CASES = [
    Case("first epoch", (1.0,), 1, False),
    Case("getting better", (1.0, 0.9, 0.8), 3, False),
    Case("one worse", (1.0, 0.9, 1.0), 2, False),
    Case("two worse", (1.0, 0.9, 1.0, 0.95), 2, True),
    Case("equal is no gain", (0.9, 0.9, 0.9), 1, True),
    Case("gain too small", (1.0, 0.95, 0.92), 1, True, min_delta=0.1),
    Case("small gains add up", (1.0, 0.95, 0.89), 3, False, min_delta=0.1),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_decides(case: Case) -> None:
    options = EarlyStopping(patience=2, min_delta=case.min_delta)

    assert best_epoch(case.losses, case.min_delta) == case.best
    assert should_stop(case.losses, options) == case.stop
    assert not should_stop(case.losses, None)


def test_never_stops_before_the_first_epoch() -> None:
    assert not should_stop((), EarlyStopping())
