"""Range that keeps a given percentage of values: cuts rare outliers off."""

from __future__ import annotations

import numpy as np

from fulcrum_components.quantization.calibration.histogram import Histogram

DEFAULT_PERCENTILE = 99.99


def percentile_threshold(histogram: Histogram, percentile: float = DEFAULT_PERCENTILE) -> float:
    """Return the absolute value below which `percentile` percent of the values lie.

    The answer is the upper edge of a bin, so it is at most one bin too large.
    """
    cumulative = np.cumsum(histogram.magnitudes)
    wanted = percentile / 100 * cumulative[-1]
    index = int(np.searchsorted(cumulative, wanted))
    return min((index + 1) * histogram.width, histogram.largest)
