"""Boundaries at which tracing must stop or step over, so that torch-pruning's graph stays true.

torch-pruning follows gradient functions and takes every operation that it does not know as
element-wise. Inside a recurrent layer that is wrong, and for several layers it asserts. So while a
module is traced, hooks *cut* the graph around recurrent layers (what flows in is kept like an
output), make self-attention a single node from its input to its output, and stop behind gates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

RECURRENT = (nn.RNNBase, nn.RNNCellBase)


class Boundaries:
    """Forward hooks on the layers that tracing cannot look into.

    Attributes:
        sinks: Tensors whose channels must stay, since the graph was cut behind them.
    """

    def __init__(self, module: nn.Module) -> None:
        self.sinks: list[Tensor] = []
        self._handles = [
            # torch-pruning's own hooks must see what replaces an attention's output.
            layer.register_forward_hook(hook, with_kwargs=True, prepend=hook == self._step_over)
            for layer in module.modules()
            if (hook := self._hook_for(layer)) is not None
        ]

    def remove(self) -> None:
        """Take the hooks off again."""
        for handle in self._handles:
            handle.remove()

    def _hook_for(self, layer: nn.Module) -> Callable[..., Any] | None:
        if isinstance(layer, RECURRENT):
            return self._cut
        if isinstance(layer, nn.MultiheadAttention):
            return self._step_over
        widths = (getattr(layer, "out_channels", 0), getattr(layer, "out_features", 0))
        return self._cut_behind if 1 in widths else None

    def _cut_behind(
        self, layer: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any], output: Any
    ) -> Any:
        """Stop behind a layer of one output, whose channel is broadcast over those of others."""
        self.sinks += [value for value in tensors_in(output) if value.requires_grad]
        return _leaves(output)

    def _cut(
        self, layer: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any], output: Any
    ) -> Any:
        self.sinks += [value for value in tensors_in((inputs, keywords)) if value.requires_grad]
        return _leaves(output)

    def _step_over(
        self,
        layer: nn.MultiheadAttention,
        inputs: tuple[Any, ...],
        keywords: dict[str, Any],
        output: tuple[Tensor, Tensor | None],
    ) -> Any:
        query, key, value = _attention_inputs(inputs, keywords)
        own = query is key is value and query.requires_grad
        if not own or not layer._qkv_same_embed_dim:  # torch has no public name for it
            return self._cut(layer, inputs, keywords, output)
        return _StepOver.apply(output[0].detach(), query), *output[1:]


class _StepOver(torch.autograd.Function):
    """The value of a layer's output with its input as the only ancestor."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, source: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, gradients[0]


def _attention_inputs(
    inputs: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[Tensor, Tensor, Tensor]:
    given = dict(zip(("query", "key", "value"), inputs, strict=False)) | keywords
    return given["query"], given["key"], given["value"]


def tensors_in(value: Any) -> list[Tensor]:
    """Return the tensors of a nested structure in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, PackedSequence):
        return [value.data]
    parts = value.values() if isinstance(value, dict) else value
    return (
        [t for part in parts for t in tensors_in(part)]
        if isinstance(value, dict | tuple | list)
        else []
    )


def _leaves(value: Any) -> Any:
    """Return `value` with its floating-point tensors detached, but wanting gradients."""
    if isinstance(value, PackedSequence):
        data = value.data.detach().requires_grad_(True)
        return PackedSequence(data, *value[1:])
    if isinstance(value, Tensor):
        detached = value.detach()
        return detached.requires_grad_(True) if value.is_floating_point() else detached
    if isinstance(value, tuple | list):
        return type(value)(_leaves(part) for part in value)
    return value
