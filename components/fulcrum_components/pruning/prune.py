"""The prune stage's one function: whatever method the recipe names, with everything around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fulcrum_components.folding import fold
from fulcrum_components.objective import Examples, SignatureLike
from fulcrum_components.pruning.attention import find_attentions
from fulcrum_components.pruning.batch_norm import reestimate_batch_norm
from fulcrum_components.pruning.checks import OutputCheck
from fulcrum_components.pruning.counting import count_macs_and_parameters
from fulcrum_components.pruning.history import History
from fulcrum_components.pruning.layers import WEIGHTED
from fulcrum_components.pruning.sensitivity import Evaluate, layer_sensitivity
from fulcrum_components.pruning.sparse import (
    SparseResult,
    prune_nm,
    prune_truncate,
    prune_unstructured,
)
from fulcrum_components.pruning.structured import StructuredResult, prune_structured
from fulcrum_pipelines.catalog import Meaning
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import LayerSparsity, Sensitivity
from fulcrum_pipelines.resources.compressionjob import Prune

Recover = Callable[[nn.Module, tuple[str, ...]], None]
"""Trains a module between steps of iterative pruning; gets the names of its sparse parameters."""


@dataclass(frozen=True)
class PruneResult:
    """What pruning did to a module, in the terms of evidence.PruneDetails.

    Attributes:
        history: How to build the pruned module again; None if only values changed.
        sparse_layers: Names of the parameters whose zeros must stay.
        warnings: What the user should know: layers that were asked for and left whole.
    """

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
    history: History | None
    sparse_layers: tuple[str, ...]
    warnings: tuple[str, ...]


def prune(
    module: nn.Module,
    options: Prune,
    *,
    signature: SignatureLike,
    example_inputs: tuple[Tensor, ...],
    train: Examples | None,
    meaning: Meaning,
    seed: int,
    kept: Sequence[int] = (),
    recover: Recover | None = None,
    evaluate: Evaluate | None = None,
) -> PruneResult:
    """Prune `module` in place as `options` ask, and read back what was achieved.

    Each step ends with batch-norm statistics re-estimated, then `recover`, except after the last
    step: what follows it is the recipe's own fine-tuning.

    Args:
        module: The trained module.
        options: Exactly one method, and what goes around it.
        signature: The module's inputs.
        example_inputs: A batch of 2 or more of them, on the module's device.
        train: Examples for batch norm and taylor; None leaves batch norm as it is.
        meaning: What the module's first output means.
        seed: Seed of everything that is random.
        kept: Positions of outputs after the first that importance is measured by too.
        recover: Trains the module between steps, in place.
        evaluate: Measures a module on validation, in each respect that counts, for the sensitivity
            table.

    Raises:
        UserError: Model, data or options do not allow it.
        QualityError: Achieved and asked sparsity differ by more than the tolerance.
    """
    _refuse_exported(module)
    folded = fold(module)
    check = OutputCheck(module, example_inputs)
    macs_before, parameters_before = count_macs_and_parameters(module, example_inputs)
    sensitivity: tuple[Sensitivity, ...] = ()
    if options.sensitivity and evaluate is not None:
        sensitivity = layer_sensitivity(module, options, example_inputs, evaluate)
    steps = _AfterStep(module, options, signature, train, seed, recover)
    done = _dispatch(module, options, signature, example_inputs, train, meaning, seed, kept, steps)
    check.verify(module)
    macs_after, parameters_after = count_macs_and_parameters(module, example_inputs)
    structured = done if isinstance(done, StructuredResult) else None
    return PruneResult(
        method=_method(options),
        asked_sparsity=_asked(options),
        achieved_sparsity=done.achieved,
        round_to=structured.round_to if structured else None,
        parameters_before=parameters_before,
        parameters_after=parameters_after,
        nonzero_after=sum(int(value.count_nonzero()) for value in module.parameters()),
        macs_before=macs_before,
        macs_after=macs_after,
        layers=done.layers,
        sensitivity=sensitivity,
        batch_norm_examples=steps.batch_norm_examples,
        history=_history(structured, folded),
        sparse_layers=done.sparse_layers if isinstance(done, SparseResult) else (),
        warnings=_warnings(module, options, structured.skipped if structured else {}),
    )


def _history(structured: StructuredResult | None, folded: tuple[str, ...]) -> History | None:
    """Return what to replay before the pruned weights fit; None if the original is as it was."""
    if structured is not None:
        return structured.history.model_copy(update={"folded": folded})
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
    """What follows each step of pruning."""

    def __init__(
        self,
        module: nn.Module,
        options: Prune,
        signature: SignatureLike,
        train: Examples | None,
        seed: int,
        recover: Recover | None,
    ) -> None:
        self._module = module
        self._samples = options.batch_norm_samples
        self._signature = signature
        self._train = train
        self._seed = seed
        self._recover = recover
        method = options.structured or options.unstructured
        self._steps_left = method.iterations if method is not None else 1
        self.batch_norm_examples = 0

    def __call__(self, sparse_layers: tuple[str, ...] = ()) -> None:
        self._steps_left -= 1
        if self._train is not None:
            self.batch_norm_examples = reestimate_batch_norm(
                self._module, self._train, self._signature, self._samples, self._seed
            )
        if self._recover is not None and self._steps_left > 0:
            self._recover(self._module, sparse_layers)


def _dispatch(
    module: nn.Module,
    options: Prune,
    signature: SignatureLike,
    example_inputs: tuple[Tensor, ...],
    train: Examples | None,
    meaning: Meaning,
    seed: int,
    kept: Sequence[int],
    after_step: _AfterStep,
) -> StructuredResult | SparseResult:
    if options.structured is not None:
        return prune_structured(
            module,
            options.structured,
            signature=signature,
            example_inputs=example_inputs,
            train=train,
            meaning=meaning,
            seed=seed,
            kept=kept,
            after_step=after_step,
        )
    if options.unstructured is not None:
        return prune_unstructured(module, options.unstructured, example_inputs, after_step)
    if options.nm is not None:
        return prune_nm(module, options.nm, example_inputs, after_step)
    if options.truncate is not None:
        return prune_truncate(module, options.truncate, example_inputs, after_step)
    message = "must have exactly one of structured, unstructured, nm, truncate"
    raise UserError(message, where="spec.recipe.prune")


def _method(options: Prune) -> str:
    names = ("structured", "unstructured", "nm", "truncate")
    return next(name for name in names if getattr(options, name) is not None)


def _asked(options: Prune) -> float | None:
    if options.nm is not None:
        return 1.0 - options.nm.keep / options.nm.of
    method = options.structured or options.unstructured
    return method.sparsity if method is not None else None


def _warnings(module: nn.Module, options: Prune, skipped: dict[str, str]) -> tuple[str, ...]:
    left = tuple(f"{layer} was left whole: {reason}" for layer, reason in skipped.items())
    if options.structured is None or not options.structured.heads or find_attentions(module):
        return left
    return (*left, "no attention heads could go: that needs separate query, key and value layers")
