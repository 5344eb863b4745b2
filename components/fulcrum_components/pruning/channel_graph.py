"""Which channels of a module must go together: a thin adapter over torch-pruning's graph.

Only this module and `importance` know torch-pruning. This adapter adds: outputs and recurrent
layers protect their inputs, hand-written attention is recognised, failures become a UserError, and
if torch-pruning's guess of the order of channels is wrong, the order is found by experiment.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch_pruning as tp
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch_pruning import ops
from torch_pruning.dependency import index_mapping

from fulcrum_components.modes import all_require_gradients, copies, evaluating
from fulcrum_components.objective import output_tensors
from fulcrum_components.pruning.attention import Attention, find_attentions
from fulcrum_components.pruning.boundaries import Boundaries
from fulcrum_components.pruning.history import Removal
from fulcrum_components.pruning.masking import Hole
from fulcrum_components.pruning.origins import Origins, input_origins
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.texts import reason

OUTPUT = "makes the model's outputs"
RECURRENT = "feeds a recurrent layer or cross-attention"
UNKNOWN_HEADS = "flows through an attention whose heads are not known"
HEADS_KEPT = "attention heads are kept (heads: false)"
ONE_CHANNEL = "has one channel"
MISMATCH = "is combined with layers of other sizes"
GROUPED_TRANSPOSED = "meets a transposed convolution in groups"
DEPTHWISE = "feeds a depthwise convolution that makes several outputs of each channel"
ENDLESS = "the order of its channels is not understood"
LAYER_NORM = "feeds a layer norm over rows and columns too"

CANNOT_GO = (GROUPED_TRANSPOSED, DEPTHWISE, LAYER_NORM)
"""Reasons why channels can never be removed."""

INDEX_MAPPINGS = (
    index_mapping.update_concat_index_mapping,
    index_mapping.update_split_index_mapping,
    index_mapping.update_reshape_index_mapping,
    index_mapping.update_unbind_index_mapping,
    index_mapping.update_expand_index_mapping,
    index_mapping.update_slice_index_mapping,
)
"""Each does nothing for a node of another kind."""


@dataclass(frozen=True)
class ChannelGroup:
    """Channels of coupled layers that only go together.

    Attributes:
        root: Name of the layer that the channels are numbered by.
        layers: Names of all layers whose outputs these are.
        units: Channel numbers, shape (units, channels a unit): each row goes whole or stays.
        attention: The attention that the units are heads of, if they are.
        kept: Why the channels must stay; empty if they may go.
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
        rearranged: Roots of groups whose channels the code between the layers puts into another
            order, which is found by experiment.

    Raises:
        UserError: The module's structure cannot be followed.
    """

    def __init__(
        self,
        module: nn.Module,
        example_inputs: tuple[Tensor, ...],
        rearranged: Collection[str] = (),
    ) -> None:
        self._module = module
        self._inputs = example_inputs
        self._rearranged = rearranged
        self._origins: dict[str, Origins] = {}
        self._names = {layer: name for name, layer in module.named_modules()}
        self._attentions = find_attentions(module)
        self._outputs: list[Tensor] = []
        self._sinks: list[Tensor] = []
        self._graph = tp.DependencyGraph()
        self._ways: list[_Way] = []
        with evaluating(module), all_require_gradients(module), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its advice about unwrapped parameters is followed
            self._build(example_inputs)

    def groups(self, *, heads: bool) -> list[ChannelGroup]:
        """Return all groups in the order in which the graph was traced.

        Args:
            heads: Whether heads of hand-written attention may go.
        """
        found: list[ChannelGroup] = []
        for layer in list(self._graph.module2node):
            if isinstance(layer, ops.TORCH_CONV | ops.TORCH_LINEAR):
                name = self._names[layer]
                if not any(name in group.layers for group in found):
                    found.append(self.group(name, heads=heads))
        return found

    def prune(self, group: ChannelGroup, channels: list[int]) -> tuple[Removal, list[Hole]]:
        """Remove `channels`, numbered by the group's root, from all layers concerned.

        Returns:
            The removed parts, and the slices of parameters that made them.

        Raises:
            UserError: A layer would be left without channels.
        """
        doomed = self._doomed(group.root, channels)
        holes = self._holes(doomed)
        self._put_origins(group.root, doomed)
        if not self._graph.check_pruning_group(doomed):
            message = f"pruning would leave a layer that depends on {group.root!r} without channels"
            raise UserError(message, where=group.root)
        if group.attention is not None:
            removed = len(channels) // group.units.shape[1]
            group.attention.set_heads(group.attention.heads - removed)
        with all_require_gradients(self._module), torch.no_grad():
            doomed.prune(record_history=False)
            for layer in {dep.target.module for dep, _ in doomed}:
                if isinstance(layer, nn.MultiheadAttention):
                    _keep_scale(layer, removed=len(channels))
        return Removal(layer=group.root, channels=tuple(channels)), holes

    def group(self, root: str, *, heads: bool) -> ChannelGroup:
        """Return the group of the layer `root`; see `groups`."""
        try:
            return self._describe(self._doomed(root, range(self._channels(root))), heads=heads)
        except Exception as error:  # torch-pruning raises anything on structures it does not know
            kept = f"cannot be followed ({reason(error)})"
            units = np.arange(self._channels(root), dtype=np.int64)[:, None]
            return ChannelGroup(root, (root,), units, None, kept, None)

    def _channels(self, root: str) -> int:
        layer = self._module.get_submodule(root)
        return int(self._graph.get_pruner_of_module(layer).get_out_channels(layer))

    def _doomed(self, root: str, channels: Sequence[int]) -> Any:
        """Return torch-pruning's group for removing `channels` of the layer `root`."""
        layer = self._module.get_submodule(root)
        pruner = self._graph.get_pruner_of_module(layer)
        for way in self._ways:
            way.rounds = 0
        return self._graph.get_pruning_group(layer, pruner.prune_out_channels, list(channels))

    def _holes(self, doomed: Any) -> list[Hole]:
        """Return the slices of parameters that make the channels of a group."""
        found = []
        for dep, indices in doomed:
            layer, gone = dep.target.module, tuple(int(index) for index in indices)
            if isinstance(layer, nn.Parameter):
                name = self._graph._param_to_name[layer]
                found.append(Hole(name, dep.target.pruning_dim, gone))
            elif isinstance(layer, nn.Embedding):
                found.append(Hole(f"{self._names[layer]}.weight", 1, gone))
            elif isinstance(layer, nn.MultiheadAttention):
                found += _attention_holes(layer, self._names[layer], gone)
            elif isinstance(layer, _ConvNd | nn.Linear) and self._makes_channels(dep):
                found += _layer_holes(layer, self._names[layer], gone)
        return found

    def _makes_channels(self, dep: Any) -> bool:
        """Return whether the outputs are pruned, of a layer whose inputs are other channels."""
        fn = dep.handler
        return self._graph.is_out_channel_pruning_fn(
            fn
        ) and not self._graph.is_in_channel_pruning_fn(fn)

    def _put_origins(self, root: str, group: Any) -> None:
        """Put into a group of torch-pruning's the order of channels found by experiment."""
        if root not in self._rearranged:
            return
        channels = {int(index): place for place, index in enumerate(group[0].idxs)}
        for place, (dep, _) in enumerate(group):
            origin = self._origin(root).get(self._names.get(dep.target.module, ""))
            if origin is None or self._makes_channels(dep):
                continue
            indices = np.flatnonzero(np.isin(origin, list(channels))).tolist()
            item = type(group[place])(dep, indices)
            item.root_idxs = [channels[int(origin[index])] for index in indices]
            group[place] = item

    def _origin(self, root: str) -> Origins:
        if root not in self._origins:
            channels = self._channels(root)
            whole = self._doomed(root, range(channels))
            names = [self._names.get(dep.target.module, "") for dep, _ in whole]
            self._origins[root] = input_origins(
                self._module,
                lambda chosen: self._holes(self._doomed(root, chosen)),
                channels,
                sorted({name for name in names if name}),
                self._inputs,
            )
        return self._origins[root]

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
            if not self._graph.module2node:
                message = (
                    f"the structure of the model cannot be followed: {reason(error)}; "
                    "use unstructured pruning or nm instead, which need no structure"
                )
                raise UserError(message, where="spec.recipe.prune.structured") from error
            self._map_what_can_be_mapped()
        self._bound_ways()

    def _bound_ways(self) -> None:
        """Let torch-pruning go around a loop of layers only as often as there can be a reason to.

        If it mistook the order of channels in a loop, it finds others in each round, or ever more
        of them, and neither its walk nor its memory ends.
        """
        sizes = (size for value in self._module.parameters() for size in value.shape)
        most = 2 * max(sizes, default=1)
        nodes = self._graph.module2node.values()
        for node in nodes:
            for dependency in node.dependencies:
                dependency.index_mapping = _Way(dependency.index_mapping, most, len(nodes))
                self._ways.append(dependency.index_mapping)

    def _map_what_can_be_mapped(self) -> None:
        """Let torch-pruning map the channels of each operation that it can.

        The others are taken for element-wise. What is made of that is compared with the original
        later, as all that is pruned.
        """
        for node in self._graph.module2node.values():
            try:
                for update in INDEX_MAPPINGS:
                    update(self._graph, node)
            except Exception:  # torch-pruning raises anything on structures it does not know
                node.type = ops.OPTYPE.ELEMENTWISE

    def _forward(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        """Run forward; return outputs and sinks, each behind a separate operation."""
        boundaries = Boundaries(module)
        try:
            outputs = output_tensors(module(*copies(inputs)))
        finally:
            boundaries.remove()
        self._outputs = [value * 1 for value in outputs if _has_history(value)]
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
        self._put_origins(self._names[root], group)
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
        unknown = next((reason for dep, _ in group if (reason := self._unknown(dep))), "")
        if unknown:
            return unknown
        return "" if all(self._in_range(dep, numbers) for dep, numbers in group) else MISMATCH

    def _unknown(self, dep: Any) -> str:
        """Return why the channels of a layer cannot be pruned; empty if they can."""
        layer = dep.target.module
        if isinstance(layer, nn.LayerNorm) and len(layer.normalized_shape) > 1:
            return LAYER_NORM
        if not isinstance(layer, _ConvNd) or layer.groups == 1:
            return ""
        if layer.transposed:
            return GROUPED_TRANSPOSED
        one_input = layer.groups == layer.in_channels != layer.out_channels
        return DEPTHWISE if one_input and not self._makes_channels(dep) else ""

    def _in_range(self, dep: Any, numbers: list[int]) -> bool:
        """Return whether a coupled layer has all the channels that the graph says it has."""
        outputs = self._graph.is_out_channel_pruning_fn(dep.handler)
        pruner = self._graph.get_pruner_of_module(dep.target.module)
        pruner.pruning_dim = dep.target.pruning_dim
        count = (pruner.get_out_channels if outputs else pruner.get_in_channels)(dep.target.module)
        return count is None or not numbers or max(numbers) < count


class _Way(list[Any]):
    """The mappings of channels from one layer to the next, which torch-pruning sets and walks.

    Args:
        mappings: Those set so far; None for none.
        most_channels: Exclusive upper bound of the number of channels.
        most_rounds: How often one walk may come by.
    """

    def __init__(self, mappings: Sequence[Any], most_channels: int, most_rounds: int) -> None:
        super().__init__(mappings)
        self._most_channels = most_channels
        self._most_rounds = most_rounds
        self.rounds = 0

    def __iter__(self) -> Iterator[Any]:
        self.rounds += 1
        if self.rounds > self._most_rounds:
            raise ValueError(ENDLESS)
        return (mapping and self._bounded(mapping) for mapping in super().__iter__())

    def _bounded(self, mapping: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def bounded(indices: Any) -> Any:
            if len(indices) > self._most_channels:
                raise ValueError(ENDLESS)
            return mapping(indices)

        return bounded


def _has_history(value: Any) -> bool:
    return isinstance(value, Tensor) and value.grad_fn is not None


def _mixes_activations(node: Any) -> bool:
    """Return whether the node multiplies two computed tensors, as attention does."""
    if node.type != ops.OPTYPE.ELEMENTWISE or node.grad_fn is None:
        return False
    name = node.grad_fn.name()
    if "ScaledDotProduct" in name:
        return True
    sources = [source for source, _ in node.grad_fn.next_functions if source is not None]
    return "Bmm" in name and len(sources) == 2


def _layer_holes(layer: _ConvNd | nn.Linear, name: str, gone: tuple[int, ...]) -> list[Hole]:
    axis = 1 if isinstance(layer, _ConvNd) and layer.transposed else 0
    found = [Hole(f"{name}.weight", axis, gone)]
    return found if layer.bias is None else [*found, Hole(f"{name}.bias", 0, gone)]


def _attention_holes(layer: nn.MultiheadAttention, name: str, gone: tuple[int, ...]) -> list[Hole]:
    projected = tuple(index + part * layer.embed_dim for part in range(3) for index in gone)
    found = [Hole(f"{name}.in_proj_weight", 0, projected)]
    if layer.in_proj_bias is not None:
        found.append(Hole(f"{name}.in_proj_bias", 0, projected))
    return [*found, *_layer_holes(layer.out_proj, f"{name}.out_proj", gone)]


def _keep_scale(layer: nn.MultiheadAttention, removed: int) -> None:
    """Make up for the smaller heads, by the root of whose size attention divides the scores."""
    before = layer.embed_dim + removed
    factor = math.sqrt(layer.embed_dim / before)
    for tensor in (layer.in_proj_weight, layer.in_proj_bias):
        if tensor is not None:
            tensor[: layer.embed_dim] *= factor
