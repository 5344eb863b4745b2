"""The prune stage's one function: run the recipe's method, with all steps around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fulcrum_components.device import placed
from fulcrum_components.folding import fold
from fulcrum_components.objective import Problem
from fulcrum_components.pruning.batch_norm import reestimate_batch_norm
from fulcrum_components.pruning.counting import count_macs_and_parameters
from fulcrum_components.pruning.history import History
from fulcrum_components.pruning.methods import find_method
from fulcrum_components.pruning.output_check import OutputCheck
from fulcrum_components.pruning.prunable_weights import WEIGHTED
from fulcrum_components.pruning.sensitivity import EvaluateModule, layer_sensitivity
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import LayerSparsity, Sensitivity
from fulcrum_pipelines.resources.compressionjob import Prune

Recover = Callable[[nn.Module, tuple[str, ...]], None]
"""Trains a module between steps of iterative pruning; gets the names of its sparse parameters."""


@dataclass(frozen=True)
class PruneFigures:
    """Measurements of a pruning, under the names of evidence.PruneDetails."""

    method: str
    asked_sparsity: float | None
    achieved_sparsity: float
    round_to: int | None
    parameters_before: int
    parameters_after: int
    nonzero_after: int
    macs_before: int
    macs_after: int
    layers: tuple[LayerSparsity, ...]
    sensitivity: tuple[Sensitivity, ...]
    batch_norm_examples: int
    device: str


@dataclass(frozen=True)
class PruneResult:
    """Result of pruning a module.

    Attributes:
        figures: What was measured of it.
        history: How to build the pruned module again; None if only values changed.
        sparse_layers: Names of the parameters whose zeros must stay.
        warnings: What the user should know: layers that were asked for and left whole.
    """

    figures: PruneFigures
    history: History | None
    sparse_layers: tuple[str, ...]
    warnings: tuple[str, ...]


def prune(
    module: nn.Module,
    options: Prune,
    problem: Problem,
    *,
    example_inputs: tuple[Tensor, ...],
    recover: Recover | None = None,
    evaluate: EvaluateModule | None = None,
) -> PruneResult:
    """Prune `module` in place as `options` ask, and read back what was achieved.

    The module is on the problem's device meanwhile, and afterwards where it was. Each step ends
    with batch-norm statistics re-estimated, then `recover`, except after the last step: what
    follows it is the recipe's own fine-tuning.

    Args:
        module: The trained module.
        options: Exactly one method, and what goes around it.
        problem: What the module is for; without examples to train on, batch norm stays as it is.
        example_inputs: A batch of 2 or more inputs, on any device.
        recover: Trains the module between steps, in place.
        evaluate: Measures a module on validation, in each respect that counts, for the sensitivity
            table.

    Raises:
        UserError: Model, data or options do not allow it.
        QualityError: Achieved and asked sparsity differ by more than the tolerance.
    """
    _refuse_exported(module)
    inputs = tuple(value.to(problem.device) for value in example_inputs)
    with placed(problem.device, module):
        return _prune(module, options, problem, inputs, recover, evaluate)


def _prune(
    module: nn.Module,
    options: Prune,
    problem: Problem,
    example_inputs: tuple[Tensor, ...],
    recover: Recover | None,
    evaluate: EvaluateModule | None,
) -> PruneResult:
    method, asked = find_method(options)
    folded = fold(module)
    check = OutputCheck(module, example_inputs)
    macs_before, parameters_before = count_macs_and_parameters(module, example_inputs)
    sensitivity: tuple[Sensitivity, ...] = ()
    if options.sensitivity and evaluate is not None:
        sensitivity = layer_sensitivity(module, options, example_inputs, evaluate)
    steps = _AfterStep(module, problem, options.batch_norm_samples, method.steps(asked), recover)
    done = method.prune(module, asked, problem, example_inputs, steps)
    check.verify(module)
    macs_after, parameters_after = count_macs_and_parameters(module, example_inputs)
    figures = PruneFigures(
        method=method.name,
        asked_sparsity=method.asked_sparsity(asked),
        achieved_sparsity=done.achieved,
        round_to=done.round_to,
        parameters_before=parameters_before,
        parameters_after=parameters_after,
        nonzero_after=sum(int(value.count_nonzero()) for value in module.parameters()),
        macs_before=macs_before,
        macs_after=macs_after,
        layers=done.layers,
        sensitivity=sensitivity,
        batch_norm_examples=steps.batch_norm_examples,
        device=str(problem.device),
    )
    return PruneResult(figures, _history(done.history, folded), done.sparse_layers, done.warnings)


def _history(history: History | None, folded: tuple[str, ...]) -> History | None:
    """Return what to replay before the pruned weights fit; None if the original is as it was."""
    if history is not None:
        return history.model_copy(update={"folded": folded})
    return History(attributes={}, shapes={}, folded=folded) if folded else None


def _refuse_exported(module: nn.Module) -> None:
    parts = list(module.modules())
    traced = any(isinstance(part, torch.fx.GraphModule) for part in parts)
    if traced and not any(isinstance(part, WEIGHTED) for part in parts):
        message = (
            "an exported program (.pt2) has no layers to prune, only operations; give a bundle "
            "directory with the code that builds the model"
        )
        raise UserError(message, where="spec.model")


class _AfterStep:
    """Actions after each step of pruning."""

    def __init__(
        self,
        module: nn.Module,
        problem: Problem,
        batch_norm_samples: int,
        steps: int,
        recover: Recover | None,
    ) -> None:
        self._module = module
        self._problem = problem
        self._samples = batch_norm_samples
        self._steps_left = steps
        self._recover = recover
        self.batch_norm_examples = 0

    def __call__(self, sparse_layers: tuple[str, ...]) -> None:
        self._steps_left -= 1
        if self._problem.train is not None:
            self.batch_norm_examples = reestimate_batch_norm(
                self._module, self._problem, self._samples
            )
        if self._recover is not None and self._steps_left > 0:
            self._recover(self._module, sparse_layers)
