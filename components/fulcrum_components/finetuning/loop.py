"""The training loop: labels, teacher and penalties in one loss.

Every epoch seeds itself from the job's seed and its own number, so the same seed gives the same
bits, and a resumed training is the uninterrupted one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from fulcrum_components.finetuning.checkpoint import (
    Checkpoints,
    fingerprint,
    load_tensors,
    model_tensors,
)
from fulcrum_components.finetuning.determinism import derive_seed
from fulcrum_components.finetuning.early_stopping import best_epoch, should_stop
from fulcrum_components.finetuning.optimizers import set_learning_rate
from fulcrum_components.finetuning.penalties import penalty
from fulcrum_components.finetuning.schedules import learning_rate_factor
from fulcrum_components.finetuning.sparsity import Masks
from fulcrum_components.finetuning.teacher import Teacher
from fulcrum_components.finetuning.validation import Measure, run_validation
from fulcrum_components.objective import (
    BatchLike,
    Examples,
    Problem,
    call_all,
    input_tensors,
    kept_loss,
    target_tensor,
    task_loss,
)
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import Epoch
from fulcrum_pipelines.resources.compressionjob import Finetune
from fulcrum_pipelines.texts import reason


@dataclass(frozen=True)
class Training:
    """Values that stay the same over all epochs; module and optimiser change inside."""

    module: nn.Module
    teacher: Teacher | None
    problem: Problem
    validation: Examples | None
    measure: Measure | None
    options: Finetune
    optimizer: Optimizer
    masks: Masks
    half_weights: bool

    @property
    def train(self) -> Examples:
        """The examples to train on."""
        return self.problem.required_train()

    @property
    def autocast(self) -> bool:
        """Whether products are computed in bfloat16."""
        return self.half_weights or self.options.precision == "bf16"

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one pass over the data."""
        return math.ceil(len(self.train) / self.options.batch_size)

    def settings(self) -> str:
        """Return all settings that the result depends on, as text."""
        problem = self.problem
        parts = (self.options.model_dump_json(), problem.task, problem.meaning, problem.seed)
        sizes = (len(self.train), len(self.validation) if self.validation is not None else None)
        others = (self.masks.zeros, self.teacher is not None, problem.device, problem.kept)
        return f"{parts} {sizes} {' '.join(map(str, others))}"


def run(
    training: Training, checkpoint_dir: Path | None, on_epoch: Callable[[Epoch], None] | None
) -> tuple[tuple[Epoch, ...], int | None]:
    """Train until done or stopped early, and leave the best or last weights in the module.

    Returns:
        All epochs, and the number of the one that a checkpoint resumed after.
    """
    module, options = training.module, training.options
    checkpoints = Checkpoints(checkpoint_dir, fingerprint(module, training.settings()))
    restored = checkpoints.restore(module, training.optimizer)
    epochs = restored.epochs if restored else ()
    best = restored.best if restored else {}
    while len(epochs) < options.epochs and not should_stop(_losses(epochs), options.early_stopping):
        epoch = _epoch(training, len(epochs) + 1)
        epochs = (*epochs, epoch)
        if _is_best(epochs, options):
            best = model_tensors(module)
        checkpoints.save(module, training.optimizer, epochs, best)
        if on_epoch is not None:
            on_epoch(epoch)
    if best:
        load_tensors(module, best)
    return epochs, len(restored.epochs) if restored else None


def _losses(epochs: tuple[Epoch, ...]) -> list[float]:
    return [epoch.validation_loss for epoch in epochs if epoch.validation_loss is not None]


def _is_best(epochs: tuple[Epoch, ...], options: Finetune) -> bool:
    stopping = options.early_stopping
    return stopping is not None and best_epoch(_losses(epochs), stopping.min_delta) == len(epochs)


def _epoch(training: Training, number: int) -> Epoch:
    """Train for one pass, numbered from 1, and measure on validation."""
    started = time.perf_counter()
    torch.manual_seed(derive_seed(training.problem.seed, "epoch", number))
    training.module.train()
    total, count, rate = 0.0, 0, 0.0
    for place, batch in enumerate(_batches(training, number)):
        step = (number - 1) * training.steps_per_epoch + place
        rate = training.options.learning_rate * _factor(training, step)
        set_learning_rate(training.optimizer, rate)
        loss, examples = _step(training, batch, f"epoch {number}, step {place + 1}")
        total += loss * examples
        count += examples
    validation_loss, metric = _validate(training)
    return Epoch(
        epoch=number,
        train_loss=total / count,
        validation_loss=validation_loss,
        validation_metric=metric,
        learning_rate=rate,
        seconds=time.perf_counter() - started,
    )


def _validate(training: Training) -> tuple[float | None, float | None]:
    if training.validation is None:
        return None, None
    loss, outputs, targets = run_validation(
        training.module,
        training.validation,
        training.problem,
        autocast=training.half_weights,
    )
    if not math.isfinite(loss):
        message = (
            "the loss on data.validation is not finite after training; "
            f"use a learningRate lower than {training.options.learning_rate:g}"
        )
        raise UserError(message, where="spec.recipe.finetune.learningRate")
    return loss, None if training.measure is None else training.measure(outputs, targets)


def _batches(training: Training, number: int) -> Iterator[BatchLike]:
    """Yield the epoch's batches, but no single example where batch norm needs a variance."""
    has_norm = any(isinstance(layer, _BatchNorm) for layer in training.module.modules())
    seed = derive_seed(training.problem.seed, "shuffle", number)
    used = 0
    for batch in training.train.batches(training.options.batch_size, shuffle_seed=seed):
        size = 0 if batch.targets is None else len(batch.targets)
        if size == 1 and has_norm and (used or training.options.batch_size == 1):
            continue
        used += 1
        yield batch
    if not used:
        message = "has no batch to train on; batch norm needs a batchSize of 2 or more"
        raise UserError(message, where="spec.recipe.finetune.batchSize")


def _factor(training: Training, step: int) -> float:
    steps = training.options.epochs * training.steps_per_epoch
    warmup = round(training.options.warmup_epochs * training.steps_per_epoch)
    return learning_rate_factor(training.options.schedule, step, steps, warmup)


def _step(training: Training, batch: BatchLike, place: str) -> tuple[float, int]:
    """Take one step; return the loss before it and the number of examples."""
    problem = training.problem
    inputs = input_tensors(batch, problem.signature, problem.device)
    targets = target_tensor(batch, problem.asked, problem.device)
    training.optimizer.zero_grad(set_to_none=True)
    loss = _loss(training, batch, inputs, targets)
    value = float(loss.detach())
    if not math.isfinite(value):
        message = (
            f"the loss became {value} at {place}; use a learningRate lower than "
            f"{training.options.learning_rate:g}, or set gradientClip"
        )
        raise UserError(message, where="spec.recipe.finetune.learningRate")
    _backward(loss)
    if training.options.gradient_clip is not None:
        nn.utils.clip_grad_norm_(training.module.parameters(), training.options.gradient_clip)
    training.optimizer.step()
    training.masks.apply()
    return value, len(targets)


def _backward(loss: Tensor) -> None:
    try:
        torch.autograd.backward(loss)
    except RuntimeError as error:
        message = f"the model cannot be trained: backward failed: {reason(error)}"
        raise UserError(message, where="spec.model") from error


def _loss(
    training: Training, batch: BatchLike, inputs: tuple[Tensor, ...], targets: Tensor
) -> Tensor:
    """Return (1 - w) * labels' loss + w * teacher's + penalties, a scalar.

    The teacher's loss is that of the first output, and that of each other output to keep.
    """
    options = training.options
    with torch.autocast(
        training.problem.device.type, dtype=torch.bfloat16, enabled=training.autocast
    ):
        outputs, *further = call_all(training.module, inputs)
    problem = training.problem
    loss = task_loss(outputs, targets, problem)
    if options.distillation is not None and training.teacher is not None:
        taught, *others = training.teacher.outputs(batch)
        weight, temperature = options.distillation.weight, options.distillation.temperature
        soft = problem.asked.distillation(outputs, taught, problem.meaning, temperature)
        for position, other in zip(problem.kept, others, strict=True):
            soft = soft + kept_loss(_further(further, position, other), other)
        loss = (1.0 - weight) * loss + weight * soft
    if options.penalties:
        loss = loss + penalty(training.module, options.penalties)
    return loss


def _further(further: list[Tensor], position: int, taught: Tensor) -> Tensor:
    """Return the output at `position`, which has the shape of the teacher's.

    Raises:
        UserError: The model returns something else in training than in evaluation.
    """
    found = further[position - 1].shape if position <= len(further) else None
    if found != taught.shape:
        shown = "no such output" if found is None else f"shape {tuple(found)}"
        message = (
            f"in training mode output {position} (from 0) is {shown}, in evaluation it has "
            f"{tuple(taught.shape)}, so distillation cannot keep it; return the same in both, or "
            "name it in data.ignoredOutputs"
        )
        raise UserError(message, where="spec.model")
    return further[position - 1]
