"""Try a module once before anything long is started with it.

Most wrong bundles (a transposed shape, an output too many, a batch size written into a reshape)
show up in a forward pass of two examples; found there, they cost the user seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from fulcrum_components.models.signature import Signature, TensorSpec, example_arrays
from fulcrum_components.sources.usercode import user_errors
from fulcrum_pipelines.errors import UserError

BATCHES = (2, 3)
"""Two sizes, neither of them 1, which exporters treat as a constant."""


def check_forward(module: torch.nn.Module, signature: Signature, directory: Path) -> None:
    """Run `module` on two sizes of batch and compare its outputs with the signature.

    Args:
        module: Takes the inputs positionally, in the order of the signature.
        signature: What is promised.
        directory: Where the user's code is, to name its lines.

    Raises:
        UserError: It raises, or an output has another number, shape or type than declared.
    """
    for batch in BATCHES:
        arrays = example_arrays(signature, batch)
        with user_errors(directory, f"{directory}: forward with a batch of {batch}"):
            outputs = run_module(module, signature, arrays)
        axes = {
            name: size
            for spec in signature.inputs
            for name, size in zip(spec.shape, arrays[spec.name].shape, strict=True)
            if isinstance(name, str)
        }
        _check_outputs(outputs, signature.outputs, axes, str(directory))


def run_module(
    module: torch.nn.Module, signature: Signature, arrays: Mapping[str, np.ndarray]
) -> tuple[object, ...]:
    """Return the outputs of `module` in evaluation mode, as a tuple."""
    training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            result = module(*(torch.from_numpy(arrays[spec.name]) for spec in signature.inputs))
    finally:
        module.train(training)
    return tuple(result) if isinstance(result, tuple | list) else (result,)


def _check_outputs(
    outputs: tuple[object, ...],
    specs: tuple[TensorSpec, ...],
    axes: Mapping[str, int],
    where: str,
) -> None:
    if len(outputs) != len(specs):
        message = f"forward returns {len(outputs)} outputs, but {len(specs)} are declared"
        raise UserError(message, where=where)
    for spec, output in zip(specs, outputs, strict=True):
        if not isinstance(output, torch.Tensor):
            message = f"output '{spec.name}' is a {type(output).__name__}, expected a tensor"
            raise UserError(message, where=where)
        dtype = str(output.dtype).removeprefix("torch.")
        if dtype != spec.dtype or not spec.matches(tuple(output.shape), axes):
            message = (
                f"output '{spec.name}' is {dtype}{list(output.shape)} "
                f"for {axes}, but {spec} is declared"
            )
            raise UserError(message, where=where)
