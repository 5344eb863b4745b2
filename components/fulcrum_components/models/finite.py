"""Which numbers that are not finite break a model, and which are meant.

NaN is never meant. An infinity is: causal masks, limits of a clip, values to pad with or to take a
maximum from hold it, and it is added, compared or chosen there. In what a layer multiplies with, a
trained weight or a statistic of a normalisation, it is the trace of a training that diverged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import external_data_helper, numpy_helper
from torch import nn
from torch.export import ExportedProgram

from fulcrum_components.sources.naming import listed
from fulcrum_pipelines.errors import UserError

MULTIPLYING_NODES = (
    "Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN", "BatchNormalization",
    "LayerNormalization", "InstanceNormalization", "GroupNormalization",
)  # fmt: skip
MULTIPLYING_CALLS = (
    "linear", "matmul", "mm", "bmm", "addmm", "batch_norm", "conv1d", "conv2d", "conv3d",
    "convolution",
)  # fmt: skip
STATISTICS = "running_"
RESHAPING_NODES = ("Transpose", "Reshape", "Identity", "Cast", "Squeeze", "Unsqueeze", "Flatten")


def check_not_nan(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuse tensors that hold NaN.

    Raises:
        UserError: Some do; they are named.
    """
    _refuse_nan((name for name, tensor in tensors.items() if _has(torch.isnan, tensor)), path)


def check_module(module: nn.Module, path: Path) -> None:
    """Refuse a module with infinite weights.

    Trained tensors are weights, and so are all parameters and statistics of torch's own layers;
    other buffers, and frozen parameters of the user's modules, are constants.

    Raises:
        UserError: Some are infinite; they are named.
    """
    infinite = []
    for prefix, layer in module.named_modules(remove_duplicate=False):
        own_layer = type(layer).__module__.startswith("torch.")
        weights = [
            (name, tensor)
            for name, tensor in layer.named_parameters(recurse=False)
            if own_layer or tensor.requires_grad
        ]
        statistics = [
            (name, tensor)
            for name, tensor in layer.named_buffers(recurse=False)
            if own_layer and name.startswith(STATISTICS)
        ]
        infinite += [
            f"{prefix}.{name}".lstrip(".")
            for name, tensor in (*weights, *statistics)
            if _has(torch.isinf, tensor)
        ]
    _refuse_infinite(infinite, path)


def check_program(program: ExportedProgram, path: Path) -> None:
    """Refuse an exported program with NaN, or with infinities where it multiplies.

    Raises:
        UserError: Some tensors have them; they are named.
    """
    constants = {k: v for k, v in program.constants.items() if isinstance(v, torch.Tensor)}
    tensors = {**constants, **program.state_dict}
    check_not_nan(tensors, path)
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    factors = {
        names.get(argument.name, "")
        for node in program.graph.nodes
        if _operation(node) in MULTIPLYING_CALLS
        for argument in node.all_input_nodes
    }
    weights = {k for k, v in tensors.items() if isinstance(v, nn.Parameter) and v.requires_grad}
    infinite = [name for name in tensors if name in weights | factors]
    _refuse_infinite([name for name in infinite if _has(torch.isinf, tensors[name])], path)


def check_graph(model: onnx.ModelProto, path: Path) -> None:
    """Refuse an ONNX graph with NaN, or with infinities where it multiplies.

    Raises:
        UserError: Some tensors have them, or are truncated; they are named.
    """
    nan, infinite = [], set()
    for tensor in external_data_helper._get_all_tensors(model):
        try:
            values = numpy_helper.to_array(tensor)
        except ValueError:
            message = f"the values of tensor '{tensor.name}' are truncated"
            raise UserError(message, where=str(path)) from None
        if np.issubdtype(values.dtype, np.floating):
            if np.isnan(values).any():
                nan.append(tensor.name)
            elif np.isinf(values).any():
                infinite.add(tensor.name)
    _refuse_nan(nan, path)
    if infinite:
        _refuse_infinite(sorted(infinite & _factors(model.graph)), path)


def _factors(graph: onnx.GraphProto) -> set[str]:
    """Return the names of the tensors that are multiplied with, also through a change of shape."""
    nodes = list(_nodes(graph))
    found = {name for node in nodes if node.op_type in MULTIPLYING_NODES for name in node.input}
    for node in reversed(nodes):
        if node.op_type in RESHAPING_NODES and found & set(node.output):
            found.update(node.input)
    return found


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield all nodes, those of subgraphs too."""
    for node in graph.node:
        yield node
        for entry in node.attribute:
            if entry.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(entry.g)


def _operation(node: torch.fx.Node) -> str:
    """Return for instance `linear` for a call of aten.linear.default."""
    return str(node.target).removeprefix("aten.").lstrip("_").partition(".")[0]


def _has(test: Callable[[torch.Tensor], torch.Tensor], tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and bool(test(tensor).any())


def _refuse_nan(names: Iterable[str], path: Path) -> None:
    if names := list(names):
        message = (
            f"weights are not finite: NaN in {listed(names)}; the training that made them "
            "diverged, give weights from before"
        )
        raise UserError(message, where=str(path))


def _refuse_infinite(names: list[str], path: Path) -> None:
    if names:
        message = (
            f"weights are not finite: infinity in {listed(names)}; an infinity that is meant (a "
            "mask) belongs into a buffer, which is added and not multiplied with"
        )
        raise UserError(message, where=str(path))
