"""Make a user's module callable as the rest of Fulcrum calls it, for any form of `forward`.

Everything else passes tensors by position, may pass the same ones again, and expects a tensor or a
tuple of tensors. A module that takes keywords only, returns a mapping, a dataclass or nested lists,
or changes its inputs in place, gets hooks that translate. Hooks and not a wrapper: a wrapper would
change the names of all parameters.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fulcrum_components.models.signature import Signature
from fulcrum_components.objective import output_tensors
from fulcrum_pipelines.errors import UserError


def take_by_position(module: nn.Module, signature: Signature, directory: Path) -> None:
    """Let `module` take its inputs by position also where `forward` has keyword-only parameters.

    Raises:
        UserError: A keyword-only parameter has no input of its name and no default.
    """
    parameters = inspect.signature(module.forward).parameters.values()
    keywords = [each for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY]
    names = [spec.name for spec in signature.inputs]
    by_name = [each.name for each in keywords if each.name in names]
    for each in keywords:
        if each.name not in names and each.default is inspect.Parameter.empty:
            message = (
                f"forward has the keyword-only parameter '{each.name}', but the inputs are "
                f"{', '.join(names)}; name an input like it, or give the parameter a default"
            )
            raise UserError(message, where=str(directory))
    if not by_name:
        return

    def translate(
        module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if len(arguments) != len(names):
            return arguments, keywords
        given = dict(zip(names, arguments, strict=True))
        positional = tuple(value for name, value in given.items() if name not in by_name)
        return positional, keywords | {name: given[name] for name in by_name}

    module.register_forward_pre_hook(translate, with_kwargs=True)


def protect_inputs(module: nn.Module) -> None:
    """Let `module` work on copies of its inputs, so that the caller's stay as they are."""

    def copied(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(value.clone() if isinstance(value, Tensor) else value for value in arguments)

    module.register_forward_pre_hook(copied)


def return_tuple(module: nn.Module) -> None:
    """Let `module` return a flat tuple of its tensors, if it returns something else."""

    def flat(module: nn.Module, arguments: tuple[Any, ...], outputs: Any) -> tuple[Any, ...]:
        return output_tensors(outputs)

    module.register_forward_hook(flat)


def is_plain(outputs: object) -> bool:
    """Return whether `outputs` are what callers expect: a tensor or a tuple of tensors."""
    return isinstance(outputs, Tensor) or (
        type(outputs) is tuple and all(isinstance(value, Tensor) for value in outputs)
    )


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module itself behind `torch.compile` or `DataParallel`."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and isinstance(
            module, nn.DataParallel | nn.parallel.DistributedDataParallel
        ):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner
