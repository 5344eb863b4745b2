"""Q(θ): weights rounded to the values that b bits can hold, in floating point.

The integer kernels do the same rounding inside; having it here makes its error computable
(`bias_correction`) and fewer bits than kernels support simulable (`weight_only`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fulcrum_components.graph import Array
from fulcrum_pipelines.resources.compressionjob import Quantize


@dataclass(frozen=True)
class Rounding:
    """How weights become integers.

    Attributes:
        steps: Levels from 0 to the largest magnitude (symmetric), or from least to greatest; a
            half if the middle of an even number of levels represents 0.
        symmetric: Levels lie evenly around 0, so that no zero point is needed.
        per_channel: One scale an output channel, instead of one a tensor.
    """

    steps: float
    symmetric: bool = True
    per_channel: bool = True

    def apply(self, weight: Array, channel_axes: tuple[int, ...]) -> tuple[Array, int]:
        """Round `weight`.

        Returns:
            The rounded weight, of the same shape and type, and the number of scales it takes.
        """
        kept = channel_axes if self.per_channel else ()
        axes = tuple(axis for axis in range(weight.ndim) if axis not in kept)
        values = weight.astype(np.float64)
        low = np.minimum(values.min(axis=axes, keepdims=True), 0)
        high = np.maximum(values.max(axis=axes, keepdims=True), 0)
        span = np.maximum(-low, high) if self.symmetric else high - low
        scale = np.where(span > 0, span, 1) / self.steps
        rounded = np.rint(values / scale) * scale
        return rounded.astype(weight.dtype), scale.size


def rounding_for(options: Quantize, reduce_range: bool) -> Rounding:
    """Return the rounding that the recipe's weights get.

    ONNX Runtime's int8 runs over ±127 (±64 with 7 bits), its uint8 over 0..255 (0..127): from the
    least to the greatest value of a tensor, but evenly around 0 per channel, since its kernels want
    one zero point for all channels.
    """
    if options.bits is not None:
        return Rounding(2 ** (options.bits - 1) - 1, per_channel=options.per_channel)
    if options.weights == "uint8" and options.per_channel:
        return Rounding(63.5 if reduce_range else 127.5)
    if options.weights == "uint8":
        return Rounding(127 if reduce_range else 255, False, False)
    return Rounding(64 if reduce_range else 127, True, options.per_channel)
