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

from fulcrum_components.blame import blame
from fulcrum_components.device import CPU
from fulcrum_components.tasks import Task, find_task
from fulcrum_pipelines.catalog import Meaning
from fulcrum_pipelines.errors import FulcrumError, InfrastructureError, UserError

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
    """The learning task of a model and its examples: the same for pruning and fine-tuning.

    Attributes:
        signature: The model's inputs and outputs.
        task: What it is for; selects the loss and the metric.
        meaning: Of its first output.
        train: Examples with targets, or None.
        seed: Seed of everything that is random.
        kept: Positions of outputs after the first that count too.
        device: Of the model while it is pruned and trained.
    """

    signature: SignatureLike
    task: str
    meaning: Meaning
    train: Examples | None
    seed: int
    kept: tuple[int, ...] = ()
    device: torch.device = CPU

    @property
    def asked(self) -> Task:
        """The task, which says what is right and what is learned."""
        return find_task(self.task)

    def required_train(self) -> Examples:
        """Return the examples to train on.

        Raises:
            UserError: They are missing.
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


def target_tensor(batch: BatchLike, task: Task, device: torch.device) -> Tensor:
    """Return the right answers (n, ...) in the type that the task's loss takes.

    Raises:
        UserError: The batch has no targets.
    """
    if batch.targets is None:
        raise UserError(
            "training needs targets, but the data have none", where="spec.data.train.target"
        )
    return torch.from_numpy(np.array(batch.targets, dtype=task.target_dtype)).to(device)


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


def task_loss(outputs: Tensor, targets: Tensor, problem: Problem) -> Tensor:
    """Return the task's loss, averaged over examples, as a scalar."""
    return problem.asked.loss(outputs, targets, problem.meaning).mean()


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
