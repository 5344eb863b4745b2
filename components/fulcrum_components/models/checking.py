"""Try a model once before anything long is started with it.

Most wrong models (a transposed shape, an output too many, a batch size written into a reshape)
show up in a forward pass of two examples; found there, they cost the user seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fulcrum_components.models.calling import is_plain, protect_inputs, return_tuple
from fulcrum_components.models.signature import (
    BATCH,
    Signature,
    TensorSpec,
    example_arrays,
    resized,
)
from fulcrum_components.objective import output_tensors
from fulcrum_components.sources.usercode import user_errors
from fulcrum_pipelines.errors import UserError

BATCHES = (2, 3)
"""Two sizes, neither of them 1, which exporters treat as a constant."""

DYNAMIC_SIZES = (8, 32, 128)
"""Sizes to try for other dynamic axes: a text model may be too short for the large ones, an image
model may pool the small ones away."""

Arrays = Mapping[str, npt.NDArray[Any]]
MakeExamples = Callable[[Signature], Arrays | None]
"""Gives some real examples of the inputs, if there are any."""


def check_forward(
    module: torch.nn.Module,
    signature: Signature,
    directory: Path,
    examples: Arrays | None = None,
) -> None:
    """Run `module` on two sizes of batch and compare its outputs with the signature.

    A module that changes its inputs in place, or returns its tensors in a container other than a
    tuple, is given hooks so that it does not.

    Args:
        module: Takes the inputs positionally, in the order of the signature; evaluating.
        signature: The promised inputs and outputs.
        directory: Of the user's code, to name its lines; for a file, the file.
        examples: Real inputs; without them, some are made up.

    Raises:
        UserError: It raises, an output has another number, shape or type than declared, or the
            same inputs give other outputs the second time.
    """

    def run(arrays: Arrays) -> tuple[torch.Tensor, ...]:
        size = len(next(iter(arrays.values())))
        with user_errors(f"{directory}: forward with a batch of {size}"):
            return run_module(module, signature, arrays)

    batches = trial_batches(signature, run, examples)
    found = [run(arrays) for arrays in batches]
    for outputs, arrays in zip(found, batches, strict=True):
        axes = axis_sizes(signature, arrays)
        check_outputs(outputs, signature.outputs, axes, str(directory))
    _check_repeatable(found[0], run(batches[0]), signature, str(directory))


def trial_batches(
    signature: Signature, run: Callable[[Arrays], object], examples: Arrays | None
) -> list[dict[str, npt.NDArray[Any]]]:
    """Return inputs of each size in `BATCHES`, made of `examples` or, without them, made up.

    Made-up inputs have sizes of other axes on which `run` works.

    Raises:
        UserError: `run` works with none of `DYNAMIC_SIZES`; the error is that of the first.
    """
    if examples is not None:
        return [resized(signature, examples, batch) for batch in BATCHES]
    only_batch = signature.dynamic_axes == (BATCH,)
    failure: UserError | None = None
    for dynamic in DYNAMIC_SIZES[:1] if only_batch else DYNAMIC_SIZES:
        batches = [example_arrays(signature, batch, dynamic=dynamic) for batch in BATCHES]
        try:
            run(batches[0])
        except UserError as error:
            failure = failure or error
        else:
            return batches
    assert failure is not None
    raise failure


def _check_repeatable(
    first: tuple[torch.Tensor, ...],
    second: tuple[torch.Tensor, ...],
    signature: Signature,
    where: str,
) -> None:
    """Refuse a model whose answers cannot be compared with anything.

    Raises:
        UserError: Two runs on the same inputs differ by more than the order of sums can.
    """
    for spec, one, other in zip(signature.outputs, first, second, strict=True):
        if not torch.allclose(one.double(), other.double(), 1e-3, 1e-3, equal_nan=True):
            message = (
                f"output '{spec.name}' is another when forward runs again on the same inputs; "
                "take randomness (torch.rand, F.dropout without training=self.training) and state "
                "that changes out of evaluation mode"
            )
            raise UserError(message, where=where)


def axis_sizes(signature: Signature, arrays: Arrays) -> dict[str, int]:
    """Return the size that each dynamic axis of the inputs has in `arrays`."""
    return {
        name: size
        for spec in signature.inputs
        for name, size in zip(spec.shape, arrays[spec.name].shape, strict=True)
        if isinstance(name, str)
    }


def run_module(
    module: torch.nn.Module, signature: Signature, arrays: Arrays
) -> tuple[torch.Tensor, ...]:
    """Return the outputs of `module`, which evaluates, and give it the hooks that it needs.

    Raises:
        UserError: It returns something else than tensors, or a mapping whose keys are the names of
            the signature's outputs in another order.
    """
    inputs = tuple(torch.from_numpy(np.array(arrays[spec.name])) for spec in signature.inputs)
    with torch.no_grad():
        result = module(*inputs)
    if isinstance(result, Mapping):
        _check_order([str(key) for key, value in result.items() if value is not None], signature)
    outputs = output_tensors(result)
    if any(value._version for value in inputs):
        protect_inputs(module)
    if not is_plain(result):
        return_tuple(module)
    return outputs


def _check_order(keys: list[str], signature: Signature) -> None:
    names = [spec.name for spec in signature.outputs]
    if keys != names and sorted(keys) == sorted(names):
        message = (
            f"forward returns a dict in the order {', '.join(keys)}, but outputs are declared as "
            f"{', '.join(names)}; declare them in the order of the dict"
        )
        raise UserError(message, where="outputs")


def check_outputs(
    outputs: tuple[object, ...],
    specs: tuple[TensorSpec, ...],
    axes: Mapping[str, int],
    where: str,
) -> None:
    """Compare tensors or arrays with what is declared.

    Raises:
        UserError: Number, type or shape differ.
    """
    if len(outputs) != len(specs):
        message = f"forward returns {len(outputs)} outputs, but {len(specs)} are declared"
        raise UserError(message, where=where)
    for spec, output in zip(specs, outputs, strict=True):
        if not isinstance(output, torch.Tensor | np.ndarray):
            message = f"output '{spec.name}' is a {type(output).__name__}, expected a tensor"
            raise UserError(message, where=where)
        dtype = str(output.dtype).removeprefix("torch.")
        if dtype != spec.dtype or not spec.matches(tuple(output.shape), axes):
            sizes = ", ".join(f"{name} {size}" for name, size in axes.items())
            message = (
                f"output '{spec.name}' is {dtype}{list(output.shape)} for {sizes}, "
                f"but {spec} is declared"
            )
            raise UserError(message, where=where)
