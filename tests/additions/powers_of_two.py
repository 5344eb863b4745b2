"""Weights rounded to powers of two, simulated in fp32: the example of a quantization method."""

from __future__ import annotations

import numpy as np

from fulcrum_components.graph import Array, GraphIndex, opset_of, write_graph
from fulcrum_components.quantization.layers import weighted_layers
from fulcrum_components.quantization.methods.definition import QuantizationMethod, Work
from fulcrum_components.quantization.selection import make_record
from fulcrum_components.quantization.weight_share import number_of_weights
from fulcrum_pipelines.evidence import QuantizeDetails


def _rounded(weight: Array) -> Array:
    exponents = np.rint(np.log2(np.where(weight == 0, 1, np.abs(weight))))
    rounded: Array = (np.sign(weight) * 2.0**exponents).astype(weight.dtype)
    return rounded


def _quantize(work: Work, notes: str) -> QuantizeDetails:
    """Round the weights of all layers, and write the graph."""
    model = work.builder.model
    index, rounded = GraphIndex(model), {}
    for layer in weighted_layers(index):
        weight = index.constant(layer.weight)
        assert weight is not None  # weighted_layers yields constants only
        rounded[layer.weight] = _rounded(weight)
    for name, weight in rounded.items():
        index.set_constant(name, weight)
    write_graph(model, work.output)
    reason = f"weights are powers of two, simulated in fp32{notes}"
    record = make_record(
        "powers-of-two",
        reason,
        size_bytes=work.output.stat().st_size,
        quality=work.quality(work.output),
        before=work.quality_before,
    )
    return QuantizeDetails(
        chosen=record.name,
        reason=reason,
        metric=work.measuring.metric,
        candidates=(record.model_copy(update={"kept": True}),),
        int8_coverage=0.0,
        weight_share=sum(each.size for each in rounded.values()) / number_of_weights(model),
        quantized_nodes=len(rounded),
        opset=opset_of(model),
    )


POWERS_OF_TWO = QuantizationMethod(
    "powersOfTwo", quantize=_quantize, applies=lambda index: any(weighted_layers(index))
)
