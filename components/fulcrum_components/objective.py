"""The loss on batches of a data set, shared by everything that needs gradients.

Pruning scores channels by gradients and fine-tuning follows them; neither may import the other, and
both must mean the same loss by the same words. The Protocols say how little of a data set and of a
model's signature is needed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fulcrum_components.blame import blame
from fulcrum_pipelines.catalog import Meaning, TaskName
from fulcrum_pipelines.errors import FulcrumError, InfrastructureError, UserError

SMALLEST_PROBABILITY = 1e-7
"""Probabilities are clamped here before the logarithm, so that one sure mistake is not infinite."""

FILL = 1e4
"""Magnitude from which a value fills a place, as -1e9 in a mask does, and is nothing to learn."""

CONSTANT = 1e-4
"""Share of its mean square that counts as variance of an output that hardly varies."""

SMALLEST_VARIANCE = 1e-12


class InputSpec(Protocol):
    """Name and numpy dtype of one input."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...


class OutputSpec(Protocol):
    """Sizes of one output; a string names a dynamic axis."""

    @property
    def shape(self) -> Sequence[int | str]: ...


class SignatureLike(Protocol):
    """Inputs and outputs of a model in the order in which its forward takes and returns them."""

    @property
    def inputs(self) -> Sequence[InputSpec]: ...
    @property
    def outputs(self) -> Sequence[OutputSpec]: ...


class BatchLike(Protocol):
    """Some examples."""

    @property
    def inputs(self) -> Mapping[str, NDArray[Any]]: ...
    @property
    def targets(self) -> NDArray[Any] | None: ...


class Examples(Protocol):
    """A data set that is read in batches."""

    def __len__(self) -> int: ...

    def batches(
        self, batch_size: int, *, shuffle_seed: int | None = None, columns: Sequence[str] = ()
    ) -> Iterator[BatchLike]: ...


@dataclass(frozen=True)
class Problem:
    """What a model has to learn, from which examples: the same for pruning and fine-tuning.

    Attributes:
        signature: The model's inputs and outputs.
        task: What it is for; selects the metric.
        meaning: What its first output means; selects the loss.
        train: Examples with targets; None if there are none.
        seed: Seed of everything that is random.
        kept: Positions of outputs after the first that count too.
    """

    signature: SignatureLike
    task: TaskName
    meaning: Meaning
    train: Examples | None
    seed: int
    kept: tuple[int, ...] = ()

    def required_train(self) -> Examples:
        """Return the examples to train on.

        Raises:
            UserError: There are none.
        """
        if self.train is None or len(self.train) == 0:
            raise UserError("has no examples to train on", where="spec.data.train")
        return self.train


def input_tensors(
    batch: BatchLike, signature: SignatureLike, device: torch.device
) -> tuple[Tensor, ...]:
    """Return the batch's inputs in signature order, in the declared dtypes, on `device`.

    Raises:
        UserError: The batch lacks an input.
    """
    return tuple(_input_tensor(batch, spec, device) for spec in signature.inputs)


def _input_tensor(batch: BatchLike, spec: InputSpec, device: torch.device) -> Tensor:
    if spec.name not in batch.inputs:
        message = f"the data have no input {spec.name!r}; they have {sorted(batch.inputs)}"
        raise UserError(message, where="spec.data")
    # A copy, because torch refuses to share read-only memory, which memory-mapped data are.
    return torch.from_numpy(np.array(batch.inputs[spec.name], dtype=spec.dtype)).to(device)


def target_tensor(batch: BatchLike, meaning: Meaning, device: torch.device) -> Tensor:
    """Return the right answers: int64 labels (n,), or float64 values (n, ...) for `value`.

    Raises:
        UserError: The batch has no targets.
    """
    if batch.targets is None:
        raise UserError(
            "training needs targets, but the data have none", where="spec.data.train.target"
        )
    dtype = np.float64 if meaning == "value" else np.int64
    return torch.from_numpy(np.array(batch.targets, dtype=dtype)).to(device)


def call(module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """Return the model's first output; see `call_all`."""
    return call_all(module, inputs)[0]


def call_all(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return all of the model's outputs, in the order in which an exported file has them.

    Raises:
        UserError: The model's own code failed on these inputs, or returned no tensors.
    """
    try:
        result = module(*inputs)
    except FulcrumError:
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        message = "ran out of memory; a smaller batchSize needs less, or give the stage more"
        raise InfrastructureError(message, where="spec.model") from error
    except Exception as error:  # user code may raise anything; it must be named, not leak
        shapes = ", ".join(f"{tuple(item.shape)} {item.dtype}" for item in inputs)
        message = f"the model's forward failed on inputs of {shapes}: {blame(error)}"
        raise UserError(message, where="spec.model") from error
    return output_tensors(result)


def output_tensors(result: object) -> tuple[Tensor, ...]:
    """Return the tensors of what a forward returned, in the order in which an exporter names them.

    Tuples, lists, mappings and dataclasses are taken apart, also inside each other; None is left
    out, as the exporters do.

    Raises:
        UserError: It holds something else than tensors, or none.
    """
    found = tuple(_leaves(result, "output"))
    if not found:
        message = f"forward returns no tensor but {type(result).__name__}"
        raise UserError(message, where="spec.model")
    return found


def _leaves(value: object, place: str) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{place}[{key!r}]")
    elif is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            yield from _leaves(getattr(value, each.name), f"{place}.{each.name}")
    elif isinstance(value, tuple | list):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{place}[{number}]")
    elif value is not None:
        message = (
            f"forward must return a tensor, or tensors in a tuple, list or dict, but its {place} "
            f"is a {type(value).__name__}"
        )
        raise UserError(message, where="spec.model")


def class_logits(outputs: Tensor, meaning: Meaning) -> Tensor:
    """Return logits of all classes, (n, C), in float32; their softmax are the probabilities.

    One number an example, (n,) or (n, 1), is that of class 1 of two: a logit z stands for (0, z), a
    probability p for (log(1 - p), log p), so that cross entropy is binary cross entropy.

    Args:
        outputs: Logits or probabilities of shape (n, C), (n, 1) or (n,).
        meaning: `logits` or `probabilities`.
    """
    wide = outputs.float()
    wide = wide[:, None] if wide.ndim == 1 else wide
    single = wide.ndim == 2 and wide.shape[1] == 1
    if meaning == "logits":
        return torch.cat([torch.zeros_like(wide), wide], dim=1) if single else wide
    wide = torch.cat([1.0 - wide, wide], dim=1) if single else wide
    return wide.clamp_min(SMALLEST_PROBABILITY).log()


def per_example_loss(outputs: Tensor, targets: Tensor, meaning: Meaning) -> Tensor:
    """Return the task's loss of each example, shape (n,).

    Cross entropy for `logits` and negative log likelihood for `probabilities`, both (n, C), or
    (n, 1) and (n,) for two classes; the squared error, averaged over the elements of an example,
    for `value`.

    Raises:
        UserError: Shapes do not fit each other, or a label is not a class of the model.
    """
    if meaning == "value":
        return _squared_error(outputs, targets)
    logits = class_logits(outputs, meaning)
    labels = targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else targets
    _check_labels(logits, labels)
    if meaning == "logits":
        return functional.cross_entropy(logits, labels, reduction="none")
    return functional.nll_loss(logits, labels, reduction="none")


def task_loss(outputs: Tensor, targets: Tensor, meaning: Meaning) -> Tensor:
    """Return the mean of `per_example_loss` as a scalar."""
    return per_example_loss(outputs, targets, meaning).mean()


def kept_loss(outputs: Tensor, teacher_outputs: Tensor) -> Tensor:
    """Return how well an output after the first is kept, as a scalar: its squared relative error.

    The mean squared difference is divided by the variance of the teacher's values, so that outputs
    of any scale weigh alike. Where either has NaN, infinity or the fill of a mask nothing counts.

    Args:
        outputs: The student's, of any shape.
        teacher_outputs: The teacher's, of the same shape.
    """
    student, teacher = outputs.float(), teacher_outputs.float()
    usual = student.isfinite() & (teacher.abs() < FILL)
    values = teacher[usual]
    if not values.numel():
        return torch.zeros((), device=teacher.device)
    difference = torch.where(usual, student, teacher)[usual] - values
    scale = values.var(correction=0) + CONSTANT * values.square().mean()
    return difference.square().mean() / (scale + SMALLEST_VARIANCE)


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    if outputs.numel() != targets.numel():
        message = (
            f"the model gives values of shape {tuple(outputs.shape)}, the targets have "
            f"{tuple(targets.shape)}; both must have the same number of values an example"
        )
        raise UserError(message, where="spec.data.train.target")
    difference = outputs.to(targets.dtype).reshape(targets.shape) - targets
    return difference.square().reshape(len(targets), -1).mean(dim=1)


def _check_labels(outputs: Tensor, targets: Tensor) -> None:
    """Refuse logits of all classes and labels that do not belong to each other."""
    if outputs.ndim != 2 or targets.ndim != 1 or len(outputs) != len(targets):
        message = (
            f"classification needs outputs of shape (n, classes) and labels (n,), but got "
            f"{tuple(outputs.shape)} and {tuple(targets.shape)}"
        )
        raise UserError(message, where="spec.data.train.target")
    lowest, highest = int(targets.min()), int(targets.max())
    if lowest < 0 or highest >= outputs.shape[1]:
        wrong = lowest if lowest < 0 else highest
        message = f"label {wrong} is not one of the model's classes 0 to {outputs.shape[1] - 1}"
        raise UserError(message, where="spec.data.train.target")
