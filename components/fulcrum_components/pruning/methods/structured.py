"""Structured pruning: whole channels, neurons and heads go, and the network gets smaller.

Rounding and coupling can leave layers as they were without a word, so what was achieved is read
back from the module and held against what was asked.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from fulcrum_components.objective import Problem
from fulcrum_components.pruning import history as history_module
from fulcrum_components.pruning.attention import find_attentions
from fulcrum_components.pruning.channel_graph import (
    CANNOT_GO,
    HEADS_KEPT,
    ONE_CHANNEL,
    OUTPUT,
    RECURRENT,
    ChannelGraph,
    ChannelGroup,
)
from fulcrum_components.pruning.channel_selection import (
    Candidates,
    Scores,
    global_counts,
    lowest,
    uniform_count,
    unit_step,
)
from fulcrum_components.pruning.criteria import CRITERIA
from fulcrum_components.pruning.gradients import accumulate_gradients
from fulcrum_components.pruning.history import Removal
from fulcrum_components.pruning.methods.definition import AfterStep, MethodResult, PruningMethod
from fulcrum_components.pruning.methods.unstructured import keep_largest
from fulcrum_components.pruning.prunable_weights import matches
from fulcrum_components.pruning.schedule import sparsities
from fulcrum_components.pruning.trials import Trials
from fulcrum_components.pruning.vector_width import resolve_round
from fulcrum_pipelines.errors import QualityError, UserError
from fulcrum_pipelines.evidence import LayerSparsity
from fulcrum_pipelines.resources.compressionjob import Structured

IGNORED = "ignored by the recipe"
NO_SCORE = "has no score of this importance"
NO_MULTIPLE = "has no smaller multiple to round to"

NOT_ASKED = (OUTPUT, RECURRENT, HEADS_KEPT, ONE_CHANNEL, IGNORED)
"""Why a layer does not count as prunable, and is not worth a warning."""


@dataclass
class _Original:
    """A group's size before any step, and why it is left alone, once that is known."""

    channels: int
    layers: tuple[str, ...]
    note: str = ""


def _prune(
    module: nn.Module,
    options: Structured,
    problem: Problem,
    example_inputs: tuple[Tensor, ...],
    after_step: AfterStep,
) -> MethodResult:
    """Remove channels from `module` in place.

    Raises:
        UserError: Nothing can be pruned, the structure cannot be followed, or the criterion lacks
            data.
        QualityError: Achieved and asked sparsity differ by more than `options.tolerance`.
    """
    criterion = CRITERIA[options.importance]
    if criterion.needs_gradients and problem.train is None:
        message = f"importance {criterion.name} needs data.train; give it, or use magnitude"
        raise UserError(message, where="spec.recipe.prune.structured.importance")
    before = history_module.sizes(module)
    pruner = _Pruner(module, options, example_inputs)
    removals: list[Removal] = []
    for sparsity in sparsities(options.schedule, options.sparsity, options.iterations):
        if criterion.needs_gradients:
            accumulate_gradients(module, problem)
        removals += pruner.step(sparsity)
        module.zero_grad(set_to_none=True)
        after_step(())
    achieved = pruner.achieved()
    skipped = pruner.skipped()
    _require_tolerance(options, achieved, pruner.multiple, skipped)
    after = history_module.sizes(module)
    return MethodResult(
        achieved=achieved,
        layers=_layers(module, before, after, pruner.notes()),
        history=history_module.difference(before, after, tuple(removals)),
        round_to=pruner.multiple,
        warnings=_warnings(module, options, skipped),
    )


class _Pruner:
    """State over the steps: the original sizes that shares refer to."""

    def __init__(
        self, module: nn.Module, options: Structured, example_inputs: tuple[Tensor, ...]
    ) -> None:
        self._module = module
        self._options = options
        self._criterion = CRITERIA[options.importance]
        self._inputs = example_inputs
        self._rearranged: set[str] = set()
        self.multiple = resolve_round(options.round)
        self._originals: dict[str, _Original] = {}
        for group in ChannelGraph(module, example_inputs).groups(heads=options.heads):
            ignored = any(matches(name, options.ignore or ()) for name in group.layers)
            note = IGNORED if ignored and group.kept != OUTPUT else group.kept
            self._originals[group.root] = _Original(group.units.size, group.layers, note)
        self._require_something()

    def step(self, sparsity: float) -> tuple[Removal, ...]:
        """Prune to `sparsity` of the original; leave alone what turns out not to be possible.

        A group that would change what the others compute is tried once more with the order of its
        channels found by experiment, and is left whole if that does not help.
        """
        while chosen := self._choose(sparsity):
            trials = Trials(self._module, self._inputs, self._rearranged, heads=self._options.heads)
            trial = None if self._rearranged else trials.together(chosen)
            trial = trial or trials.one_by_one(chosen)
            for root, reason in trial.failed.items():
                if root in self._rearranged:
                    self._originals[root].note = reason
            self._rearranged.update(trial.failed)
            if not trial.failed:
                history_module.transplant(self._module, trial.module)
                return trial.removals
            self._require_something()
        return ()

    def achieved(self) -> float:
        """Return the share of the channels asked for that are gone."""
        uncounted = (*NOT_ASKED, *CANNOT_GO)
        counted = {r: o for r, o in self._originals.items() if o.note not in uncounted}
        left = sum(_channels(self._module.get_submodule(root)) for root in counted)
        return 1.0 - left / sum(original.channels for original in counted.values())

    def skipped(self) -> dict[str, str]:
        """Return the layers that are whole against the recipe's wish, with the reason."""
        return {
            root: original.note or NO_MULTIPLE
            for root, original in self._originals.items()
            if original.note not in NOT_ASKED
            and _channels(self._module.get_submodule(root)) == original.channels
        }

    def notes(self) -> dict[str, str]:
        """Return for each layer left alone the reason."""
        skipped = self.skipped()
        return {
            layer: skipped.get(root, original.note)
            for root, original in self._originals.items()
            for layer in original.layers
        }

    def _choose(self, sparsity: float) -> dict[str, list[int]]:
        """Return for each root the channels to remove now."""
        groups: list[ChannelGroup] = []
        scores: list[Scores] = []
        graph = ChannelGraph(self._module, self._inputs, self._rearranged)
        for group in graph.groups(heads=self._options.heads):
            if self._originals[group.root].note not in ("", NO_SCORE):
                continue
            if group.kept:  # the order found by experiment explains why it was kept
                self._originals[group.root].note = group.kept
                continue
            score, reason = self._score(group)
            self._originals[group.root].note = reason
            if score is not None:
                groups.append(group)
                scores.append(score)
        counts = self._counts(groups, scores, sparsity)
        doomed = {
            group.root: group.units[lowest(score, len(score) - count)].reshape(-1)
            for group, score, count in zip(groups, scores, counts, strict=True)
            if count < len(score)
        }
        return {root: sorted(int(c) for c in channels) for root, channels in doomed.items()}

    def _score(self, group: ChannelGroup) -> tuple[Scores | None, str]:
        """Return the score of each unit of `group`, or the reason for its absence."""
        try:
            score = self._criterion.unit_scores(group)
        except Exception as error:  # torch-pruning raises anything on layers it does not know
            return None, f"cannot be scored ({type(error).__name__}: {error})"
        return score, NO_SCORE if score is None else ""

    def _counts(
        self, groups: list[ChannelGroup], scores: list[Scores], sparsity: float
    ) -> list[int]:
        """Return how many units each group keeps."""
        weights = [group.units.shape[1] for group in groups]
        originals = [self._originals[group.root].channels for group in groups]
        candidates = [
            Candidates(original // weight, unit_step(weight, self.multiple))
            for original, weight in zip(originals, weights, strict=True)
        ]
        if self._options.scope == "uniform":
            wanted = [uniform_count(candidate, sparsity) for candidate in candidates]
            return [min(len(s), count) for s, count in zip(scores, wanted, strict=True)]
        present = sum(group.units.size for group in groups)
        remove = present - sum(originals) * (1.0 - sparsity)
        return global_counts(scores, candidates, weights, remove)

    def _require_something(self) -> None:
        notes = {root: original.note for root, original in self._originals.items()}
        if all(notes.values()):
            reasons = "; ".join(f"{root}: {note}" for root, note in notes.items())
            message = (
                "the model has no channels that can be removed "
                f"({reasons or 'no convolution or linear layer'}; recurrent layers stay whole); "
                "use unstructured, nm or truncate"
            )
            raise UserError(message, where="spec.recipe.prune.structured")


def _channels(layer: nn.Module) -> int:
    """Return the number of outputs of a convolution or linear layer."""
    return int(getattr(layer, "out_channels", 0) or getattr(layer, "out_features", 0))


def _layers(
    module: nn.Module,
    before: history_module.Sizes,
    after: history_module.Sizes,
    notes: dict[str, str],
) -> tuple[LayerSparsity, ...]:
    return tuple(
        LayerSparsity(
            layer=name,
            shape_before=before[1][f"{name}.weight"],
            shape_after=after[1][f"{name}.weight"],
            sparsity=1.0 - _channels(layer) / _original_channels(before[0][name]),
            note=notes.get(name, ""),
        )
        for name, layer in module.named_modules()
        if isinstance(layer, _ConvNd | nn.Linear)  # the common base has no public name
    )


def _original_channels(attributes: dict[str, history_module.Attribute]) -> int:
    value = attributes.get("out_channels", attributes.get("out_features"))
    return value if isinstance(value, int) else 1


def _require_tolerance(
    options: Structured, achieved: float, multiple: int, skipped: dict[str, str]
) -> None:
    if abs(achieved - options.sparsity) <= options.tolerance + 1e-9:
        return
    left = ", ".join(f"{layer} ({reason})" for layer, reason in skipped.items()) or "none"
    message = (
        f"asked for sparsity {options.sparsity:g}, achieved {achieved:.4f}, which is further away "
        f"than tolerance {options.tolerance:g}; channel counts were rounded to a multiple of "
        f"{multiple}; layers left whole: {left}. Use a smaller round, name those layers in ignore, "
        "ask for a sparsity that the sizes allow, or raise tolerance"
    )
    raise QualityError(message, where="spec.recipe.prune.structured")


def _warnings(module: nn.Module, options: Structured, skipped: dict[str, str]) -> tuple[str, ...]:
    left = tuple(f"{layer} was left whole: {reason}" for layer, reason in skipped.items())
    if not options.heads or find_attentions(module):
        return left
    return (*left, "no attention heads could go: that needs separate query, key and value layers")


def _one_layer(weight: Tensor, options: Structured) -> Tensor:
    """Zero the output channels of least norm, which needs no change of shapes."""
    keep = keep_largest(weight.flatten(1).norm(dim=1), options.sparsity)
    return weight * keep.reshape(-1, *[1] * (weight.dim() - 1))


STRUCTURED = PruningMethod(
    "structured",
    prune=_prune,
    one_layer=_one_layer,
    asked_sparsity=lambda options: options.sparsity,
    steps=lambda options: options.iterations,
    changes_shapes=True,
)
