"""Modules in half precision are trained, not turned into NaN; one logit is a binary task."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from small_models import ArrayData, measure_of, problem, signature
from torch import Tensor, nn

from fulcrum_components.finetuning import FinetuneResult, finetune
from fulcrum_pipelines.resources.compressionjob import Distillation, Finetune


class Casting(nn.Module):
    """Converts around `inside`, which is in half precision, as users' modules do."""

    def __init__(self, inside: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.inside = inside.to(dtype)
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        """Return float32."""
        return self.inside(x.to(self.dtype)).float()


class LastState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(4, 16, batch_first=True)
        self.classify = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, (n, 2)."""
        return self.classify(self.layer(x.unflatten(1, (4, 4)))[0][:, -1])


def mlp(outputs: int = 2) -> nn.Module:
    return nn.Sequential(
        nn.Linear(16, 32), nn.LayerNorm(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, outputs)
    )


def conv() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)),
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 2),
    )


def data(count: int, seed: int, shape: tuple[int, ...] = (-1,)) -> ArrayData:
    x = np.random.default_rng(seed).normal(size=(count, 16)).astype(np.float32)
    return ArrayData(x, (x[:, 0] > 0).astype(np.int64).reshape(shape))


def tuned(module: nn.Module, **arguments: Any) -> FinetuneResult:
    shape: tuple[int, ...] = arguments.pop("labels", (-1,))
    teacher = copy.deepcopy(module) if arguments.pop("distil", False) else None
    asked: dict[str, Any] = {"learning_rate": 0.01} | arguments.pop("options", {})
    if teacher is not None:
        asked["distillation"] = Distillation(weight=0.1)
    options = Finetune(epochs=6, batch_size=16, **asked)
    changes = {"signature": signature((16,)), "seed": 1} | arguments
    to_learn = problem(data(192, 0, shape), **changes)
    return finetune(
        module,
        teacher,
        to_learn,
        options,
        validation=data(96, 1, shape),
        measure=measure_of(to_learn),
    )


@pytest.mark.parametrize(("optimizer", "rate"), [("adamw", 0.01), ("sgd", 0.2)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("inside", [mlp, conv, LastState])
def test_half_precision_learns_and_stays_half(
    inside: Callable[[], nn.Module], dtype: torch.dtype, optimizer: str, rate: float
) -> None:
    torch.manual_seed(0)
    module = Casting(inside(), dtype)
    kinds = {name: value.dtype for name, value in module.state_dict().items()}

    result = tuned(module, distil=True, options={"optimizer": optimizer, "learning_rate": rate})

    epochs = result.details.epochs
    assert epochs[-1].train_loss < epochs[0].train_loss
    assert (epochs[-1].validation_metric or 0) > (0.8 if optimizer == "adamw" else 0.6)
    assert result.details.precision == "bf16"
    assert "half precision" in result.notes[0]
    assert {name: value.dtype for name, value in module.state_dict().items()} == kinds
    assert all(value.grad is None for value in module.parameters())


def test_full_precision_is_trained_as_asked() -> None:
    module = mlp()
    assert tuned(module).details.precision == "fp32"
    assert tuned(module, options={"precision": "bf16"}).details.precision == "bf16"
    assert tuned(module).notes == ()


class Binary(nn.Module):
    """Gives one number an example, (n, 1) or (n,)."""

    def __init__(self, *, flat: bool, probability: bool) -> None:
        super().__init__()
        self.inside = mlp(1)
        self.flat, self.probability = flat, probability

    def forward(self, x: Tensor) -> Tensor:
        """Return a logit or a probability of class 1."""
        z = self.inside(x)
        z = z[:, 0] if self.flat else z
        return z.sigmoid() if self.probability else z


@pytest.mark.parametrize("distil", [False, True])
@pytest.mark.parametrize("labels", [(-1,), (-1, 1)], ids=["labels (n,)", "labels (n, 1)"])
@pytest.mark.parametrize("probability", [False, True], ids=["logit", "probability"])
@pytest.mark.parametrize("flat", [False, True], ids=["(n, 1)", "(n,)"])
def test_one_number_an_example_is_a_binary_task(
    *, flat: bool, probability: bool, labels: tuple[int, ...], distil: bool
) -> None:
    torch.manual_seed(0)
    module = Binary(flat=flat, probability=probability)
    meaning = "probabilities" if probability else "logits"

    result = tuned(module, meaning=meaning, labels=labels, distil=distil)

    epochs = result.details.epochs
    assert epochs[-1].train_loss < 0.9 * epochs[0].train_loss
    assert (epochs[-1].validation_metric or 0) > 0.8
