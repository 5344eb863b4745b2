"""Which weights sparse methods may touch: matrices and kernels, but not the output layers'."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from fulcrum_components.modes import all_require_gradients, copies, evaluating
from fulcrum_components.objective import output_tensors
from fulcrum_components.pruning.boundaries import RECURRENT
from fulcrum_pipelines.errors import UserError

WEIGHTED = (_ConvNd, nn.Linear, nn.MultiheadAttention, *RECURRENT)


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Return whether the name of a module, or of one around it, matches one of the patterns."""
    parts = name.split(".")
    prefixes = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return any(fnmatchcase(prefix, pattern) for prefix in prefixes for pattern in patterns)


def prunable_weights(
    module: nn.Module, example_inputs: tuple[Tensor, ...], ignore: Sequence[str]
) -> dict[str, nn.Parameter]:
    """Return by parameter name the weights (2 axes or more) that may become sparse.

    A weight that layers share is listed once, and not at all if one of them is excluded.

    Raises:
        UserError: No weight can be pruned.
    """
    outputs = output_layers(module, example_inputs)
    left_alone: set[int] = set()
    free: dict[int, tuple[str, nn.Parameter]] = {}
    for name, layer in module.named_modules(remove_duplicate=False):
        for key, parameter in layer.named_parameters(recurse=False):
            full = f"{name}.{key}" if name else key
            if not isinstance(layer, WEIGHTED):
                continue
            if name in outputs or matches(name, ignore) or matches(full, ignore):
                left_alone.add(id(parameter))
            elif parameter.dim() >= 2:
                free.setdefault(id(parameter), (full, parameter))
    found = dict(named for key, named in free.items() if key not in left_alone)
    if not found:
        message = (
            f"the model has no weights to prune: its output layers {sorted(outputs)} are left "
            f"alone, and ignore is {list(ignore)}{_others(module)}"
        )
        raise UserError(message, where="spec.recipe.prune")
    return found


def _others(module: nn.Module) -> str:
    """Name the kinds of layers with matrices that no sparse method touches; empty if none."""
    kinds = {
        type(layer).__name__
        for layer in module.modules()
        if not isinstance(layer, WEIGHTED)
        and any(value.dim() >= 2 for value in layer.parameters(recurse=False))
    }
    return f"; weights of {', '.join(sorted(kinds))} are never pruned" if kinds else ""


def layer_name(parameter_name: str) -> str:
    """Return the name to report a weight by: its layer's, if that has only this one."""
    return parameter_name.removesuffix(".weight")


def output_layers(module: nn.Module, example_inputs: tuple[Tensor, ...]) -> set[str]:
    """Return the names of the weighted layers from which the outputs come with no other between.

    Walks back from the outputs over the gradient functions up to the first weighted layers.
    """
    makers: dict[Any, str] = {}

    def remember(name: str) -> Any:
        def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
            for value in output if isinstance(output, tuple | list) else (output,):
                if isinstance(value, Tensor) and value.grad_fn is not None:
                    makers[value.grad_fn] = name

        return hook

    handles = [
        layer.register_forward_hook(remember(name))
        for name, layer in module.named_modules()
        if isinstance(layer, WEIGHTED)
    ]
    try:
        with evaluating(module), all_require_gradients(module):
            outputs = output_tensors(module(*copies(example_inputs)))
    finally:
        for handle in handles:
            handle.remove()
    return _first_makers([value.grad_fn for value in outputs], makers)


def _first_makers(waiting: list[Any], makers: dict[Any, str]) -> set[str]:
    found: set[str] = set()
    seen: set[Any] = set()
    while waiting:
        function = waiting.pop()
        if function is None or function in seen:
            continue
        seen.add(function)
        if function in makers:
            found.add(makers[function])
        else:
            waiting.extend(source for source, _ in function.next_functions)
    return found
