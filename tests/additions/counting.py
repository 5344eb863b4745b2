"""How often something happens: the example of how to add a task.

Counts are taken to be Poisson's. Two rows that follow each other are of one place, so that they are
one unit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fulcrum_components.notes import Notes
from fulcrum_components.tasks import Array, Outcomes
from fulcrum_components.tasks.definition import FirstOutput
from fulcrum_components.tasks.regression import Regression
from fulcrum_components.tasks.values import Indices
from fulcrum_pipelines.catalog import Meaning
from fulcrum_pipelines.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


class Counting(Regression):
    """Numbers as those of a regression, but whole and not below 0."""

    name = "counting"

    def check_targets(
        self, values: Array, output: FirstOutput, indices: Indices, *, where: str, notes: Notes
    ) -> Array:
        """Return whole numbers from 0 on."""
        counts = super().check_targets(values, output, indices, where=where, notes=notes)
        wrong = (counts < 0) | (counts != np.rint(counts))
        if wrong.any():
            row = int(wrong.reshape(len(wrong), -1).any(axis=1).argmax())
            message = f"the target of example {indices[row]} is {counts[row]}, which is no count"
            raise UserError(message, where=where)
        return counts

    def loss(self, outputs: Tensor, targets: Tensor, meaning: Meaning) -> Tensor:
        """Return Poisson's deviance, (n,)."""
        import torch

        means = outputs.to(targets.dtype).reshape(targets.shape).clamp_min(1e-6)
        logs = torch.xlogy(targets, targets) - torch.xlogy(targets, means)
        deviance = 2 * (logs - targets + means)
        return deviance.reshape(len(targets), -1).mean(dim=1)

    def units(self, outcomes: Outcomes) -> Array:
        """Return the number of the place at which each row was counted."""
        return np.arange(len(outcomes)) // 2
