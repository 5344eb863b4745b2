"""Stage finetune: train the compressed model further, with the original as teacher."""

from __future__ import annotations

import copy
from functools import partial

from fulcrum_components.finetuning import finetune
from fulcrum_components.models.state import STRUCTURE, WEIGHTS
from fulcrum_components.pruning.read_back import changed_nothing
from fulcrum_components.stages import further_outputs, torch_models
from fulcrum_components.stages.checkpoints import StoredCheckpoints
from fulcrum_components.stages.context import StageContext, StageResult
from fulcrum_pipelines.contract import canonical_json, digest_of
from fulcrum_pipelines.evidence import Epoch


def inputs(context: StageContext) -> dict[str, str]:
    """Return the digests of the model as it comes, of the data, and of its options."""
    options = context.spec.recipe.finetune
    assert options is not None
    asked = {
        "finetune": options.model_dump(mode="json"),
        "ignoredOutputs": list(context.spec.data.ignored_outputs or ()),
        "seed": context.spec.seed,
    }
    evaluated = context.evidence("evaluate").inputs
    used = ("model", "data.train", "data.validation")
    found = {
        "asked": digest_of(canonical_json(asked)),
        **{name: evaluated[name] for name in used if name in evaluated},
    }
    if context.previous_stage in torch_models.TORCH_STAGES:
        for name in (WEIGHTS, STRUCTURE):
            found[name] = context.digest(context.previous_stage, name)
    return found


def run(context: StageContext) -> StageResult:
    """Train as the recipe asks."""
    options = context.spec.recipe.finetune
    assert options is not None
    teacher = None
    if options.distillation is not None:
        teacher = torch_models.require_module(context)
    state = torch_models.current_state(context)
    before = copy.deepcopy(state.module)

    checkpoints = StoredCheckpoints(context)
    checkpoints.fetch()

    def report(epoch: Epoch) -> None:
        checkpoints.keep()
        loss = epoch.validation_loss if epoch.validation_loss is not None else epoch.train_loss
        message = f"epoch {epoch.epoch} of {options.epochs}, loss {loss:.4f}"
        context.report(message, 0.9 * epoch.epoch / options.epochs)

    result = finetune(
        state.module,
        teacher,
        torch_models.problem_of(context),
        options,
        validation=context.dataset("validation"),
        measure=partial(torch_models.main_metric, context),
        checkpoint_dir=checkpoints.directory,
        on_epoch=report,
        sparse_layers=state.sparse_layers,
    )
    if changed_nothing(before, state.module):
        context.did_nothing("training changed no weight: learningRate is too small for them")
    context.report("exporting to ONNX", 0.9)
    outputs = torch_models.hand_on(context, state)
    checkpoints.drop()
    return StageResult(result.details, outputs, (*result.notes, *further_outputs.untaught(context)))
