"""Replace computed weights by plain ones: pruning removes what multiplies the inputs, and no
exported file has to compute a weight.

If a parametrization computes a weight (weight norm, spectral norm, a mask), the stored tensors
are not the weight: a zero in the length `g` of weight norm kills a neuron, and other zeros are lost
when the weight is computed next. Both of torch's mechanisms are known: parametrizations and hooks.
"""

from __future__ import annotations

import copy
import operator
from typing import cast

import torch
from torch import nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm, SpectralNormLoadStateDictPreHook
from torch.nn.utils.weight_norm import WeightNorm

from fulcrum_components.modes import evaluating

Stored = tuple[nn.Parameter, ...]
"""The parameters that a weight is computed from."""


def without_parametrizations(module: nn.Module) -> nn.Module:
    """Return `module`, or a folded copy if it has parametrizations; what it computes is the same.

    Some of them use operators that ONNX does not have.
    """
    if not any(parametrize.is_parametrized(layer) for layer in module.modules()):
        return module
    copied = copy.deepcopy(module)
    fold(copied)
    return copied


def fold(module: nn.Module) -> tuple[str, ...]:
    """Make plain parameters of the computed weights in `module`, in place; return their names.

    Layers that store one weight between them, and compute the same of it, share one afterwards.
    """
    folded: list[str] = []
    made: list[tuple[Stored, nn.Parameter]] = []
    with evaluating(module), torch.no_grad():
        for name, layer in list(module.named_modules()):
            for key, stored in [*_parametrized(layer), *_hooked(layer)]:
                folded.append(f"{name}.{key}" if name else key)
                _share(layer, key, stored, made)
    return tuple(folded)


def _share(
    layer: nn.Module, key: str, stored: Stored, made: list[tuple[Stored, nn.Parameter]]
) -> None:
    """Use the parameter already made of the `stored` tensors, if it is equal to this one."""
    parameter = layer.get_parameter(key)
    for others, other in made if stored else ():
        same = len(stored) == len(others) and all(map(operator.is_, stored, others))
        if same and torch.equal(parameter, other):
            layer.register_parameter(key, other)
            return
    made.append((stored, parameter))


def _parametrized(layer: nn.Module) -> list[tuple[str, Stored]]:
    """Remove the parametrizations of `layer`; return the tensors and what they stored."""
    if not parametrize.is_parametrized(layer):
        return []
    found = dict(cast(nn.ModuleDict, layer.parametrizations))
    values = {name: getattr(layer, name).detach().clone() for name in found}
    # torch's own function takes the weight from the layer's class, which copies of it share.
    del layer.parametrizations
    layer.__class__ = type(layer).__bases__[0]
    stored = {name: tuple(parts.parameters()) for name, parts in found.items()}
    for name, parts in stored.items():
        trained = any(value.requires_grad for value in parts)
        layer.register_parameter(name, nn.Parameter(values[name], requires_grad=trained))
    return list(stored.items())


def _hooked(layer: nn.Module) -> list[tuple[str, Stored]]:
    """Remove the older hooks that compute weights of `layer`; return these and what they stored."""
    found = []
    for hook in list(layer._forward_pre_hooks.values()):  # torch has no public name for them
        if isinstance(hook, WeightNorm | SpectralNorm | prune.BasePruningMethod):
            name = str(
                hook._tensor_name if isinstance(hook, prune.BasePruningMethod) else hook.name
            )
            found.append((name, _stored(layer, name)))
            _remove(layer, hook, name)
    return found


def _stored(layer: nn.Module, name: str) -> Stored:
    """Return the parameters from which a hook computes the weight `name`, as torch names them."""
    names = (f"{name}_g", f"{name}_v", f"{name}_orig")
    return tuple(value for key in names if (value := layer._parameters.get(key)) is not None)


def _remove(layer: nn.Module, hook: object, name: str) -> None:
    if isinstance(hook, WeightNorm):
        remove_weight_norm(layer, name)
    elif isinstance(hook, SpectralNorm):
        remove_spectral_norm(layer, name)
        _forget_loading(layer)
    else:
        prune.remove(layer, name)  # type: ignore[no-untyped-call]


def _forget_loading(layer: nn.Module) -> None:
    """Let `layer` load a plain weight; torch leaves the hook that asks for the stored tensors."""
    hooks = layer._load_state_dict_pre_hooks
    for key, hook in list(hooks.items()):
        if isinstance(getattr(hook, "hook", hook), SpectralNormLoadStateDictPreHook):
            del hooks[key]
