"""The reference for a network that lost channels: the original with these channels masked.

Which channels are gone is read from the biases that are left, since all are different; the graph
that pruning followed is not asked. Masked channels are zero and stay so through all activations.
A normalisation works on the channels that are left, as in the smaller network.

And what 8 bits cost at least: the error of plain rounding, which separates a sensitive network from
one that was quantized wrongly.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

LAST = (nn.Linear, nn.LayerNorm, nn.Embedding)
"""Layers whose channels are their output's last axis."""
NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)


def outputs_of(module: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """Return all outputs, without torch's fused attention, which calls no hooks."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            found = module.eval()(x.clone())
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return found if isinstance(found, tuple) else (found,)


def masked_outputs(original: nn.Module, pruned: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """Return what `original` computes without the channels that `pruned` lacks; it is used up."""
    smaller = dict(pruned.named_modules())
    with ExitStack() as stack:
        for name, layer in original.named_modules():
            if isinstance(layer, nn.MultiheadAttention):
                other = smaller[name]
                assert isinstance(other, nn.MultiheadAttention)
                mask_attention(layer, other)
            if name not in smaller or not _has_channels(layer):
                continue
            kept = kept_channels(layer, smaller[name])
            if kept is not None:
                handle = layer.register_forward_hook(_masking(layer, smaller[name], kept))
                stack.callback(handle.remove)
        return outputs_of(original, x)


def mask_attention(layer: nn.MultiheadAttention, smaller: nn.MultiheadAttention) -> None:
    """Set the weights that `smaller` lacks to zero, since torch calls no layer inside.

    Channels of heads go from queries, keys and values alike, and are known by the biases of the
    keys: those of the queries are scaled, to make up for the smaller heads.
    """
    if layer.embed_dim == smaller.embed_dim:
        return
    before, after = (each.in_proj_bias.detach().chunk(3)[1] for each in (layer, smaller))
    inside, outside = (before, after), (layer.out_proj.bias, smaller.out_proj.bias)
    gone_inside, gone_outside = (~torch.isin(one, other) for one, other in (inside, outside))
    assert int((~gone_inside).sum()) == int((~gone_outside).sum()) == smaller.embed_dim
    with torch.no_grad():
        for tensor in (layer.in_proj_weight, layer.in_proj_bias):
            tensor[gone_inside.repeat(3)] = 0
        for tensor in (layer.out_proj.weight, layer.out_proj.bias):
            tensor[gone_outside] = 0


def kept_channels(layer: nn.Module, smaller: nn.Module) -> Tensor | None:
    """Return which channels of `layer` are left, or None if all are.

    Raises:
        AssertionError: A bias that is left is none of the original's.
    """
    before, after = _marks(layer), _marks(smaller)
    if before.shape == after.shape:
        return None
    assert before.ndim == after.ndim == 1, "a normalisation over several axes lost some"
    same = after[:, None] == before[None]
    assert bool((same.sum(1) == 1).all()), "a bias that is left is none of the original's"
    return same.int().argmax(1)


def _marks(layer: nn.Module) -> Tensor:
    """Return a value of each channel that no other channel has."""
    marks = layer.weight[0] if isinstance(layer, nn.Embedding) else layer.bias
    assert isinstance(marks, Tensor)
    return marks.detach()


def _has_channels(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Embedding):
        return True
    known = isinstance(layer, (nn.Linear, _ConvNd, *NORMS))
    return known and isinstance(getattr(layer, "bias", None), Tensor)


def _masking(layer: nn.Module, smaller: nn.Module, kept: Tensor) -> Callable[..., Tensor]:
    def hook(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        axis = output.ndim - 1 if isinstance(layer, LAST) else 1
        values = output.index_select(axis, kept)
        if isinstance(layer, NORMS):
            values = smaller(inputs[0].index_select(axis, kept))
        return torch.zeros_like(output).index_copy(axis, kept, values)

    return hook


def rounded_outputs(module: nn.Module, x: Tensor, *, activations: bool) -> tuple[Tensor, ...]:
    """Return what `module` computes with values rounded to 8 bits; the module is used up.

    Args:
        module: With plain weights.
        x: Its input.
        activations: Whether the values between layers are rounded too, to 256 between the least and
            the largest, besides the weights, which are to 255 around zero in each row.
    """

    def rounded(values: Tensor, step: Tensor) -> Tensor:
        return (values / step.clamp_min(1e-12)).round() * step

    def after(_: nn.Module, inputs: object, output: object) -> object:
        if not isinstance(output, Tensor) or not output.is_floating_point():
            return output
        return rounded(output, (output.max() - output.min()) / 255)

    with torch.no_grad():
        for value in module.parameters():
            if value.ndim > 1:
                most = value.abs().amax(tuple(range(1, value.ndim)), keepdim=True)
                value.copy_(rounded(value, most / 127))
        for layer in module.modules():
            if activations and not list(layer.children()):
                layer.register_forward_hook(after)
        return outputs_of(module, x)
