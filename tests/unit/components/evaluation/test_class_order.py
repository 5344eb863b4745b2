"""A candidate with the classes under other numbers is found, a damaged one is not taken for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from fulcrum_components.evaluation.class_order import other_order
from fulcrum_components.tasks import Array, Outcomes

CLASSES, EXAMPLES = 5, 500
RANDOM = np.random.default_rng(11)
TARGETS = RANDOM.integers(0, CLASSES, EXAMPLES)
NAMES = ("ant", "bee", "cat", "dog", "eel")


def outcomes(answers: Array, targets: Array = TARGETS) -> Outcomes:
    """Return outcomes of a model with these answers, (n,)."""
    return Outcomes(np.eye(CLASSES, dtype=np.float32)[answers] * 0.9 + 0.02, targets, {})


def right(share: float) -> Array:
    """Return answers of which `share` are right, and the others of the next class."""
    wrong = RANDOM.random(EXAMPLES) >= share
    return np.where(wrong, (TARGETS + 1) % CLASSES, TARGETS)


def renamed(answers: Array, *order: int) -> Array:
    """Return `answers` of a model that has class k at place `order[k]`."""
    return np.array(order)[answers]


@dataclass(frozen=True)
class Case:
    """Answers of a candidate, and whether its classes are taken for reordered."""

    name: str
    answers: Array
    found: bool


GOOD = right(0.95)
CASES = (
    Case("same order", GOOD, False),
    Case("all classes moved by one", renamed(GOOD, 1, 2, 3, 4, 0), True),
    Case("two classes exchanged", renamed(GOOD, 0, 2, 1, 3, 4), True),
    Case("sorted the other way round", renamed(GOOD, 4, 3, 2, 1, 0), True),
    Case("another order and a little worse", renamed(right(0.85), 1, 2, 3, 4, 0), True),
    Case("measurably worse", right(0.6), False),
    Case("always the same class", np.zeros_like(TARGETS), False),
    Case("one class lost to another", np.where(GOOD == 3, 2, GOOD), False),
    Case("answers at random", RANDOM.integers(0, CLASSES, EXAMPLES), False),
    Case("more often wrong than right, without an order", right(0.45), False),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_order_of_classes(case: Case) -> None:
    said = other_order(outcomes(GOOD), outcomes(case.answers), "classification", NAMES)
    assert (said is not None) == case.found, said


def test_message_names_classes_and_shares() -> None:
    exchanged = outcomes(renamed(GOOD, 0, 2, 1, 3, 4))
    said = other_order(outcomes(GOOD), exchanged, "classification", NAMES)
    assert said is not None
    assert "it answers 2 for 1 (bee), 1 for 2 (cat)." in said
    there = np.isin(TARGETS, (1, 2))
    share = (GOOD == TARGETS)[there].mean()
    assert f"right on {share:.1%} of these {there.sum()} test examples" in said


def test_few_examples_are_no_order() -> None:
    few = slice(0, 10)
    baseline = outcomes(GOOD[few], TARGETS[few])
    moved = outcomes(renamed(GOOD, 1, 2, 3, 4, 0)[few], TARGETS[few])
    assert other_order(baseline, moved, "classification", None) is None


def test_values_have_no_classes() -> None:
    values = Outcomes(np.ones(30), np.zeros(30), {})
    assert other_order(values, values, "regression", None) is None
