"""fp32 → b-bit fixed point, on ONNX graphs: calibration, candidates, and what really got faster."""

from fulcrum_components.quantization.quantizer import quantize

__all__ = ["quantize"]
