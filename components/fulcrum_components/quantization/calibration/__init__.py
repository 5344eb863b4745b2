"""Finding the range of every activation from example data, in memory that does not grow with it."""

from fulcrum_components.quantization.calibration.observer import (
    Calibration,
    Range,
    calibrate,
    float_tensors,
)

__all__ = ["Calibration", "Range", "calibrate", "float_tensors"]
