"""Leaving a user's module as it was: modes and gradient flags are borrowed, then given back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put every layer in evaluation mode, and give each its own mode back at the end."""
    training = [layer for layer in module.modules() if layer.training]
    module.eval()
    try:
        yield
    finally:
        for layer in training:
            layer.training = True


@contextmanager
def all_require_gradients(module: nn.Module) -> Iterator[None]:
    """Let gradients reach every floating-point parameter; tracing follows them.

    Frozen parameters are frozen again at the end, by name, since pruning replaces parameters.
    """
    frozen = {name for name, value in module.named_parameters() if not value.requires_grad}
    for value in module.parameters():
        if value.is_floating_point():
            value.requires_grad_(True)
    try:
        yield
    finally:
        for name, value in module.named_parameters():
            if name in frozen:
                value.requires_grad_(False)


def copies(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return copies of `inputs`, for a forward that may change what it is given."""
    return tuple(value.clone() for value in inputs)
