"""Parameters that several layers share, as an embedding and the layer that makes the output do.

Code that replaces parameters (pruning, weight normalisation, folded parametrizations) has to keep
them one: copies are equal at first, and training moves them apart.
"""

from __future__ import annotations

from torch import nn


def tied_names(module: nn.Module) -> list[list[str]]:
    """Return the names of parameters that are one and the same, group by group."""
    groups: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        groups.setdefault(id(parameter), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def shared_parameters(module: nn.Module) -> set[int]:
    """Return the ids of parameters that more than one layer, or one under two names, holds.

    A layer that is itself in several places holds its parameters once.
    """
    holders: dict[int, int] = {}
    for layer in module.modules():
        for parameter in layer._parameters.values():  # named_parameters leaves repetitions out
            if parameter is not None:
                holders[id(parameter)] = holders.get(id(parameter), 0) + 1
    return {key for key, count in holders.items() if count > 1}


def put(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
    """Make `parameter` what `module` has under the dotted `name`."""
    path, _, key = name.rpartition(".")
    setattr(module.get_submodule(path), key, parameter)
