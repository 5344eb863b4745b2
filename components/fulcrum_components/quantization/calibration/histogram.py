"""Counts of a tensor's values, to choose a range from without keeping the values."""

from __future__ import annotations

import numpy as np

from fulcrum_components.graph import Array

BINS = 4096  # over both signs; 8 bins for each of the 256 levels of a range four times too wide


class Histogram:
    """Counts in equal bins over [-largest, +largest], filled batch by batch.

    Attributes:
        largest: Largest absolute value of the tensor, from an earlier pass: bins never move.
        counts: (BINS,) float64 numbers of values.
    """

    def __init__(self, largest: float) -> None:
        self.largest = largest
        self.counts = np.zeros(BINS)

    def add(self, values: Array) -> None:
        """Count the values of one batch."""
        if self.largest == 0:
            self.counts[BINS // 2] += values.size
            return
        counts, _ = np.histogram(values, bins=BINS, range=(-self.largest, self.largest))
        self.counts += counts

    @property
    def magnitudes(self) -> Array:
        """Counts of absolute values: (BINS / 2,), bin i from i to i + 1 times `width`."""
        half = BINS // 2
        folded: Array = self.counts[half:] + self.counts[:half][::-1]
        return folded

    @property
    def width(self) -> float:
        """Width of a bin in the tensor's unit."""
        return 2 * self.largest / BINS
