"""Newer operator sets for older ONNX graphs, with the same function.

onnx's converter changes what three operators compute. They are corrected here; a comparison of the
upgraded model with the original finds all other changes.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper, version_converter

from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.texts import reason

SAMPLED_OTHERWISE = 11
"""From this operator set on, Resize takes the centres of pixels where it took their corners."""
FLATTENS_NO_MORE = 13
"""From this operator set on, Hardmax looks at one axis where it looked at that and all after it."""


def upgrade(model: onnx.ModelProto, source: int, target: int) -> onnx.ModelProto:
    """Return `model`, of operator set `source`, in operator set `target`.

    Raises:
        UserError: The converter cannot express the graph there.
    """
    original = onnx.ModelProto()
    original.CopyFrom(model)
    if source < FLATTENS_NO_MORE <= target:
        _flatten_hardmax(original.graph, source)
    try:
        upgraded = version_converter.convert_version(original, target)
    except Exception as error:  # the converter raises bare exceptions from C++
        message = (
            f"operator set {source} could not be upgraded to {target} ({reason(error)}); "
            f"export the model with opset {target} or newer"
        )
        raise UserError(message) from None
    if source < SAMPLED_OTHERWISE <= target:
        _sample_as_before(upgraded.graph)
    return upgraded


def _flatten_hardmax(graph: onnx.GraphProto, opset: int) -> None:
    """Put what older Hardmax did to shapes around it: flat up to its axis, then as it was."""
    nodes = []
    for node in graph.node:
        axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
        if node.op_type != "Hardmax" or (axis < 0 and opset < SAMPLED_OTHERWISE):
            nodes.append(node)
            continue
        source, result = node.input[0], node.output[0]
        shape, flat, answer = (f"{result}__{each}" for each in ("shape", "flat", "answer"))
        nodes += [
            helper.make_node("Shape", [source], [shape]),
            helper.make_node("Flatten", [source], [flat], axis=axis),
            helper.make_node("Hardmax", [flat], [answer], axis=1, name=node.name),
            helper.make_node("Reshape", [answer, shape], [result]),
        ]
    del graph.node[:]
    graph.node.extend(nodes)


def _sample_as_before(graph: onnx.GraphProto) -> None:
    """Let each Resize take the pixels that Upsample and the first Resize took.

    Those counted from the corner and, for the nearest, rounded down; the first Resize rounded up
    if it made an image smaller.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = node.attribute[0].t
    for node in graph.node:
        if node.op_type != "Resize":
            continue
        scales = constants.get(node.input[2])
        shrinks = scales is not None and bool(np.all(numpy_helper.to_array(scales) <= 1))
        sampling = {
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "ceil" if shrinks else "floor",
        }
        node.attribute.extend(helper.make_attribute(*each) for each in sampling.items())
