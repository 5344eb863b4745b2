"""Finding the range of every activation from example data, in memory that does not grow with it."""

from fulcrum_components.quantization.calibration.observer import (
    Calibration,
    Method,
    Observer,
    Range,
    calibrate,
    float_tensors,
    is_mask,
)

__all__ = ["Calibration", "Method", "Observer", "Range", "calibrate", "float_tensors", "is_mask"]
