"""Which channels of a module must go together: a thin adapter over torch-pruning's graph.

Only this module and `importance` know torch-pruning. What it adds: outputs and recurrent layers
protect what flows into them, hand-written attention is recognised, and failures become a UserError.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch_pruning as tp
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch_pruning import ops

from fulcrum_components.modes import all_require_gradients, evaluating
from fulcrum_components.pruning.attention import Attention, find_attentions
from fulcrum_components.pruning.boundaries import Boundaries
from fulcrum_components.pruning.history import Removal
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.texts import reason

OUTPUT = "makes the model's outputs"
RECURRENT = "feeds a recurrent layer or cross-attention"
UNKNOWN_HEADS = "flows through an attention whose heads are not known"
HEADS_KEPT = "attention heads are kept (heads: false)"
ONE_CHANNEL = "has one channel"
MISMATCH = "is combined with layers of other sizes"


@dataclass(frozen=True)
class ChannelGroup:
    """Channels of coupled layers that only go together.

    Attributes:
        root: Name of the layer that the channels are numbered by.
        layers: Names of all layers whose outputs these are.
        units: Channel numbers, shape (units, channels a unit): each row goes whole or stays.
        attention: The attention that the units are heads of, if they are.
        kept: Why the channels must stay; empty where they may go.
        dependencies: torch-pruning's own group, for scoring.
    """

    root: str
    layers: tuple[str, ...]
    units: NDArray[np.int64]
    attention: Attention | None
    kept: str
    dependencies: Any


class ChannelGraph:
    """The groups of channels in a module, as it is now.

    Args:
        module: Module to analyse, and to prune in place.
        example_inputs: Inputs of its forward, batch of 2 or more.

    Raises:
        UserError: The module's structure cannot be followed.
    """

    def __init__(self, module: nn.Module, example_inputs: tuple[Tensor, ...]) -> None:
        _refuse_parametrized(module)
        self._module = module
        self._names = {layer: name for name, layer in module.named_modules()}
        self._attentions = find_attentions(module)
        self._outputs: list[Tensor] = []
        self._sinks: list[Tensor] = []
        self._graph = tp.DependencyGraph()
        with evaluating(module), all_require_gradients(module), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its advice about unwrapped parameters is followed
            self._build(example_inputs)

    def groups(self, *, heads: bool) -> list[ChannelGroup]:
        """Return all groups in the order in which the graph was traced.

        Args:
            heads: Whether heads of hand-written attention may go.
        """
        found = self._graph.get_all_groups(root_module_types=[ops.TORCH_CONV, ops.TORCH_LINEAR])
        return [self._describe(group, heads=heads) for group in found]

    def prune(self, group: ChannelGroup, channels: list[int]) -> Removal:
        """Remove `channels`, numbered by the group's root, from all layers concerned.

        Raises:
            UserError: A layer would be left without channels.
        """
        root = self._module.get_submodule(group.root)
        pruner = self._graph.get_pruner_of_module(root)
        doomed = self._graph.get_pruning_group(root, pruner.prune_out_channels, channels)
        if not self._graph.check_pruning_group(doomed):
            message = f"pruning would leave a layer that depends on {group.root!r} without channels"
            raise UserError(message, where=group.root)
        if group.attention is not None:
            removed = len(channels) // group.units.shape[1]
            group.attention.set_heads(group.attention.heads - removed)
        with all_require_gradients(self._module), torch.no_grad():
            doomed.prune(record_history=False)
        return Removal(layer=group.root, channels=tuple(channels))

    def _build(self, example_inputs: tuple[Tensor, ...]) -> None:
        try:
            self._graph.build_dependency(
                self._module,
                example_inputs=example_inputs,
                forward_fn=self._forward,
                unwrapped_parameters=self._loose_parameters(),
                verbose=False,
            )
        except UserError:
            raise
        except Exception as error:  # torch-pruning raises anything on structures it does not know
            message = (
                f"the structure of the model cannot be followed: {reason(error)}; "
                "use unstructured pruning or nm instead, which need no structure"
            )
            raise UserError(message, where="spec.recipe.prune.structured") from error

    def _forward(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        """Run forward; return outputs and sinks, each behind an operation of its own."""
        boundaries = Boundaries(module)
        try:
            outputs = module(*inputs)
        finally:
            boundaries.remove()
        flat = outputs if isinstance(outputs, tuple | list) else (outputs,)
        self._outputs = [value * 1 for value in flat if _has_history(value)]
        self._sinks = [value * 1 for value in boundaries.sinks if _has_history(value)]
        if not self._outputs and not self._sinks:
            message = "the model's outputs do not depend on its weights in a differentiable way"
            raise UserError(message, where="spec.model")
        return [*self._outputs, *self._sinks]

    def _loose_parameters(self) -> list[tuple[nn.Parameter, int]]:
        """Return parameters that belong to no known layer, each with the axis of its channels.

        For position embeddings and class tokens, shapes (1, T, D), (T, D) and (1, 1, D), and for
        layer scales, (D) and (D, 1, 1), that is the last axis longer than 1.
        """
        known = tuple(ops.type2class(kind) for kind in tp.pruner.function.PrunerBox)
        owned = {
            id(parameter)
            for layer in self._module.modules()
            if isinstance(layer, known) and not isinstance(layer, nn.Parameter)
            for parameter in layer.parameters()
        }
        return [
            (parameter, max(axis for axis, size in enumerate(parameter.shape) if size > 1))
            for parameter in self._module.parameters()
            if id(parameter) not in owned and any(size > 1 for size in parameter.shape)
        ]

    def _describe(self, group: Any, *, heads: bool) -> ChannelGroup:
        root = group[0].dep.target.module
        channels = len(group[0].idxs)
        layers = [
            dep.target.module
            for dep, _ in group
            if dep.target.module in self._names
            and self._graph.is_out_channel_pruning_fn(dep.handler)
        ]
        attention = next(
            (item for item in self._attentions if any(p in layers for p in item.projections)), None
        )
        return ChannelGroup(
            root=self._names[root],
            layers=tuple(dict.fromkeys(self._names[layer] for layer in layers)),
            units=self._units(group, channels, attention),
            attention=attention,
            kept=self._reason_to_keep(group, channels, attention, heads=heads),
            dependencies=group,
        )

    def _units(self, group: Any, channels: int, attention: Attention | None) -> NDArray[np.int64]:
        numbers = np.arange(channels, dtype=np.int64)
        if attention is not None:
            heads = attention.heads if channels % attention.heads == 0 else 1
            return numbers.reshape(heads, -1)
        count = max(self._channel_groups(dep) for dep, _ in group)
        return numbers.reshape(count if channels % count == 0 else 1, -1).T.copy()

    def _channel_groups(self, dep: Any) -> int:
        """Return in how many equal parts a layer divides the channels: each loses as many."""
        layer = dep.target.module
        if isinstance(layer, nn.MultiheadAttention):
            return int(layer.num_heads)
        if isinstance(layer, ops.TORCH_CONV) and layer.groups == layer.out_channels:
            return 1
        pruner = self._graph.get_pruner_of_module(layer)
        if self._graph.is_out_channel_pruning_fn(dep.handler):
            return int(pruner.get_out_channel_groups(layer))
        return int(pruner.get_in_channel_groups(layer))

    def _reason_to_keep(
        self, group: Any, channels: int, attention: Attention | None, *, heads: bool
    ) -> str:
        nodes = [dep.target for dep, _ in group]
        ends = {id(node.grad_fn) for node in nodes if node.type == ops.OPTYPE.OUTPUT}
        if ends & {id(value.grad_fn) for value in self._outputs}:
            return OUTPUT
        if channels == 1:
            return ONE_CHANNEL
        if ends:
            return RECURRENT
        if attention is not None:
            return "" if heads and channels % attention.heads == 0 else HEADS_KEPT
        if any(_mixes_activations(node) for node in nodes):
            return UNKNOWN_HEADS
        return "" if all(self._in_range(dep, numbers) for dep, numbers in group) else MISMATCH

    def _in_range(self, dep: Any, numbers: list[int]) -> bool:
        """Tell whether a coupled layer has all the channels that the graph says it has."""
        outputs = self._graph.is_out_channel_pruning_fn(dep.handler)
        pruner = self._graph.get_pruner_of_module(dep.target.module)
        pruner.pruning_dim = dep.target.pruning_dim
        count = (pruner.get_out_channels if outputs else pruner.get_in_channels)(dep.target.module)
        return count is None or not numbers or max(numbers) < count


def _has_history(value: Any) -> bool:
    return isinstance(value, Tensor) and value.grad_fn is not None


def _mixes_activations(node: Any) -> bool:
    """Tell whether the node multiplies two computed tensors, as attention does."""
    if node.type != ops.OPTYPE.ELEMENTWISE or node.grad_fn is None:
        return False
    name = node.grad_fn.name()
    if "ScaledDotProduct" in name:
        return True
    sources = [source for source, _ in node.grad_fn.next_functions if source is not None]
    return "Bmm" in name and len(sources) == 2


def _refuse_parametrized(module: nn.Module) -> None:
    for name, layer in module.named_modules():
        if parametrize.is_parametrized(layer) or hasattr(layer, "weight_g"):
            message = (
                "its weights are computed by a parametrization (weight norm, spectral norm); fold "
                "it into plain weights before saving the bundle"
            )
            raise UserError(message, where=f"spec.model layer {name!r}")
