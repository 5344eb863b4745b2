"""weightOnly: weights of b bits, simulated, for the accuracy they cost and the size they save.

No CPU kernel multiplies 3-bit weights, so the file that is written computes in fp32 with rounded
weights: its outputs are those of a b-bit model, its speed and its size on disk are not. The size is
accounted for: packed bits, one float32 scale a channel, and everything else as it is.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import onnx

from fulcrum_components.graph import GraphIndex, constants, opset_of, write_graph
from fulcrum_components.quantization.layers import weighted_layers
from fulcrum_components.quantization.methods.definition import QuantizationMethod, Work
from fulcrum_components.quantization.report import simulated_bits
from fulcrum_components.quantization.rounding import Rounding, rounding_for
from fulcrum_components.quantization.selection import make_record
from fulcrum_components.quantization.tables import find_tied_tables, store_once
from fulcrum_components.quantization.weight_share import number_of_weights
from fulcrum_pipelines.errors import QualityError, UserError
from fulcrum_pipelines.evidence import QuantizeDetails

SCALE_BYTES = 4


@dataclass(frozen=True)
class WeightOnly:
    """Result of the rounding.

    Attributes:
        layers: Names of the nodes with rounded weights.
        accounted_bytes: Size that the model would take with its weights packed.
        share: Rounded share of all numbers in the model's constants.
    """

    layers: tuple[str, ...]
    accounted_bytes: int
    share: float


def round_weights(
    model: onnx.ModelProto, rounding: Rounding, bits: int, exclude: Collection[str] = ()
) -> WeightOnly:
    """Round the weights of all layers (and embeddings) in place; biases stay.

    A weight that several nodes share is rounded and counted once, also where one reads it
    transposed, and not at all if one of its readers is excluded.
    """
    tied = find_tied_tables(model)
    index = GraphIndex(model)
    held = {
        name
        for name, readers in index.consumers.items()
        if any(reader.name in exclude for reader in readers)
    }
    for each in tied:
        if held & {each.table, each.weight}:
            held |= {each.table, each.weight}
    saved: dict[str, int] = {}
    nodes: dict[str, None] = {}  # a set in the order of the graph
    for layer in weighted_layers(index):
        if layer.weight in held:
            continue
        nodes[layer.node.name] = None
        if layer.weight in saved:
            continue
        weight = index.constant(layer.weight)
        assert weight is not None  # weighted_layers yields constants only
        rounded, scales = rounding.apply(weight, layer.channel_axes)
        index.set_constant(layer.weight, rounded)
        packed = math.ceil(weight.size * bits / 8) + scales * SCALE_BYTES
        saved[layer.weight] = weight.nbytes - packed
    store_once(model, tied)
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in constants(model.graph)}
    kept = [name for name in saved if name in sizes]
    share = sum(sizes[name] for name in kept) / max(1, number_of_weights(model))
    accounted = model.ByteSize() - sum(saved[name] for name in kept)
    return WeightOnly(tuple(nodes), accounted, share)


def _quantize(work: Work, notes: str) -> QuantizeDetails:
    """Write the simulation of b-bit weights.

    Raises:
        UserError: `bits` is missing.
        QualityError: `minCoverage` asks for integer arithmetic, which this method has none of.
    """
    builder, output, options = work.builder, work.output, work.options
    bits = options.bits
    if bits is None:
        message = "weightOnly needs bits, from 2 to 8"
        raise UserError(message, where="spec.recipe.quantize.bits")
    if options.min_coverage > 0:
        message = "weightOnly computes in floating point, so no minCoverage above 0 can be met"
        raise QualityError(message, where="spec.recipe.quantize.minCoverage")
    rounded = round_weights(builder.model, rounding_for(options, False), bits, builder.excluded)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_graph(builder.model, output)
    name = f"w{bits}-{'per-channel' if options.per_channel else 'per-tensor'}"
    reason = (
        f"{bits}-bit weights of {len(rounded.layers)} layers, simulated in fp32: "
        f"no speed is claimed{notes}"
    )
    record = make_record(
        name,
        reason,
        size_bytes=output.stat().st_size,
        quality=work.quality(output),
        before=work.quality_before,
    )
    return QuantizeDetails(
        chosen=name,
        reason=reason,
        metric=work.measuring.metric,
        candidates=(record.model_copy(update={"kept": True}),),
        int8_coverage=0.0,
        weight_share=rounded.share,
        quantized_nodes=len(rounded.layers),
        bits=bits,
        accounted_bytes=rounded.accounted_bytes,
        opset=opset_of(builder.model),
        layers=simulated_bits(builder.model, rounded.layers, bits),
    )


WEIGHT_ONLY = QuantizationMethod(
    "weightOnly", quantize=_quantize, applies=lambda index: any(weighted_layers(index))
)
