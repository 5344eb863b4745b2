"""Where tracing must stop or step over, so that torch-pruning's graph stays true.

torch-pruning follows gradient functions and takes every operation that it does not know as
element-wise. Inside a recurrent layer that is wrong, and for several layers it asserts. So while a
module is traced, hooks *cut* the graph around recurrent layers (what flows in is kept like an
output) and make self-attention a single node from its input to its output.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

RECURRENT = (nn.RNNBase, nn.RNNCellBase)


class Boundaries:
    """Forward hooks on the layers that tracing cannot look into.

    Attributes:
        sinks: Tensors that flowed into a cut layer; their channels must stay.
    """

    def __init__(self, module: nn.Module) -> None:
        self.sinks: list[Tensor] = []
        self._handles = [
            layer.register_forward_hook(hook, with_kwargs=True)
            for layer in module.modules()
            for types, hook in ((RECURRENT, self._cut), (nn.MultiheadAttention, self._step_over))
            if isinstance(layer, types)
        ]

    def remove(self) -> None:
        """Take the hooks off again."""
        for handle in self._handles:
            handle.remove()

    def _cut(
        self, layer: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any], output: Any
    ) -> Any:
        self.sinks += [value for value in _tensors((inputs, keywords)) if value.requires_grad]
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


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, PackedSequence):
        return [value.data]
    parts = value.values() if isinstance(value, dict) else value
    return (
        [t for part in parts for t in _tensors(part)]
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
