"""Stage prune: remove weights from the model, and say what was really removed."""

from __future__ import annotations

import copy
from functools import partial

from torch import nn

from fulcrum_components.device import placed
from fulcrum_components.finetuning import finetune
from fulcrum_components.folding import fold
from fulcrum_components.models.state import ModelState
from fulcrum_components.pruning import prune
from fulcrum_components.pruning.methods import METHODS, find_method
from fulcrum_components.pruning.read_back import left_whole, removed_nothing, removed_share
from fulcrum_components.sizes import gzip_bytes
from fulcrum_components.stages import torch_models
from fulcrum_components.stages.context import StageContext, StageResult
from fulcrum_pipelines.catalog import TASKS
from fulcrum_pipelines.contract import canonical_json, digest_of
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import Metric, PruneDetails
from fulcrum_pipelines.resources.compressionjob import Prune

NO_SPEED = (
    "zeros make the compressed file smaller; ONNX Runtime on CPU computes them like any other "
    "weight, so no speed is claimed"
)


def inputs(context: StageContext) -> dict[str, str]:
    """Return the digests of the model, of the data that it looks at, and of its options."""
    recipe = context.spec.recipe
    asked = {
        "prune": recipe.prune.model_dump(mode="json") if recipe.prune else None,
        "finetune": _recovery_options(context),
        "ignoredOutputs": list(context.spec.data.ignored_outputs or ()),
        "seed": context.spec.seed,
    }
    evaluated = context.evidence("evaluate").inputs
    used = ("model", "data.train", "data.validation")
    return {
        "asked": digest_of(canonical_json(asked)),
        **{name: evaluated[name] for name in used if name in evaluated},
    }


def run(context: StageContext) -> StageResult:
    """Prune the model as the recipe asks."""
    original = torch_models.require_module(context)
    module = copy.deepcopy(original)  # the original stays as the teacher
    start = copy.deepcopy(original)
    fold(start)
    options = context.spec.recipe.prune
    assert options is not None
    _refuse_fixed_shapes(context, options)
    problem = torch_models.problem_of(context)
    with placed(problem.device, module, original):
        context.report("measuring on validation", 0.05)
        before = torch_models.validation_metrics(module, context)
        context.report("pruning", 0.2)
        result = prune(
            module,
            options,
            problem,
            example_inputs=torch_models.example_tensors(context),
            recover=partial(_recover, context, original) if options.recovery_epochs else None,
            evaluate=partial(_measure, context, original) if before else None,
        )
        context.report("measuring on validation", 0.8)
        after = torch_models.validation_metrics(module, context)
    context.report("exporting to ONNX", 0.9)
    history = None if result.history is None else result.history.to_json()
    state = ModelState(module, history, result.sparse_layers)
    outputs = torch_models.hand_on(context, state)
    onnx_path = outputs["model.onnx"].path
    if removed_nothing(start, module):
        achieved = f"sparsity achieved is {result.figures.achieved_sparsity:.1%}"
        left = "; ".join(result.warnings) or achieved
        context.did_nothing(f"no weight was pruned: {left}")
    details = PruneDetails(
        **vars(result.figures),
        removed_share=removed_share(context.fetch("evaluate", "model.onnx"), onnx_path),
        left_whole=left_whole(start, module),
        validation_before=before,
        validation_after=after,
        size_bytes=onnx_path.stat().st_size,
        gzip_bytes=gzip_bytes(onnx_path),
        speed_claim="" if METHODS[result.figures.method].changes_shapes else NO_SPEED,
    )
    return StageResult(details, outputs, result.warnings)


def _refuse_fixed_shapes(context: StageContext, options: Prune) -> None:
    """Refuse what changes shapes of an exported program, since its operations hold them fast.

    Raises:
        UserError: The model is a `.pt2` and the recipe removes channels.
    """
    method, _ = find_method(options)
    if context.model.format == "pt2" and method.changes_shapes:
        *others, last = [name for name, each in METHODS.items() if not each.changes_shapes]
        message = (
            "changes the shapes of layers, which an exported program (.pt2) has fixed; use "
            f"{', '.join(others)} or {last}, or give a bundle directory with the code that builds "
            "the model"
        )
        raise UserError(message, where=f"spec.recipe.prune.{method.name}")


def _recovery_options(context: StageContext) -> object:
    """Return the fine-tuning options, if pruning uses them too."""
    prune_options, options = context.spec.recipe.prune, context.spec.recipe.finetune
    if prune_options is None or not prune_options.recovery_epochs or options is None:
        return None
    return options.model_dump(mode="json")


def _recover(
    context: StageContext, teacher: nn.Module, module: nn.Module, sparse_layers: tuple[str, ...]
) -> None:
    """Fine-tune between two steps of iterative pruning, with the settings of recipe.finetune."""
    options = context.spec.recipe.finetune
    prune_options = context.spec.recipe.prune
    if options is None or prune_options is None:
        message = "needs recipe.finetune, whose settings it uses"
        raise UserError(message, where="spec.recipe.prune.recoveryEpochs")
    epochs = prune_options.recovery_epochs
    finetune(
        module,
        teacher if options.distillation is not None else None,
        torch_models.problem_of(context),
        options.model_copy(update={"epochs": epochs, "early_stopping": None}),
        on_epoch=lambda epoch: context.report(f"recovering, epoch {epoch.epoch} of {epochs}", None),
        sparse_layers=sparse_layers,
    )


def _measure(context: StageContext, original: nn.Module, module: nn.Module) -> tuple[Metric, ...]:
    """Return the task's main metric, and the error of each other output that is compared."""
    name = TASKS[context.spec.data.task].main
    metrics = torch_models.validation_metrics(module, context)
    first = next(metric for metric in metrics if metric.name == name)
    return (first, *torch_models.kept_metrics(module, original, context))
