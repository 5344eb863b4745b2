"""Why a part of a quantized model still computes in floating point, in words for the user."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence

import onnx

from fulcrum_components.graph import GraphIndex
from fulcrum_components.quantization.coverage import CountedNode, Coverage
from fulcrum_pipelines.evidence import UnquantizedNode

NO_KERNEL = frozenset({"GRU", "RNN", "ConvTranspose"})

BLOCKED = "_nchwc"
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
    dynamic: bool,
    excluded: Sequence[str] = (),
    sensitive: Sequence[str] = (),
) -> tuple[UnquantizedNode, ...]:
    """List the multiplying nodes that stay in floating point, each with its reason.

    Args:
        prepared: The fp32 graph that was quantized.
        coverage: Of the quantized file.
        dynamic: Whether activations are quantized at run time.
        excluded: Nodes that the user excluded.
        sensitive: Nodes that `auto` left out to keep the quality.
    """
    index = GraphIndex(prepared)
    names = {node.name: node for node in prepared.graph.node}
    found = []
    for counted in coverage.nodes:
        if counted.integer:
            continue
        original = names.get(counted.name) or _original(counted, index)
        name = counted.name if original is None else original.name
        op_type = counted.op_type if original is None else original.op_type
        if name in excluded:
            reason = "excluded by the recipe"
        elif name in sensitive:
            reason = "left in fp32 to keep the quality"
        else:
            reason = _reason(op_type, original, index, dynamic)
        found.append(UnquantizedNode(name=name, op_type=op_type, reason=reason))
    return tuple(found)


def _original(counted: CountedNode, index: GraphIndex) -> onnx.NodeProto | None:
    """Find the node that a fused one came from.

    A fused node writes the tensor that the last of its parts wrote, and a blocked convolution is
    called after that tensor; so the search goes up from there.
    """
    tensors = [counted.name.removesuffix(BLOCKED), *reversed(counted.tensors)]
    for _ in range(MAX_FUSED):
        nodes = [index.producers[name] for name in tensors if name in index.producers]
        for node in nodes:
            if node.op_type in counted.op_type:
                return node
        tensors = [name for node in nodes for name in node.input]
    return None


def _reason(op_type: str, original: onnx.NodeProto | None, index: GraphIndex, dynamic: bool) -> str:
    if op_type in NO_KERNEL:
        return f"ONNX Runtime has no int8 kernel for {op_type}"
    if op_type == "LSTM":
        if not dynamic:
            return "ONNX Runtime quantizes LSTM only dynamically (method dynamic or auto)"
        return "its weights are not constant"
    if dynamic and op_type == "Conv":
        return "dynamic convolutions are slower than fp32 in ONNX Runtime; static quantizes them"
    if dynamic and original is not None and not index.is_constant(original.input[1]):
        return "both operands are computed at run time, which only static quantizes"
    return "ONNX Runtime did not fuse it into an int8 kernel"
