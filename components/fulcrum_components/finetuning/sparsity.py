"""Keeping zeros zero: what pruning removed must not grow back while training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fulcrum_pipelines.errors import UserError


class Masks:
    """Masks of the sparse parameters, taken from where they are zero now.

    Args:
        module: The module, before weight normalisation replaces any parameter.
        names: Names of its sparse parameters.

    Raises:
        UserError: The module lacks one of them.
    """

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        parameters = dict(module.named_parameters(remove_duplicate=False))
        missing = sorted(set(names) - set(parameters))
        if missing:
            message = f"the model has no parameters {missing}, which pruning made sparse"
            raise UserError(message, where="spec.model")
        self._module = module
        self._masks = {name: parameters[name].detach() != 0 for name in names}
        self.zeros = sum(int((~mask).sum()) for mask in self._masks.values())

    @torch.no_grad()
    def apply(self) -> None:
        """Set the masked weights to zero again."""
        for name, mask in self._masks.items():
            self._stored(name).mul_(mask)

    def sparsity_kept(self) -> float | None:
        """Return the share of the masked weights that are zero still; None if none were."""
        if self.zeros == 0:
            return None
        parameters = dict(self._module.named_parameters(remove_duplicate=False))
        kept = sum(int((parameters[name][~mask] == 0).sum()) for name, mask in self._masks.items())
        return kept / self.zeros

    def _stored(self, name: str) -> Tensor:
        """Return what is trained for `name`: under weight normalisation, the direction."""
        path, _, key = name.rpartition(".")
        layer = self._module.get_submodule(path)
        if key in layer._parameters:  # getattr would compute a parametrized weight
            return layer.get_parameter(key)
        return layer.get_parameter(f"parametrizations.{key}.original1")
