"""Guesses inputs and outputs from the shapes of weights, as a start that a person corrects."""

from __future__ import annotations

from collections.abc import Sequence

from fulcrum_operator.scaffolding.description import Tensor

GUESSED_IMAGE_SIZE = 32


def guess_input(tensors: Sequence[Tensor]) -> Tensor:
    """Return the input that the first weight with two or more axes would take.

    Convolutions are (out, in, height, width), linear layers (out, in), by torch's convention; a
    first layer called an embedding takes integers.
    """
    first = next((tensor for tensor in tensors if len(tensor.shape) >= 2), None)
    if first is not None and "embed" in first.name.lower():
        return Tensor("x", ("batch", "length"), "int64")
    if first is not None and len(first.shape) == 4:
        size = GUESSED_IMAGE_SIZE
        return Tensor("x", ("batch", first.shape[1], size, size), "float32")
    if first is not None and len(first.shape) == 3:
        return Tensor("x", ("batch", first.shape[1], "length"), "float32")
    return Tensor("x", ("batch", first.shape[1] if first is not None else 1), "float32")


def guess_output(tensors: Sequence[Tensor]) -> Tensor:
    """Return the output of the last linear layer."""
    last = next((tensor for tensor in reversed(tensors) if len(tensor.shape) == 2), None)
    return Tensor("output", ("batch", last.shape[0] if last is not None else 1), "float32")
