"""The definition of a pruning method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from torch import Tensor, nn

from fulcrum_components.objective import Problem
from fulcrum_components.pruning.history import History
from fulcrum_pipelines.evidence import LayerSparsity

AfterStep = Callable[[tuple[str, ...]], None]
"""Called after each step with the names of the sparse parameters."""


class MethodOptions(Protocol):
    """Options that the recipe has for every method."""

    @property
    def ignore(self) -> Sequence[str] | None: ...


MethodOptionsT = TypeVar("MethodOptionsT", bound=MethodOptions)


@dataclass(frozen=True)
class MethodResult:
    """Result of a method on a module.

    Attributes:
        achieved: Share of what the method may touch that is gone or zero.
        layers: The same for each layer.
        sparse_layers: Names of the parameters whose zeros must stay.
        history: How to build the pruned module again; None if shapes are as they were.
        round_to: The multiple that channel counts were rounded to.
        warnings: What the user should know: layers that were asked for and left whole.
    """

    achieved: float
    layers: tuple[LayerSparsity, ...]
    sparse_layers: tuple[str, ...] = ()
    history: History | None = None
    round_to: int | None = None
    warnings: tuple[str, ...] = ()


def _one_step(_: MethodOptions) -> int:
    return 1


@dataclass(frozen=True)
class PruningMethod(Generic[MethodOptionsT]):
    """A pruning method.

    Attributes:
        name: As in `spec.recipe.prune`.
        prune: Prunes a module in place, given the method's options, the problem, a batch of 2 or
            more inputs, and what to call after each step.
        one_layer: Returns a weight tensor, of the same shape, as it is after pruning it alone.
        asked_sparsity: The share that the options ask for; None if they ask for something else.
        steps: How many steps `prune` takes.
        changes_shapes: Whether layers become smaller; if not, values become zero.
    """

    name: str
    prune: Callable[
        [nn.Module, MethodOptionsT, Problem, tuple[Tensor, ...], AfterStep],
        MethodResult,
    ]
    one_layer: Callable[[Tensor, MethodOptionsT], Tensor]
    asked_sparsity: Callable[[MethodOptionsT], float | None]
    steps: Callable[[MethodOptionsT], int] = _one_step
    changes_shapes: bool = False
