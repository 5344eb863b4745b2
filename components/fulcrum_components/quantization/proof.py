"""Preparations for quantization must keep the function; here they are compared with the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from fulcrum_components.equivalence import Function, of_onnx, require_same, run_onnx
from fulcrum_components.graph import Array, interface_names

if TYPE_CHECKING:
    from fulcrum_components.data import Dataset

BATCHES = (2, 5)
"""Sizes of batch, if the model does not fix its own."""


class Proof:
    """Compares graphs with the model that they were made of.

    Args:
        model: The fp32 file.
        data: Calibration data, for examples.
        batch: Examples if there are no such data.
    """

    def __init__(self, model: Path, data: Dataset | None, batch: Mapping[str, Array]) -> None:
        self._model: Function = of_onnx(model)
        examples = batch if data is None else next(iter(data.batches(sum(BATCHES)))).inputs
        start = 0
        self._batches: list[dict[str, Array]] = []
        for size in _sizes(model):
            rows = np.arange(start, start + size)
            self._batches.append(
                {name: array[rows % len(array)] for name, array in examples.items()}
            )
            start += size

    def require_same(self, step: str, graph: onnx.ModelProto) -> None:
        """Compare `graph` with the model, on all outputs.

        Raises:
            QualityError: An output differs by more than rounding explains.
        """
        names = interface_names(graph)[1]
        require_same(step, self._model, run_onnx(graph), self._batches, names)


def _sizes(model: Path) -> tuple[int, ...]:
    """Return the sizes of batch to try: one that the file fixes, else `BATCHES`."""
    inputs = onnx.load(str(model), load_external_data=False).graph.input
    dimensions = [value.type.tensor_type.shape.dim for value in inputs[:1]]
    fixed = next((each[0].dim_value for each in dimensions if each), 0)
    return (fixed,) if fixed else BATCHES
