"""That a pruned module still answers as the original did: same shapes, finite, two batch sizes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fulcrum_components.modes import copies, evaluating
from fulcrum_components.objective import output_tensors
from fulcrum_pipelines.errors import FulcrumError, UserError
from fulcrum_pipelines.texts import reason

Shapes = tuple[tuple[int, ...], ...]


class OutputCheck:
    """Remembers what the original's outputs look like.

    Args:
        module: The original.
        example_inputs: A batch of its inputs.

    Raises:
        UserError: The original fails on the inputs, or gives NaN or infinity.
    """

    def __init__(self, module: nn.Module, example_inputs: tuple[Tensor, ...]) -> None:
        one_more = tuple(torch.cat([value, value[:1]]) for value in example_inputs)
        self._batches = (example_inputs, one_more)
        self._shapes = [_shapes(module, batch) for batch in self._batches]

    def verify(self, module: nn.Module) -> None:
        """Raise where `module` answers in other shapes than the original, or not at all.

        Raises:
            UserError: It does.
        """
        for batch, expected in zip(self._batches, self._shapes, strict=True):
            shapes = _shapes(module, batch)
            if shapes != expected:
                message = f"pruning changed the shape of the outputs from {expected} to {shapes}"
                raise UserError(message, where="spec.recipe.prune")


def _shapes(module: nn.Module, inputs: tuple[Tensor, ...]) -> Shapes:
    """Return the shapes of all outputs.

    Raises:
        UserError: forward fails, or an output is not finite.
    """
    try:
        with evaluating(module), torch.no_grad():
            tensors = output_tensors(module(*copies(inputs)))
    except FulcrumError:
        raise
    except Exception as error:  # user code may raise anything; it must be named, not leak
        message = f"the model's forward failed: {reason(error)}"
        raise UserError(message, where="spec.model") from error
    if any(not torch.isfinite(value).all() for value in tensors):
        raise UserError("the model's outputs are not finite (NaN or infinity)", where="spec.model")
    return tuple(tuple(value.shape) for value in tensors)
