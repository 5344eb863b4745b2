"""The torch model between stages: how it is handed on, rebuilt, measured and exported.

A stage that changes weights leaves the state of `models.state`, to be rebuilt from the bundle's
code, and `model.onnx`, which is what later stages measure.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fulcrum_components.data import Dataset
from fulcrum_components.device import choose_device, device_of
from fulcrum_components.equivalence import of_onnx, require_same
from fulcrum_components.evaluation import Outcomes, compute_metrics, metric_value
from fulcrum_components.evaluation.running import to_outcomes
from fulcrum_components.export import eval_mode, export_onnx
from fulcrum_components.export import run_torch as run_module
from fulcrum_components.models.loading import LoadedModel
from fulcrum_components.models.signature import Signature, resized
from fulcrum_components.models.state import (
    STRUCTURE,
    WEIGHTS,
    ModelState,
    load_state,
    save_state,
)
from fulcrum_components.objective import Problem, call, call_all, input_tensors, kept_loss
from fulcrum_components.pruning import History, count_macs_and_parameters, replay
from fulcrum_components.stages import further_outputs
from fulcrum_components.stages.context import JSON, ONNX, SAFETENSORS, Output, StageContext
from fulcrum_components.tasks import Array
from fulcrum_pipelines.catalog import TASKS
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import Metric, StageName

PROOFS = 8
"""Examples on which a step that must keep the function is compared with what went into it."""
KEPT_BATCH = 64
"""Examples a call of two models whose outputs after the first are compared; these may be large."""
TORCH_STAGES: tuple[StageName, ...] = ("prune", "finetune")


def require_module(context: StageContext) -> nn.Module:
    """Return the source model's module.

    Raises:
        UserError: The model is ONNX, which cannot be pruned or trained.
    """
    if context.model.module is None:
        message = (
            f"recipe.{context.stage} needs a torch model; an ONNX file can only be quantized and "
            "validated. Give a bundle directory"
        )
        raise UserError(message, where="spec.model")
    return context.model.module


def require_device(context: StageContext) -> None:
    """Make sure that torch has the recipe's device, before work is done for stages that need it.

    Raises:
        UserError: It is `cuda`, which torch does not find.
    """
    choose_device(context.spec.recipe.device)


def problem_of(context: StageContext) -> Problem:
    """Return what the job's model has to learn, and from which examples."""
    signature = context.signature
    return Problem(
        signature=signature,
        task=context.spec.data.task,
        meaning=signature.meaning,
        train=context.dataset("train"),
        seed=context.spec.seed,
        kept=further_outputs.taught_outputs(context),
        device=choose_device(context.spec.recipe.device),
    )


def current_state(context: StageContext) -> ModelState:
    """Return the module as the stage before this one left it."""
    module = require_module(context)
    stages = context.plan.stages[: context.plan.stages.index(context.stage)]
    stage = next((name for name in reversed(stages) if name in TORCH_STAGES), None)
    if stage is None:
        state = ModelState(copy.deepcopy(module), None, ())
        _require_exported(context, "evaluate", state.module)
        return state
    for name in (STRUCTURE, WEIGHTS):
        directory = context.fetch(stage, name).parent

    def rebuild(fresh: nn.Module, history: str) -> None:
        replay(fresh, History.from_json(history), example_tensors(context))

    state = load_state(context.model, directory, rebuild)
    _require_exported(context, stage, state.module)
    return state


def _require_exported(context: StageContext, stage: StageName, module: nn.Module) -> None:
    """Compare a module, loaded or rebuilt here, with the file that `stage` exported and measured.

    Raises:
        QualityError: An output differs by more than rounding explains.
    """
    signature, examples = context.signature, example_arrays(context, PROOFS)

    def run(inputs: Mapping[str, Array]) -> list[Array]:
        return run_module(module, signature, inputs)

    with eval_mode(module):
        require_same(
            "it was loaded again",
            of_onnx(context.fetch(stage, "model.onnx")),
            run,
            [resized(signature, examples, size) for size in (2, 5)],
            [spec.name for spec in signature.outputs],
        )


def hand_on(context: StageContext, state: ModelState) -> dict[str, Output]:
    """Write what later stages need of a module, and return the files."""
    directory = context.work_dir / "state"
    save_state(
        state.module, directory, structure=state.structure, sparse_layers=state.sparse_layers
    )
    onnx_path = context.work_dir / "model.onnx"
    export(context, state.module, onnx_path)
    return {
        "model.onnx": Output(onnx_path, ONNX),
        WEIGHTS: Output(directory / WEIGHTS, SAFETENSORS),
        STRUCTURE: Output(directory / STRUCTURE, JSON),
    }


def export(context: StageContext, module: nn.Module, path: Path) -> float:
    """Write `module` as ONNX, checked against torch; return the largest absolute difference."""
    return _export(context, module, context.signature, path)


def write_onnx(context: StageContext, model: LoadedModel, path: Path) -> float | None:
    """Write `model` as ONNX, and return what `export` does; None if it is ONNX already."""
    if model.module is not None:
        return _export(context, model.module, model.signature, path)
    assert model.onnx_path is not None
    shutil.copyfile(model.onnx_path, path)
    return None


def _export(context: StageContext, module: nn.Module, signature: Signature, path: Path) -> float:
    return export_onnx(module, signature, path, example_inputs=example_arrays(context, PROOFS))


def example_arrays(context: StageContext, count: int = 2) -> dict[str, Array]:
    """Return the first `count` examples of the test data, for tracing; labels are not looked at."""
    test = context.required_dataset("test")
    return next(iter(test.batches(count))).inputs


def example_tensors(context: StageContext) -> tuple[torch.Tensor, ...]:
    """Return two examples as the module takes them."""
    arrays = example_arrays(context)
    signature = context.signature
    return tuple(torch.from_numpy(np.array(arrays[spec.name])) for spec in signature.inputs)


def size_of(context: StageContext) -> tuple[int | None, int | None]:
    """Return the parameters and multiply-accumulates of the source model, if it is torch."""
    if context.model.module is None:
        return None, None
    macs, parameters = count_macs_and_parameters(context.model.module, example_tensors(context))
    return parameters, macs


def run_torch(
    module: nn.Module, dataset: Dataset, context: StageContext, batch_size: int = 256
) -> Outcomes:
    """Return what `module` answers for each example of `dataset`, without exporting it."""
    signature = context.signature
    device = device_of(module)
    raw, targets = [], []
    with eval_mode(module), torch.no_grad():
        for batch in dataset.batches(batch_size):
            outputs = call(module, input_tensors(batch, signature, device))
            wide = torch.promote_types(outputs.dtype, torch.float32)
            raw.append(outputs.to(wide).cpu().numpy())
            targets.append(np.asarray(batch.targets))
    return _outcomes(context, np.concatenate(raw), np.concatenate(targets))


def main_metric(context: StageContext, outputs: Array, targets: Array) -> float | None:
    """Return the task's main metric of a torch module's first outputs on the validation data."""
    return metric_value(_outcomes(context, outputs, targets), TASKS[context.spec.data.task].main)


def _outcomes(context: StageContext, raw: Array, targets: Array) -> Outcomes:
    task, meaning = context.spec.data.task, context.signature.meaning
    return to_outcomes(raw, targets, task, meaning, where="validation")


def validation_metrics(module: nn.Module, context: StageContext) -> tuple[Metric, ...]:
    """Return the metrics of `module` on the validation data; empty without these data."""
    validation = context.dataset("validation")
    if validation is None:
        return ()
    outcomes = run_torch(module, validation, context)
    return compute_metrics(outcomes, context.spec.data.task, seed=context.spec.seed)


def kept_metrics(
    module: nn.Module, original: nn.Module, context: StageContext
) -> tuple[Metric, ...]:
    """Return the relative error of each output after the first that training keeps, on validation.

    It is the root of `kept_loss`, averaged over batches. Both modules run side by side, since
    outputs may be too large to keep.
    """
    signature, positions = context.signature, further_outputs.taught_outputs(context)
    if not positions:
        return ()
    device = device_of(module)
    losses = dict.fromkeys(positions, 0.0)
    validation = context.required_dataset("validation")
    with eval_mode(module), eval_mode(original), torch.no_grad():
        for batch in validation.batches(KEPT_BATCH):
            inputs = input_tensors(batch, signature, device)
            found, wanted = call_all(module, inputs), call_all(original, inputs)
            count = len(next(iter(batch.inputs.values())))
            for position in positions:
                losses[position] += count * float(kept_loss(found[position], wanted[position]))
    return tuple(
        Metric(
            name=f"{signature.outputs[position].name}: relative error",
            value=(loss / len(validation)) ** 0.5,
            direction="lower",
            n=len(validation),
        )
        for position, loss in losses.items()
    )
