"""All quantization methods by their names in `spec.recipe.quantize.method`."""

from __future__ import annotations

from fulcrum_components.quantization.methods.auto import AUTO
from fulcrum_components.quantization.methods.definition import Measuring, QuantizationMethod, Work
from fulcrum_components.quantization.methods.dynamic import DYNAMIC
from fulcrum_components.quantization.methods.static import STATIC
from fulcrum_components.quantization.methods.weight_only import WEIGHT_ONLY

METHODS: dict[str, QuantizationMethod] = {
    method.name: method for method in (AUTO, STATIC, DYNAMIC, WEIGHT_ONLY)
}

__all__ = ["METHODS", "Measuring", "QuantizationMethod", "Work"]
