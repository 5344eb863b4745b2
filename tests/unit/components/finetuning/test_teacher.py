"""The teacher is asked once about each example."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from small_models import ArrayBatch, ArrayData, image_data, image_net, problem
from torch import Tensor, nn

from fulcrum_components.finetuning import teacher as teacher_module
from fulcrum_components.finetuning.teacher import Teacher


class Counting(nn.Module):
    """Counts the examples that it is asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = image_net().eval()
        self.asked = 0

    def forward(self, x: Tensor) -> Tensor:
        self.asked += len(x)
        return self.inner(x)


class Augmented(ArrayData):
    """Gives other inputs in every pass."""

    passes = 0

    def batches(
        self, batch_size: int, *, shuffle_seed: int | None = None, columns: Sequence[str] = ()
    ) -> Iterator[ArrayBatch]:
        self.passes += 1
        for batch in super().batches(batch_size, shuffle_seed=shuffle_seed):
            yield ArrayBatch({"x": batch.inputs["x"] + np.float32(self.passes)}, batch.targets)


def passes(data: ArrayData, module: nn.Module, *, keep: bool, count: int = 3) -> None:
    """Go over shuffled data as training does, and check every answer."""
    asked = Teacher(module, problem(data), batch_size=16, keep=keep)
    for seed in range(count):
        for batch in data.batches(10, shuffle_seed=seed):
            with torch.no_grad():
                right = image_net().eval()(torch.from_numpy(batch.inputs["x"]))
            torch.testing.assert_close(asked.outputs(batch), (right,))


def test_each_example_is_asked_about_once() -> None:
    module = Counting()
    passes(image_data(50), module, keep=True)

    assert module.asked == 50


def test_without_keeping_it_is_asked_each_time() -> None:
    module = Counting()
    passes(image_data(50), module, keep=False)

    assert module.asked == 150


def test_other_inputs_each_time_get_their_own_answers() -> None:
    data = image_data(50)
    passes(Augmented(data.x, data.targets), Counting(), keep=True)


def test_too_many_outputs_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher_module, "LARGEST_BYTES", 100)
    module = Counting()
    passes(image_data(50), module, keep=True)

    assert module.asked >= 150


def test_answers_do_not_depend_on_when_they_were_first_wanted() -> None:
    data = image_data(50)
    early, late = (
        Teacher(image_net().eval(), problem(data), batch_size=16, keep=True) for _ in range(2)
    )
    first, *_, last = list(data.batches(10, shuffle_seed=1))
    early.outputs(first)

    assert torch.equal(early.outputs(last)[0], late.outputs(last)[0])
