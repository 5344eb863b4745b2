"""The result for each layer: its bits, and the reason why a part still computes in floating point.

ONNX Runtime renames what it fuses, so a node of the optimised graph is led back to the node of the
fp32 graph that the user knows.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence

import onnx

from fulcrum_components.graph import GraphIndex
from fulcrum_components.quantization.building import QuantizationScheme
from fulcrum_components.quantization.coverage import CountedNode, Coverage
from fulcrum_components.quantization.layers import weighted_layers
from fulcrum_pipelines.evidence import LayerBits, UnquantizedNode

NO_KERNEL = frozenset({"GRU", "RNN", "ConvTranspose"})

SUFFIXES = ("_nchwc", "_quantized", "_QuantizeLinear_Output", "_Transposed")
"""Suffixes that ONNX Runtime appends to names of tensors, the last appended first."""
ROUNDED = "held in fewer bits, multiplied in floating point"
SIMULATED = "simulated: the file holds the rounded values as float32"
MAX_FUSED = 4  # convolution, batch norm or bias, addition, activation


def matching_nodes(model: onnx.ModelProto, patterns: Iterable[str]) -> tuple[str, ...]:
    """List the nodes whose name matches one of the patterns (`*` is a wildcard)."""
    wanted = tuple(patterns)
    names = [node.name for node in model.graph.node]
    return tuple(
        name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted)
    )


def unquantized_nodes(
    prepared: onnx.ModelProto,
    coverage: Coverage,
    *,
    kind: QuantizationScheme,
    excluded: Sequence[str],
    sensitive: Sequence[str],
    held: Mapping[str, str],
) -> tuple[UnquantizedNode, ...]:
    """List the multiplying nodes that stay in floating point, each with its reason.

    Args:
        prepared: The fp32 graph that was quantized.
        coverage: Of the quantized file.
        kind: How the candidate was quantized.
        excluded: Nodes that the user excluded.
        sensitive: Nodes that `auto` left out to keep the quality.
        held: Nodes that were left out by rule, each with its reason.
    """
    index = GraphIndex(prepared)
    found = []
    for counted in coverage.nodes:
        if counted.integer:
            continue
        original = _original(counted, index)
        name = counted.name if original is None else original.name
        op_type = counted.op_type if original is None else original.op_type
        if name in excluded:
            reason = "excluded by the recipe"
        elif name in sensitive:
            reason = "left in fp32 to keep the quality"
        elif name in held:
            reason = held[name]
        else:
            reason = _reason(op_type, original, index, kind)
        found.append(UnquantizedNode(name=name, op_type=op_type, reason=reason))
    return tuple(found)


def layer_bits(source: onnx.ModelProto, coverage: Coverage) -> tuple[LayerBits, ...]:
    """List the precision of every layer of a model, in the order in which it runs.

    Args:
        source: The fp32 graph, for the names that the user knows.
        coverage: Of the file that is described.
    """
    index = GraphIndex(source)
    weights = {layer.node.name: layer.weight for layer in reversed(list(weighted_layers(index)))}
    return tuple(_layer(counted, index, weights) for counted in _in_order(coverage, index))


def simulated_bits(
    source: onnx.ModelProto, layers: Sequence[str], bits: int
) -> tuple[LayerBits, ...]:
    """List the precision of the layers of a weight-only model.

    Args:
        source: The graph with rounded weights.
        layers: Names of the nodes whose weights were rounded.
        bits: To how many bits.
    """
    found: dict[str, LayerBits] = {}
    for layer in weighted_layers(GraphIndex(source)):
        name, rounded = layer.node.name, layer.node.name in layers
        record = LayerBits(
            layer=name,
            op_type=layer.node.op_type,
            weights=layer.weight,
            weight_bits=bits if rounded else 32,
            activation_bits=None if layer.node.op_type == "Gather" else 32,
            integer=False,
            note=SIMULATED if rounded else "",
        )
        found.setdefault(name, record)  # a recurrent node has two weights
    return tuple(found.values())


def _in_order(coverage: Coverage, index: GraphIndex) -> list[CountedNode]:
    """Sort by place in the fp32 graph; what cannot be found there goes last."""
    places = {node.name: place for place, node in enumerate(index.model.graph.node)}

    def place(counted: CountedNode) -> int:
        original = _original(counted, index)
        return len(places) if original is None else places[original.name]

    return sorted((*coverage.lookups, *coverage.nodes), key=place)


def _layer(counted: CountedNode, index: GraphIndex, weights: dict[str, str]) -> LayerBits:
    original = _original(counted, index)
    name = counted.name if original is None else original.name
    fewest = min(counted.weight_bits or 32, counted.activation_bits or 32)
    return LayerBits(
        layer=name,
        op_type=counted.op_type if original is None else original.op_type,
        weights=weights.get(name, ""),
        weight_bits=counted.weight_bits,
        activation_bits=counted.activation_bits,
        integer=counted.integer,
        note=ROUNDED if fewest < 32 and not counted.integer else "",
    )


def _original(counted: CountedNode, index: GraphIndex) -> onnx.NodeProto | None:
    """Find the node that one of the optimised graph came from: by name, weight, or tensors."""
    named = next((node for node in index.model.graph.node if node.name == counted.name), None)
    return named or _by_weight(counted, index) or _by_tensors(counted, index)


def _by_weight(counted: CountedNode, index: GraphIndex) -> onnx.NodeProto | None:
    """Find the one layer that reads the same weights."""
    for name in map(_plain, counted.tensors):
        readers = index.consumers.get(name, ()) if index.is_constant(name) else ()
        if len(readers) == 1:
            return readers[0]
    return None


def _by_tensors(counted: CountedNode, index: GraphIndex) -> onnx.NodeProto | None:
    """Find it above what it writes.

    A fused node writes the tensor that the last of its parts wrote, and a blocked convolution is
    called after that tensor; so the search goes up from there.
    """
    tensors = [_plain(name) for name in (counted.name, *reversed(counted.tensors))]
    for _ in range(MAX_FUSED):
        nodes = [index.producers[name] for name in tensors if name in index.producers]
        for node in nodes:
            if node.op_type in counted.op_type:
                return node
        tensors = [name for node in nodes for name in node.input]
    return None


def _plain(name: str) -> str:
    """Take off what ONNX Runtime has appended."""
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _reason(
    op_type: str, original: onnx.NodeProto | None, index: GraphIndex, kind: QuantizationScheme
) -> str:
    if op_type in NO_KERNEL:
        return f"ONNX Runtime has no int8 kernel for {op_type}"
    if op_type == "LSTM":
        if kind == "static":
            return "ONNX Runtime quantizes LSTM only dynamically (method dynamic or auto)"
        if original is None or not all(map(index.is_constant, original.input[1:3])):
            return "its weights are not constant"
    if kind == "dynamic" and op_type == "Conv":
        return "dynamic convolutions are slower than fp32 in ONNX Runtime; static quantizes them"
    at_run_time = kind == "dynamic" or (kind == "mixed" and op_type == "MatMul")
    if at_run_time and original is not None and not index.multiplies_by_constant(original):
        return "both operands are computed at run time, which only static quantizes"
    return "ONNX Runtime did not fuse it into an int8 kernel"
