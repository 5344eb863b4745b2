"""How stages compare the outputs after the first with the baseline's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fulcrum_components.data import Dataset
from fulcrum_components.evaluation.differing import Differences, is_floating
from fulcrum_components.evaluation.fidelity import fidelity_levels, fidelity_of, lost_outputs
from fulcrum_components.evaluation.outputs import compared_outputs, run_side_by_side
from fulcrum_components.evaluation.own_targets import compare_with_target, read_targets
from fulcrum_components.models.signature import TensorSpec
from fulcrum_components.stages.context import StageContext
from fulcrum_components.tasks import Array
from fulcrum_pipelines.contract import ResolvedSpec
from fulcrum_pipelines.evidence import OutputFidelity


def further_outputs(context: StageContext) -> tuple[TensorSpec, ...]:
    """Return the outputs after the first that are not ignored.

    Raises:
        UserError: The manifest names an output that the model lacks.
    """
    return compared_outputs(context.signature, context.spec.data, context.spec.gates)


def taught_outputs(context: StageContext) -> tuple[int, ...]:
    """Return the positions of those outputs that distillation can keep: not of whole numbers."""
    compared = {spec.name for spec in further_outputs(context) if is_floating(spec)}
    outputs = enumerate(context.signature.outputs)
    return tuple(position for position, spec in outputs if spec.name in compared)


def untaught(context: StageContext) -> tuple[str, ...]:
    """Return a warning if fine-tuning has nothing that keeps the outputs after the first."""
    options = context.spec.recipe.finetune
    outputs = [spec.name for spec in further_outputs(context)]
    if not outputs or options is None or options.distillation is not None:
        return ()
    return (
        f"nothing keeps the outputs {', '.join(outputs)} in fine-tuning, which follows the first "
        "output's targets: add recipe.finetune.distillation, or name them in data.ignoredOutputs",
    )


def what_is_asked(spec: ResolvedSpec) -> dict[str, object]:
    """Return what the specification says of the outputs after the first."""
    gates = [gate.model_dump(mode="json") for gate in spec.gates if gate.output is not None]
    return {"ignored": list(spec.data.ignored_outputs or ()), "gates": gates}


def differences_on_test(
    context: StageContext, test: Dataset, baseline: Path, models: Sequence[Path]
) -> list[dict[str, Differences]]:
    """Return how each of `models` differs from `baseline` in the outputs after the first."""
    outputs = further_outputs(context)
    if not outputs:
        return [{} for _ in models]
    context.report("comparing the other outputs", None)
    keep = tuple(context.spec.data.targets or {})
    return run_side_by_side(
        baseline, models, test, outputs, keep=keep, threads=context.spec.measure.threads
    )


def records(
    context: StageContext,
    test: Dataset,
    differences: Mapping[str, Differences],
    groups: Array | None,
) -> tuple[OutputFidelity, ...]:
    """Return the figures of each output, at each confidence that a gate asks for.

    Comparisons with an output's own target stand in its first record.
    """
    spec = context.spec
    targets = read_targets(test, spec.data)
    found = []
    for name, each in differences.items():
        levels = fidelity_levels(spec.gates, name)
        made = [fidelity_of(each, level=level, groups=groups, seed=spec.seed) for level in levels]
        if name in targets:
            compared = compare_with_target(
                each, targets[name], spec.data.task, groups=groups, seed=spec.seed
            )
            made[0] = made[0].model_copy(update={"comparisons": compared})
        found += made
    return tuple(found)


def lost_on(
    context: StageContext, dataset: Dataset, baseline: Path, candidate: Path
) -> tuple[str, ...]:
    """Return a line for each output after the first that `candidate` does not keep."""
    outputs = further_outputs(context)
    if not outputs or baseline == candidate:
        return ()
    (differences,) = run_side_by_side(baseline, [candidate], dataset, outputs)
    return lost_outputs(differences, context.spec.gates)
