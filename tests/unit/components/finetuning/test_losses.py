"""Task loss, distillation and penalties against their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from small_models import ArrayBatch, image_net, signature
from torch import Tensor, nn

from fulcrum_components.finetuning.penalties import penalty
from fulcrum_components.objective import (
    call,
    input_tensors,
    target_tensor,
)
from fulcrum_components.tasks import find_task
from fulcrum_pipelines.catalog import Meaning, task_of_meaning
from fulcrum_pipelines.errors import InfrastructureError, UserError
from fulcrum_pipelines.resources.compressionjob import Penalty

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]])
TEACHER = torch.tensor([[1.0, 1.0, -2.0], [0.0, 2.0, 1.0]])
LABELS = torch.tensor([0, 1])
CLASSES, NUMBERS = find_task("classification"), find_task("regression")


def test_probabilities_give_the_loss_of_their_logits() -> None:
    logits = CLASSES.loss(LOGITS, LABELS, "logits")

    torch.testing.assert_close(CLASSES.loss(LOGITS.softmax(-1), LABELS, "probabilities"), logits)


BINARY = torch.tensor([2.0, -1.0, 0.5])
BINARY_LABELS = torch.tensor([0, 1, 1])


@pytest.mark.parametrize("labels_shape", [(3,), (3, 1)])
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
@pytest.mark.parametrize("meaning", ["logits", "probabilities"])
def test_one_number_an_example_gives_binary_cross_entropy(
    meaning: Meaning, shape: tuple[int, ...], labels_shape: tuple[int, ...]
) -> None:
    outputs = (BINARY if meaning == "logits" else BINARY.sigmoid()).reshape(shape)

    loss = CLASSES.loss(outputs, BINARY_LABELS.reshape(labels_shape), meaning)

    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        BINARY, BINARY_LABELS.float(), reduction="none"
    )
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
@pytest.mark.parametrize("meaning", ["logits", "probabilities"])
def test_distillation_of_one_number_is_that_of_two_classes(
    meaning: Meaning, shape: tuple[int, ...]
) -> None:
    student, teacher = BINARY, BINARY.flip(0)
    both = [torch.stack([torch.zeros(3), x], dim=1) for x in (student, teacher)]
    expected = CLASSES.distillation(*both, "logits", 2.0)
    if meaning == "probabilities":
        student, teacher = student.sigmoid(), teacher.sigmoid()

    loss = CLASSES.distillation(student.reshape(shape), teacher.reshape(shape), meaning, 2.0)

    assert float(loss) > 0.1
    torch.testing.assert_close(loss, expected)


def test_a_probability_of_nothing_is_not_infinite() -> None:
    loss = CLASSES.loss(torch.tensor([[0.0, 1.0]]), torch.tensor([0]), "probabilities")

    assert float(loss) == pytest.approx(-math.log(1e-7), rel=1e-4)


def test_values_of_one_column_fit_flat_targets() -> None:
    loss = NUMBERS.loss(torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, 1.0]), "value")

    assert loss.tolist() == [1.0, 4.0]


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_distillation_is_hinton_s(temperature: float) -> None:
    student, teacher = ((x / temperature).softmax(-1) for x in (LOGITS, TEACHER))
    divergence = (teacher * (teacher.log() - student.log())).sum(-1).mean()

    loss = CLASSES.distillation(LOGITS, TEACHER, "logits", temperature)
    torch.testing.assert_close(loss, divergence * temperature**2)
    same = CLASSES.distillation(
        LOGITS.softmax(-1), TEACHER.softmax(-1), "probabilities", temperature
    )
    torch.testing.assert_close(same, loss)


def test_distillation_of_values_is_their_squared_difference() -> None:
    loss = NUMBERS.distillation(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 1.0]), "value", 3.0)

    assert float(loss) == 2.5


def test_penalties_sum_over_weights_and_channels() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.ConvTranspose1d(1, 2, 1))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[3.0, -4.0], [0.0, 1.0]]))
        module[1].weight.copy_(torch.tensor([[[2.0], [-5.0]]]))
    terms = (Penalty(kind="l1", weight=0.5), Penalty(kind="group", weight=2.0))

    assert float(penalty(module, terms[:1]).detach()) == pytest.approx(0.5 * (8 + 7))
    assert float(penalty(module, terms[1:]).detach()) == pytest.approx(2.0 * (5 + 1 + 2 + 5))


def test_a_channel_of_zeros_has_no_gradient() -> None:
    layer = nn.Linear(2, 2)
    nn.init.zeros_(layer.weight)
    torch.autograd.backward(penalty(layer, (Penalty(kind="group", weight=1.0),)))

    assert layer.weight.grad is not None
    assert torch.equal(layer.weight.grad, torch.zeros(2, 2))


@pytest.mark.parametrize(
    ("outputs", "targets", "meaning", "message"),
    [
        (torch.zeros(2, 3), torch.tensor([0, 3]), "logits", "label 3 is not one of .* 0 to 2"),
        (torch.zeros(2, 3), torch.tensor([-1, 0]), "logits", "label -1"),
        (torch.zeros(2), torch.tensor([0, 2]), "logits", "label 2 is not one of .* 0 to 1"),
        (torch.zeros(2, 1), torch.tensor([-1, 0]), "probabilities", "label -1"),
        (torch.zeros(2, 3, 4), torch.tensor([0, 1]), "logits", "outputs of shape"),
        (torch.zeros(2, 3), torch.tensor([[0, 1], [1, 1]]), "probabilities", r"labels \(n,\)"),
        (torch.zeros(2, 3), torch.zeros(2), "value", "same number of values"),
    ],
    ids=[
        "label too high",
        "label negative",
        "one logit",
        "one probability",
        "outputs of three axes",
        "labels of two axes",
        "values",
    ],
)
def test_what_does_not_fit_is_refused(
    outputs: Tensor, targets: Tensor, meaning: Meaning, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        find_task(task_of_meaning(meaning).name).loss(outputs, targets, meaning)


def test_inputs_take_the_declared_type() -> None:
    batch = ArrayBatch({"x": np.zeros((2, 3), dtype=np.float64)}, None)
    (tensor,) = input_tensors(batch, signature((3,)), torch.device("cpu"))

    assert tensor.dtype == torch.float32


def test_read_only_data_are_copied() -> None:
    x = np.zeros((2, 3), dtype=np.float32)
    x.flags.writeable = False
    (tensor,) = input_tensors(ArrayBatch({"x": x}, None), signature((3,)), torch.device("cpu"))
    tensor += 1

    assert x.sum() == 0


def test_missing_inputs_and_targets_are_named() -> None:
    batch = ArrayBatch({"y": np.zeros(2)}, None)

    with pytest.raises(UserError, match="no input 'x'; they have \\['y'\\]"):
        input_tensors(batch, signature((3,)), torch.device("cpu"))
    with pytest.raises(UserError, match="needs targets"):
        target_tensor(batch, CLASSES, torch.device("cpu"))


class Raising(nn.Module):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        raise self.error


def test_error_of_user_code_names_the_shapes() -> None:
    with pytest.raises(UserError, match=r"\(2, 3\) torch\.float32: KeyError: 'w'"):
        call(Raising(KeyError("w")), (torch.zeros(2, 3),))


def test_out_of_memory_is_no_fault_of_the_user_s_code() -> None:
    with pytest.raises(InfrastructureError, match="batchSize"):
        call(Raising(MemoryError()), (torch.zeros(2, 3),))


class Words(nn.Module):
    def forward(self, x: Tensor) -> dict[str, str]:
        return {"y": "x"}


def test_outputs_that_are_no_tensors_are_refused() -> None:
    with pytest.raises(UserError, match="is a str"):
        call(Words(), (torch.zeros(2, 3),))


def test_the_first_of_several_outputs_counts() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x + 1, x

    assert torch.equal(call(Two(), (torch.zeros(2),)), torch.ones(2))
    assert call(image_net(), (torch.zeros(2, 1, 8, 8),)).shape == (2, 2)
