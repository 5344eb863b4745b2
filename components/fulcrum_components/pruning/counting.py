"""Multiply-accumulates and parameters of a module, before and after pruning.

Counted by the conventions of Torch-Pruning's published tables (bias, normalisation, activation and
pooling included), so that our figures can be compared with theirs. We count ourselves, since no
library counts all that we prune, as `test_counting.py` checks. Torch-Pruning agrees except for
recurrent layers (three times as many for an LSTM), attention, and operations without layers (none).
torch's `FlopCounterMode` counts products only, and none in an LSTM or in attention on a CPU; it
counts modules without layers here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.modules.pooling import (
    _AdaptiveAvgPoolNd,
    _AdaptiveMaxPoolNd,
    _AvgPoolNd,
    _MaxPoolNd,
)

from fulcrum_components.modes import copies, evaluating

Counter = Callable[[Any, tuple[Any, ...], Any], int]


def count_macs_and_parameters(
    module: nn.Module, example_inputs: tuple[Tensor, ...]
) -> tuple[int, int]:
    """Return (multiply-accumulates for one example, parameters) of `module`.

    Args:
        module: Any module; it is left as it was.
        example_inputs: Its inputs, batched along axis 0.
    """
    total = 0

    def add(counter: Counter) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            nonlocal total
            total += counter(layer, inputs, output)

        return hook

    handles = [
        layer.register_forward_hook(add(counter))
        for layer in module.modules()
        for types, counter in COUNTERS
        if isinstance(layer, types)
    ]
    try:
        with evaluating(module), torch.no_grad(), _no_fused_attention():
            module(*copies(example_inputs))
    finally:
        for handle in handles:
            handle.remove()
    parameters = sum(parameter.numel() for parameter in module.parameters())
    if total == 0:
        total = _macs_of_operations(module, example_inputs)
    return total // len(example_inputs[0]), parameters


def _macs_of_operations(module: nn.Module, example_inputs: tuple[Tensor, ...]) -> int:
    """Count matrix products and convolutions only, for a module without layers, as a .pt2 is."""
    # Imports triton, which takes 0.6 s and 75 MB, and modules with layers do without.
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with evaluating(module), torch.no_grad(), counter:
        module(*copies(example_inputs))
    return int(counter.get_total_flops()) // 2


@contextmanager
def _no_fused_attention() -> Iterator[None]:
    """Make encoder layers call their parts, since the fused path calls none of them."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _convolution(layer: _ConvNd, inputs: tuple[Tensor], output: Tensor) -> int:
    positions = output[:, 0].numel()
    a_position = math.prod(layer.kernel_size) * layer.in_channels
    macs = a_position * (layer.out_channels // layer.groups) * positions
    return macs + (output.numel() if layer.bias is not None else 0)


def _linear(layer: nn.Linear, inputs: tuple[Tensor], output: Tensor) -> int:
    bias = output.numel() if layer.bias is not None else 0
    return inputs[0].numel() * output.shape[-1] + bias


def _norm(layer: Any, inputs: tuple[Tensor], output: Tensor) -> int:
    affine = layer.elementwise_affine if isinstance(layer, nn.LayerNorm) else layer.affine
    return inputs[0].numel() * (2 if affine else 1)


def _input_elements(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> int:
    return inputs[0].numel()


def _output_elements(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> int:
    return output.numel()


def _recurrent(layer: nn.RNNBase, inputs: tuple[Any, ...], output: Any) -> int:
    """Count the matrix products of each time step and the gates' element-wise work."""
    sequence = inputs[0]
    data = sequence.data if isinstance(sequence, nn.utils.rnn.PackedSequence) else sequence
    steps = data.numel() // data.shape[-1]
    weights = sum(parameter.numel() for parameter in layer.parameters())
    elementwise = {"LSTM": 10, "GRU": 7}.get(layer.mode, 1) * layer.hidden_size
    directions = 2 if layer.bidirectional else 1
    return int(steps * (weights + elementwise * layer.num_layers * directions))


def _attention(layer: nn.MultiheadAttention, inputs: tuple[Any, ...], output: Any) -> int:
    """Count projections, scores, softmax and the weighted sum of softmax attention."""
    query = output[0]
    batch_axis, length_axis = (0, 1) if layer.batch_first else (1, 0)
    batch = query.shape[batch_axis] if query.ndim == 3 else 1
    length = query.shape[length_axis] if query.ndim == 3 else query.shape[0]
    source = inputs[1] if len(inputs) > 1 else query
    source_length = source.shape[length_axis] if source.ndim == 3 else source.shape[0]
    width = layer.embed_dim
    projections = width * (length * width + source_length * (layer.kdim + layer.vdim))
    bias = (length + 2 * source_length) * width if layer.in_proj_bias is not None else 0
    scores = 2 * length * source_length * width + layer.num_heads * length * source_length
    out = length * width * (width + 1)
    return int(batch * (projections + bias + scores + out))


COUNTERS: tuple[tuple[tuple[type, ...], Counter], ...] = (
    ((_ConvNd,), _convolution),
    ((nn.Linear,), _linear),
    ((_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm), _norm),
    ((nn.ReLU, nn.PReLU, nn.ELU, nn.LeakyReLU, nn.ReLU6, nn.GELU), _output_elements),
    ((_MaxPoolNd, _AvgPoolNd, _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd), _input_elements),
    ((nn.RNNBase,), _recurrent),
    ((nn.MultiheadAttention,), _attention),
)
