"""Reading, cleaning and running ONNX graphs: what export and quantization share.

ONNX files come from users too, so every failure of the `onnx` package or of ONNX Runtime on a file
turns into an error that names the file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

from fulcrum_components.models.upgrading import upgrade
from fulcrum_components.quiet import quiet
from fulcrum_components.sessions import session_options
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.texts import reason

Array = np.ndarray[Any, np.dtype[Any]]

MAX_PROTOBUF_BYTES = 2**31 - 1
"""ONNX Runtime's quantizers and the comparison with torch need a model in one protobuf message."""
STANDARD = ("", "ai.onnx")
MIN_OPSET = 13  # per-channel QuantizeLinear, and axes as inputs of Squeeze and ReduceSum


def read_graph(path: Path) -> onnx.ModelProto:
    """Load and check an ONNX file.

    Raises:
        UserError: The file is missing, too large, truncated, not ONNX, or breaks the standard.
    """
    if not path.is_file():
        message = "no such ONNX file"
        raise UserError(message, where=str(path))
    refuse_oversized(path.stat().st_size, where=str(path))
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf, checker and file errors share no base class
        message = f"is not a readable ONNX model ({reason(error)}); export it again"
        raise UserError(message, where=str(path)) from error
    if not model.graph.node:
        message = "holds a graph without nodes (a truncated or empty file?); export it again"
        raise UserError(message, where=str(path))
    return model


def write_graph(model: onnx.ModelProto, path: Path) -> None:
    """Save `model` as one self-contained file.

    Raises:
        UserError: It would exceed the 2 GiB that one protobuf file can hold.
    """
    refuse_oversized(model.ByteSize(), where=str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))


def refuse_oversized(size_bytes: int, where: str) -> None:
    """Refuse a model that no single ONNX file can hold, before any work is done on it.

    Raises:
        UserError: It has more than 2 GiB.
    """
    if size_bytes > MAX_PROTOBUF_BYTES:
        message = (
            f"the model takes {size_bytes / 2**30:.2f} GiB; an ONNX file without external data "
            "holds less than 2 GiB; give a smaller model"
        )
        raise UserError(message, where=where)


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the standard operator set."""
    return max(int(entry.version) for entry in model.opset_import if entry.domain in STANDARD)


def upgrade_opset(model: onnx.ModelProto, opset: int = MIN_OPSET) -> onnx.ModelProto:
    """Convert an older graph to `opset`; a graph that is new enough is returned as it is.

    Raises:
        UserError: The converter cannot express the graph in the newer opset.
    """
    source = opset_of(model)
    return model if source >= opset else upgrade(model, source, opset)


def clean_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants and remove what does nothing, keeping names of inputs and outputs.

    Folding matters to quantization: the exporter builds LSTM weights from slices, which the
    quantizer would take for run-time values and skip without a word.
    """
    # Imported here, since they take seconds and most users of this module do not clean.
    import onnxscript.optimizer
    import onnxslim

    with quiet():
        folded = onnxscript.optimizer.optimize(model)
        try:
            slim = onnxslim.slim(folded)
            onnx.checker.check_model(slim)
        except Exception:
            return folded
    same_interface = interface_names(slim) == interface_names(model)
    return slim if same_interface else folded


def interface_names(model: onnx.ModelProto) -> tuple[list[str], list[str]]:
    """Return the names of the inputs that are fed, and of the outputs."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in constants]
    return inputs, [value.name for value in model.graph.output]


def name_nodes(model: onnx.ModelProto) -> None:
    """Give every node without a name (or with a used one) a unique name, in place."""
    seen: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{index}"
        seen.add(node.name)


def sort_nodes(model: onnx.ModelProto) -> None:
    """Put every node after those that it reads from, also from inside a subgraph; in place.

    ONNX demands it, ONNX Runtime does not: its quantizer appends nodes that a Loop's body reads.
    """
    nodes = {name: node for node in model.graph.node for name in node.output if name}
    ordered: list[onnx.NodeProto] = []
    done: set[int] = set()

    def visit(start: onnx.NodeProto) -> None:
        stack = [(start, False)]
        while stack:
            node, inputs_done = stack.pop()
            if id(node) in done:
                continue
            if inputs_done:
                done.add(id(node))
                ordered.append(node)
                continue
            stack.append((node, True))
            stack.extend((nodes[name], False) for name in _all_inputs(node) if name in nodes)

    for node in nodes.values():
        visit(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del model.graph.node[:]
    model.graph.node.extend(copies)


class GraphIndex:
    """Who makes and who reads each tensor of a graph, and the values of its constants."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.outputs = {value.name for value in model.graph.output}
        self.producers: dict[str, onnx.NodeProto] = {}
        self.consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        self._initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in model.graph.node:
            for name in node.output:
                self.producers[name] = node
            for name in _all_inputs(node):
                self.consumers[name].append(node)

    def constant(self, name: str) -> Array | None:
        """Return the value of initializer or Constant node `name`, else None."""
        tensor = self._initializers.get(name)
        if tensor is None:
            producer = self.producers.get(name)
            if producer is None or producer.op_type != "Constant":
                return None
            tensor = attribute(producer, "value", None)
            if tensor is None:
                return None
        return numpy_helper.to_array(tensor)

    def is_constant(self, name: str) -> bool:
        """Return whether `name` is a constant, without converting the tensor."""
        producer = self.producers.get(name)
        return name in self._initializers or (
            producer is not None and producer.op_type == "Constant"
        )

    def multiplies_by_constant(self, node: onnx.NodeProto) -> bool:
        """Return whether the node's second input, where products have their weight, is constant."""
        return len(node.input) > 1 and self.is_constant(node.input[1])

    def only_consumer(self, name: str) -> onnx.NodeProto | None:
        """Return the one node that reads `name`; None if several do, or it leaves the graph."""
        readers = self.consumers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def set_constant(self, name: str, value: Array) -> None:
        """Replace the value of constant `name`, in place."""
        tensor = self._initializers.get(name)
        if tensor is None:
            tensor = next(entry.t for entry in self.producers[name].attribute)
        tensor.CopyFrom(numpy_helper.from_array(value, name))

    def add_constant(self, name: str, value: Array) -> None:
        """Add a new initializer."""
        self.model.graph.initializer.append(numpy_helper.from_array(value, name))
        self._initializers[name] = self.model.graph.initializer[-1]


def constants(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield the constants of a graph and of those inside it."""
    yield from graph.initializer
    for node in graph.node:
        for entry in node.attribute:
            if entry.type == onnx.AttributeProto.TENSOR and node.op_type == "Constant":
                tensor = onnx.TensorProto()
                tensor.CopyFrom(entry.t)
                tensor.name = node.output[0]
                yield tensor
            elif entry.type == onnx.AttributeProto.GRAPH:
                yield from constants(entry.g)


def _all_inputs(node: onnx.NodeProto) -> Iterator[str]:
    """Yield what a node reads, including from inside its subgraphs (Loop, If)."""
    yield from (name for name in node.input if name)
    for entry in node.attribute:
        if entry.type == onnx.AttributeProto.GRAPH:
            for inner in entry.g.node:
                yield from _all_inputs(inner)


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """Return the value of an attribute, or `default` where it is absent."""
    for entry in node.attribute:
        if entry.name == name:
            return onnx.helper.get_attribute_value(entry)
    return default


def open_session(
    model: Path | onnx.ModelProto,
    *,
    threads: int = 1,
    level: ort.GraphOptimizationLevel = ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    optimized_path: Path | None = None,
) -> ort.InferenceSession:
    """Open a CPU session of a file or a graph, at any level of optimisation.

    Args:
        model: File or graph.
        threads: Intra-op threads.
        level: Graph optimisation.
        optimized_path: File for the optimised graph, if wanted.

    Raises:
        UserError: ONNX Runtime refuses the graph.
    """
    options = session_options(threads)
    options.graph_optimization_level = level
    if optimized_path is not None:
        options.optimized_model_filepath = str(optimized_path)
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    try:
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ORT's exception classes share no public base
        where = str(model) if isinstance(model, Path) else ""
        message = f"ONNX Runtime cannot load the model ({reason(error)})"
        raise UserError(message, where=where) from error


def run_session(
    session: ort.InferenceSession, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None
) -> list[Array]:
    """Run one batch.

    Raises:
        UserError: The model refuses these inputs (names, types or shapes).
    """
    try:
        return list(session.run(None if outputs is None else list(outputs), dict(inputs)))
    except Exception as error:  # ORT's exception classes share no public base
        message = f"the ONNX model does not take this input ({reason(error)})"
        raise UserError(message) from error
