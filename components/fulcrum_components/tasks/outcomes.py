"""A model's answers with the targets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Outcomes:
    """Answers of one model to n examples.

    Attributes:
        outputs: Axis 0 is the example; the task says what they hold: probabilities (n, classes) of
            a classification, float32; values (n,) or (n, k) of a regression, as exact as the model
            gives them.
        targets: Right answers: labels (n,) from 0, or values of the shape of `outputs`.
        columns: Declared columns by name, (n,) each.
    """

    outputs: Array
    targets: Array
    columns: dict[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return n."""
        return len(self.targets)

    def take(self, selected: Array) -> Outcomes:
        """Return the outcomes of `selected` examples: a mask (n,) or indices."""
        columns = {name: values[selected] for name, values in self.columns.items()}
        return Outcomes(self.outputs[selected], self.targets[selected], columns)
