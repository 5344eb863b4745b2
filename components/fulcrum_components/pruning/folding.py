"""Replace computed weights by plain ones, so that what is pruned is what multiplies the inputs.

Where a parametrization computes a weight (weight norm, spectral norm, a mask), the stored tensors
are not the weight: a zero in the length `g` of weight norm kills a neuron, and other zeros are lost
when the weight is computed next. Both of torch's mechanisms are known: parametrizations and hooks.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm, SpectralNormLoadStateDictPreHook
from torch.nn.utils.weight_norm import WeightNorm

from fulcrum_components.modes import evaluating


def fold(module: nn.Module) -> tuple[str, ...]:
    """Make plain parameters of the computed weights in `module`, in place; return their names."""
    folded: list[str] = []
    with evaluating(module), torch.no_grad():
        for name, layer in list(module.named_modules()):
            for key in [*_parametrized(layer), *_hooked(layer)]:
                folded.append(f"{name}.{key}" if name else key)
    return tuple(folded)


def _parametrized(layer: nn.Module) -> list[str]:
    """Remove the parametrizations of `layer`; return the names of its tensors that had one."""
    if not parametrize.is_parametrized(layer):
        return []
    found = dict(cast(nn.ModuleDict, layer.parametrizations))
    values = {name: getattr(layer, name).detach().clone() for name in found}
    # torch's own function takes the weight from the layer's class, which copies of it share.
    del layer.parametrizations
    layer.__class__ = type(layer).__bases__[0]
    for name, parts in found.items():
        trained = any(value.requires_grad for value in parts.parameters())
        layer.register_parameter(name, nn.Parameter(values[name], requires_grad=trained))
    return list(found)


def _hooked(layer: nn.Module) -> list[str]:
    """Remove the older hooks that compute weights of `layer`; return the weights' names."""
    names = []
    for hook in list(layer._forward_pre_hooks.values()):  # torch has no public name for them
        if isinstance(hook, WeightNorm):
            remove_weight_norm(layer, hook.name)
            names.append(hook.name)
        elif isinstance(hook, SpectralNorm):
            remove_spectral_norm(layer, hook.name)
            _forget_loading(layer)
            names.append(hook.name)
        elif isinstance(hook, prune.BasePruningMethod):
            name = str(hook._tensor_name)
            prune.remove(layer, name)  # type: ignore[no-untyped-call]
            names.append(name)
    return names


def _forget_loading(layer: nn.Module) -> None:
    """Let `layer` load a plain weight; torch leaves the hook that asks for the stored tensors."""
    hooks = layer._load_state_dict_pre_hooks
    for key, hook in list(hooks.items()):
        if isinstance(getattr(hook, "hook", hook), SpectralNormLoadStateDictPreHook):
            del hooks[key]
