"""Compare a pruned module with the original in which the same channels are masked.

The masked original runs the user's own code on channels in their own places, so this does not rest
on the traced graph that the pruning followed. Layers inside are compared too: an error that a dead
or saturated layer hides from the outputs on a few examples shows in the layer before it.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from fulcrum_components.modes import copies, evaluating
from fulcrum_components.objective import output_tensors
from fulcrum_components.pruning.absent import absent_where_nan

TensorBatch = tuple[Tensor, ...]

SINGLE_TOLERANCE = 1e-5
"""Of a layer's largest output. Summing in another order moved ResNet-18's and a Transformer's by
1e-7 to 3e-6 in float32 (16 runs); what is above is computed again in float64."""
DOUBLE_TOLERANCE = 1e-9
"""The same in float64, whose noise was below 1e-14."""


@dataclass(frozen=True)
class Hole:
    """Slices of a parameter that are gone: `indices` along `axis` of the tensor `name`."""

    name: str
    axis: int
    indices: tuple[int, ...]


class MaskingError(Exception):
    """The pruned module does not compute what the masked original does; says how."""


def masked(module: nn.Module, holes: Sequence[Hole]) -> nn.Module:
    """Return a copy of `module` in which the channels of `holes` are absent (NaN)."""
    result = copy.deepcopy(module)
    parameters = dict(result.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for hole in holes:
            indices = torch.tensor(hole.indices, device=parameters[hole.name].device)
            parameters[hole.name].index_fill_(hole.axis, indices, torch.nan)
    return result


def require_same(
    original: nn.Module, pruned: nn.Module, holes: Sequence[Hole], batches: Sequence[TensorBatch]
) -> None:
    """Raise where `pruned` differs from `original` without the channels of `holes`.

    Args:
        original: The module before the step; it is left as it was.
        pruned: The module after it; what its forward raises goes through.
        holes: What the step removed, as the original numbers it.
        batches: Real examples, in at least two batch sizes.

    Raises:
        MaskingError: An output or the output of a layer inside differs.
    """
    reference = masked(original, holes)
    for batch in batches:
        after = _run_plain(pruned, batch)
        try:
            before = _run(reference, batch)
        except Exception as error:  # user code may raise anything here
            message = f"its channels cannot be masked ({type(error).__name__}: {error})"
            raise MaskingError(message) from error
        try:
            _require_close(before, after, SINGLE_TOLERANCE)
        except MaskingError:
            exact = _double(reference, pruned, batch)
            if exact is None:
                raise
            _require_close(*exact, DOUBLE_TOLERANCE)


@dataclass(frozen=True)
class _Run:
    outputs: tuple[Tensor, ...]
    layers: dict[str, list[Tensor]]


def _run(reference: nn.Module, batch: TensorBatch) -> _Run:
    with absent_where_nan():
        return _record(reference, batch)


def _run_plain(module: nn.Module, batch: TensorBatch) -> _Run:
    with torch.no_grad():
        return _record(module, batch)


def _double(
    reference: nn.Module, pruned: nn.Module, batch: TensorBatch
) -> tuple[_Run, _Run] | None:
    """Run both in float64; None if the user's code insists on another type."""
    inputs = tuple(value.double() if value.is_floating_point() else value for value in batch)
    try:
        exact = copy.deepcopy(pruned).double()
        return _run(copy.deepcopy(reference).double(), inputs), _run_plain(exact, inputs)
    except Exception:  # user code may raise anything here
        return None


def _record(module: nn.Module, batch: TensorBatch) -> _Run:
    """Run `module` and keep what its outputs and its convolutions and linear layers give."""
    layers: dict[str, list[Tensor]] = {}

    def remember(name: str) -> Any:
        def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
            layers.setdefault(name, []).append(output.clone())  # it may be changed in place

        return hook

    handles = [
        layer.register_forward_hook(remember(name))
        for name, layer in module.named_modules()
        if isinstance(layer, _ConvNd | nn.Linear)
    ]
    try:
        with evaluating(module), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the user's code, which has run before
            outputs = output_tensors(module(*copies(batch)))
    finally:
        for handle in handles:
            handle.remove()
    return _Run(outputs, layers)


def _require_close(reference: _Run, pruned: _Run, tolerance: float) -> None:
    for name, expected in reference.layers.items():
        for here, there in zip(expected, pruned.layers.get(name, ()), strict=True):
            present = here[~here.isnan()]
            if not _close(present, there.flatten(), tolerance):
                raise MaskingError(f"{name!r} would not compute the same without its channels")
    for place, (here, there) in enumerate(zip(reference.outputs, pruned.outputs, strict=True)):
        if here.is_floating_point() and bool(here.isnan().any()):
            raise MaskingError("an operation mixes its channels that cannot leave some out")
        if here.shape != there.shape or not _close(here, there, tolerance):
            raise MaskingError(f"output {place} would not be the same without its channels")


def _close(here: Tensor, there: Tensor, tolerance: float) -> bool:
    if here.shape != there.shape:
        return False
    if not here.is_floating_point() or here.numel() == 0:
        return torch.equal(here, there)
    scale = float(here.abs().nan_to_num(posinf=0.0).max())
    return torch.allclose(here, there, rtol=0.0, atol=tolerance * max(scale, 1e-30))
