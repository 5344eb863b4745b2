"""The finetune stage's one function: everything around the training loop.

It borrows what it changes (device, torch's switches, weight normalisation) and gives it back, so
that a module comes out as plain as it went in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from fulcrum_components.device import placed
from fulcrum_components.finetuning.determinism import deterministic
from fulcrum_components.finetuning.early_stopping import best_epoch
from fulcrum_components.finetuning.half_precision import float32_weights
from fulcrum_components.finetuning.loop import Training, run
from fulcrum_components.finetuning.optimizers import make_optimizer
from fulcrum_components.finetuning.sparsity import Masks
from fulcrum_components.finetuning.teacher import Teacher
from fulcrum_components.finetuning.validation import Measure
from fulcrum_components.finetuning.weight_norm import SHARED, weight_norm
from fulcrum_components.modes import evaluating
from fulcrum_components.objective import Examples, Problem
from fulcrum_pipelines.catalog import TASKS
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import Epoch, FinetuneDetails
from fulcrum_pipelines.resources.compressionjob import Finetune

HALF_PRECISION = (
    "weights of half precision were trained in float32 under bfloat16 autocast, and rounded back"
)


@dataclass(frozen=True)
class FinetuneResult:
    """Result of fine-tuning.

    Attributes:
        details: Its record; the epochs before a resumption are among them.
        notes: What was done otherwise than asked, in sentences for the user.
    """

    details: FinetuneDetails
    notes: tuple[str, ...] = ()


def finetune(
    module: nn.Module,
    teacher: nn.Module | None,
    problem: Problem,
    options: Finetune,
    *,
    validation: Examples | None = None,
    measure: Measure | None = None,
    checkpoint_dir: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    sparse_layers: Sequence[str] = (),
) -> FinetuneResult:
    """Train `module` in place; it ends in evaluation mode on the device where it was.

    Args:
        module: The compressed module.
        teacher: The original, for `options.distillation`.
        problem: What to learn, and from which examples.
        options: How to train.
        validation: Examples for early stopping and the record.
        measure: Computes metrics to record besides the loss.
        checkpoint_dir: Directory of the checkpoint, also to resume from.
        on_epoch: Called after each epoch that runs now.
        sparse_layers: Names of parameters whose zeros stay zero.

    Raises:
        UserError: Options, model and data do not fit each other, or the loss became NaN.
    """
    _require(problem, validation, teacher, options)
    with deterministic(), placed(problem.device, module, teacher), _teaching(teacher):
        masks = Masks(module, sparse_layers)
        with (
            float32_weights(module) as converted,
            weight_norm(module, enabled=options.weight_norm) as shared,
        ):
            training = Training(
                module=module,
                teacher=_teacher(teacher, problem, options),
                problem=problem,
                validation=validation,
                measure=measure,
                options=options,
                optimizer=make_optimizer(_trainable(module), options),
                masks=masks,
                half_weights=converted,
            )
            epochs, resumed = run(training, checkpoint_dir, on_epoch)
        module.zero_grad(set_to_none=True)
        masks.apply()
        sparsity_kept = masks.sparsity_kept()
    module.eval()
    losses = [epoch.validation_loss for epoch in epochs if epoch.validation_loss is not None]
    stopping = options.early_stopping
    details = FinetuneDetails(
        device=str(problem.device),
        precision="bf16" if training.autocast else "fp32",
        epochs=epochs,
        best_epoch=best_epoch(losses, stopping.min_delta) if stopping else len(epochs),
        stopped_early=len(epochs) < options.epochs,
        resumed_from_epoch=resumed,
        sparsity_kept=sparsity_kept,
        metric=TASKS[problem.task].main,
    )
    return FinetuneResult(details, _notes(half_precision=converted, shared=shared))


def _trainable(module: nn.Module) -> list[nn.Parameter]:
    found = [value for value in module.parameters() if value.requires_grad]
    if not found:
        raise UserError("the model has no parameters that can be trained", where="spec.model")
    return found


def _notes(*, half_precision: bool, shared: Sequence[str]) -> tuple[str, ...]:
    found = (HALF_PRECISION,) if half_precision else ()
    return (*found, SHARED + ", ".join(shared)) if shared else found


def _require(
    problem: Problem, validation: Examples | None, teacher: nn.Module | None, options: Finetune
) -> None:
    """Raise a UserError if options need something that is missing."""
    problem.required_train()
    if validation is not None and len(validation) == 0:
        raise UserError("has no examples", where="spec.data.validation")
    if options.early_stopping is not None and validation is None:
        message = "needs data.validation; add it, or remove earlyStopping"
        raise UserError(message, where="spec.recipe.finetune.earlyStopping")
    if options.distillation is not None and teacher is None:
        message = "needs the original as a torch module to learn from"
        raise UserError(message, where="spec.recipe.finetune.distillation")


def _teacher(module: nn.Module | None, problem: Problem, options: Finetune) -> Teacher | None:
    if module is None or options.distillation is None:
        return None
    return Teacher(
        module,
        problem,
        batch_size=options.batch_size,
        keep=options.epochs > 1,
    )


def _teaching(teacher: nn.Module | None) -> AbstractContextManager[None]:
    """Have `teacher` evaluating inside the block, then as it was."""
    return nullcontext() if teacher is None else evaluating(teacher)
