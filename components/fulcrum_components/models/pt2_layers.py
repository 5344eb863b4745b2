"""Give an exported program its layers back.

`torch.export` turns a layer into a bare container of parameters and an operation that uses them.
Code that looks for layers (sparsity, sensitivity, counting) then finds none. If an operation is
exactly what `nn.Linear` or `nn.Conv*d` does with the parameters of one container, that layer is put
in their place; the names of the parameters and the results stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node

Attributes = Mapping[str, Any]
LayerMaker = Callable[[nn.Parameter, bool, Attributes], nn.Module]


def restore_layers(module: GraphModule) -> None:
    """Replace operations by layers in place, if all uses of the parameters allow it."""
    calls: dict[str, list[Node]] = {}
    for node in module.graph.nodes:
        if (owner := _owner(node)) is not None:
            calls.setdefault(owner, []).append(node)
    for owner, nodes in calls.items():
        if _is_one_layer(module, owner, nodes):
            _replace(module, owner, nodes)
    for node in list(module.graph.nodes):
        if node.op == "get_attr" and not node.users:
            module.graph.erase_node(node)
    module.recompile()


def _owner(node: Node) -> str | None:
    """Return the container whose weight `node` multiplies with, None for any other operation."""
    if node.op != "call_function" or node.target not in MAKERS:
        return None
    weight = _arguments(node)["weight"]
    if not isinstance(weight, Node) or weight.op != "get_attr":
        return None
    owner, _, name = str(weight.target).rpartition(".")
    return owner if owner and name == "weight" else None


def _arguments(node: Node) -> dict[str, Any]:
    """Return the arguments of a call by name, those that were left out by default."""
    assert isinstance(node.target, torch._ops.OpOverload)
    arguments = node.target._schema.arguments
    given = dict(zip((argument.name for argument in arguments), node.args, strict=False))
    defaults = {argument.name: argument.default_value for argument in arguments}
    return defaults | given | node.kwargs


def _is_one_layer(module: GraphModule, owner: str, nodes: list[Node]) -> bool:
    """Return whether `nodes` do the same with the whole container, and nothing else uses it."""
    container = module.get_submodule(owner)
    parameters = dict(container.named_parameters(recurse=False))
    bias = f"{owner}.bias" if "bias" in parameters else None
    prefix = f"{owner}."
    users = {
        user
        for node in module.graph.nodes
        if node.op == "get_attr" and str(node.target).startswith(prefix)
        for user in node.users
    }
    return (
        set(parameters) <= {"weight", "bias"}
        and "weight" in parameters
        and not any(True for _ in container.children())
        and not any(True for _ in container.buffers(recurse=False))
        and users == set(nodes)
        and len({(node.target, repr(_settings(node))) for node in nodes}) == 1
        and all(_target(_arguments(node)["bias"]) == bias for node in nodes)
        and _are_numbers(_settings(nodes[0]))
    )


def _settings(node: Node) -> dict[str, Any]:
    """Return what beside tensors decides on the result of a call."""
    tensors = ("input", "weight", "bias")
    return {name: value for name, value in _arguments(node).items() if name not in tensors}


def _are_numbers(settings: Attributes) -> bool:
    values = [item for value in settings.values() for item in _listed(value)]
    return all(isinstance(value, int) for value in values)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _target(value: Any) -> str | None:
    return str(value.target) if isinstance(value, Node) else None


def _replace(module: GraphModule, owner: str, nodes: list[Node]) -> None:
    container = module.get_submodule(owner)
    parameters = dict(container.named_parameters(recurse=False))
    make = MAKERS[nodes[0].target]
    layer = make(parameters["weight"], "bias" in parameters, _settings(nodes[0]))
    for name, parameter in parameters.items():
        setattr(layer, name, parameter)
    module.set_submodule(owner, layer)
    for node in nodes:
        source = _arguments(node)["input"]
        with module.graph.inserting_before(node):
            call = module.graph.call_module(owner, (source,))
        call.meta = dict(node.meta)
        node.replace_all_uses_with(call)
        module.graph.erase_node(node)


def _linear(weight: nn.Parameter, bias: bool, settings: Attributes) -> nn.Module:
    """Return a layer for a weight of shape (out, in); its own parameters take no memory."""
    out, wide = weight.shape
    return nn.Linear(wide, out, bias=bias, device="meta")


def _convolution(kind: type[nn.Module], axes: int) -> LayerMaker:
    def make(weight: nn.Parameter, bias: bool, settings: Attributes) -> nn.Module:
        """Return a layer for a weight of shape (out, in / groups, *kernel)."""
        groups = settings["groups"]
        sizes = {name: _spread(settings[name], axes) for name in ("stride", "padding", "dilation")}
        out, wide, *kernel = weight.shape
        return kind(
            wide * groups, out, tuple(kernel), groups=groups, bias=bias, device="meta", **sizes
        )

    return make


def _spread(value: Any, axes: int) -> tuple[int, ...]:
    """Return one size an axis, also if one number is given for all."""
    sizes = _listed(value)
    return tuple(sizes * axes if len(sizes) == 1 else sizes)


MAKERS: dict[Any, LayerMaker] = {
    torch.ops.aten.linear.default: _linear,
    torch.ops.aten.conv1d.default: _convolution(nn.Conv1d, 1),
    torch.ops.aten.conv2d.default: _convolution(nn.Conv2d, 2),
    torch.ops.aten.conv3d.default: _convolution(nn.Conv3d, 3),
}
"""Operations that are layers, and how the layer is made."""
