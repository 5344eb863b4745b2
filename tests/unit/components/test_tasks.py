"""What every task promises to those that ask it, and what some of them add."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from fulcrum_components.tasks import TASKS, Array, Outcomes, find_task
from fulcrum_pipelines.catalog import TASKS as ROWS
from fulcrum_pipelines.catalog import Meaning

N = 12
NUMBERS = np.random.default_rng(0).normal(size=(N, 3))
CLASSES = np.arange(N) % 3
LOGITS = 4.0 * np.eye(3)[CLASSES] + NUMBERS
EXPONENTIALS = np.exp(LOGITS)


@dataclass(frozen=True)
class Sample:
    """First outputs of a good model and what is right, as a model and data give them."""

    task: str
    meaning: Meaning
    raw: Array
    targets: Array


SAMPLES = (
    Sample("classification", "logits", LOGITS, CLASSES),
    Sample(
        "classification",
        "probabilities",
        EXPONENTIALS / EXPONENTIALS.sum(axis=1, keepdims=True),
        CLASSES,
    ),
    Sample("regression", "value", NUMBERS + 0.1, NUMBERS),
)


def outcomes_of(sample: Sample, raw: Array | None = None) -> Outcomes:
    given = sample.raw if raw is None else raw
    task = find_task(sample.task)
    return task.outcomes(given, sample.targets, sample.meaning, first=0, where="model")


def tensors(sample: Sample, raw: Array | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    outputs = torch.from_numpy(sample.raw if raw is None else raw).float()
    targets = torch.from_numpy(sample.targets.astype(find_task(sample.task).target_dtype))
    return outputs, targets


of_each = pytest.mark.parametrize(
    "sample", SAMPLES, ids=lambda sample: f"{sample.task}-{sample.meaning}"
)


def test_each_meaning_of_each_task_has_a_sample() -> None:
    sampled = {(sample.task, sample.meaning) for sample in SAMPLES}
    assert sampled == {(row.name, each) for row in ROWS.values() for each in row.meanings}
    assert set(TASKS) == set(ROWS)


@of_each
def test_loss_is_of_each_example_and_less_for_better_answers(sample: Sample) -> None:
    task = find_task(sample.task)
    outputs, targets = tensors(sample)
    outputs.requires_grad_()
    good = task.loss(outputs, targets, sample.meaning)
    assert good.shape == (N,)
    (gradient,) = torch.autograd.grad(good.sum(), outputs)
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0
    ruined, _ = tensors(sample, sample.raw[::-1].copy())
    assert good.sum() < task.loss(ruined, targets, sample.meaning).sum()


@of_each
def test_distillation_is_least_for_the_teachers_own_outputs(sample: Sample) -> None:
    task, outputs = find_task(sample.task), tensors(sample)[0]
    same, other = (
        float(task.distillation(student, outputs, sample.meaning, 2.0))
        for student in (outputs, outputs.flip(0))
    )
    assert same == pytest.approx(0, abs=1e-6)
    assert other > 0.1


@of_each
def test_outcomes_of_batches_are_those_of_the_whole(sample: Sample) -> None:
    whole, task = outcomes_of(sample), find_task(sample.task)
    parts = [
        task.outcomes(sample.raw[a:b], sample.targets[a:b], sample.meaning, first=a, where="model")
        for a, b in ((0, 5), (5, 6), (6, N))
    ]
    assert np.array_equal(whole.outputs, np.concatenate([part.outputs for part in parts]))
    assert np.array_equal(whole.targets, np.concatenate([part.targets for part in parts]))


@of_each
def test_outcomes_pass_the_check_and_lose_less_than_ruined_ones(sample: Sample) -> None:
    task, good = find_task(sample.task), outcomes_of(sample)
    task.check(good, where="spec.data.test")
    losses = task.example_losses(good)
    assert losses.shape == (N,)
    assert losses.sum() < task.example_losses(outcomes_of(sample, sample.raw[::-1])).sum()
    answer = task.constant_answer(good, lambda targets: targets.mean(axis=0))
    assert np.broadcast_to(answer, good.outputs.shape).shape == good.outputs.shape


@of_each
def test_answers_and_units_are_one_for_each_row(sample: Sample) -> None:
    task, outcomes = find_task(sample.task), outcomes_of(sample)
    for rows in (task.answers(outcomes), task.units(outcomes)):
        assert rows is None or rows.shape == (N,)
    assert not task.labelled or task.answers(outcomes) is not None


def test_test_data_of_one_class_decide_nothing() -> None:
    task = find_task("classification")
    assert "all 12 examples have the label 2" in task.undecided_by(np.full(12, 2))
    assert task.undecided_by(np.arange(12) % 2) == ""


@dataclass(frozen=True)
class Output:
    name: str
    shape: tuple[Any, ...]
    dtype: str = "float32"


@pytest.mark.parametrize(
    ("shape", "classes"),
    [(("batch",), 2), (("batch", 1), 2), (("batch", 7), 7), (("batch", "c"), None)],
    ids=str,
)
def test_classes_follow_from_the_first_outputs_shape(
    shape: tuple[Any, ...], classes: int | None
) -> None:
    assert find_task("classification").classes(Output("y", shape)) == classes
    assert find_task("regression").classes(Output("y", shape)) is None
