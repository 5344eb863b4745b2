"""The operations of an exported program by the names that `meaning` knows, which are ONNX's."""

from __future__ import annotations

from torch.export import ExportedProgram
from torch.fx import Node

from fulcrum_components.models.meaning import Step, StepFinder

NAMES = {
    "amax": "max",
    "amin": "min",
    "cat": "concat",
    "clamp_max": "clip",
    "clamp_min": "clip",
    "hstack": "concat",
    "index": "gather",
    "index_select": "gather",
    "lift_fresh_copy": "identity",
    "linalg_vector_norm": "reducel1",
    "log_sigmoid": "logsigmoid",
    "log_softmax": "logsoftmax",
    "maximum": "max",
    "mean": "reducemean",
    "minimum": "min",
    "multiply": "mul",
    "narrow": "slice",
    "numpy_T": "transpose",
    "permute": "transpose",
    "ravel": "reshape",
    "reshape_as": "reshape",
    "stack": "concat",
    "subtract": "sub",
    "sum": "reducesum",
    "swapaxes": "transpose",
    "t": "transpose",
    "to_copy": "cast",
    "true_divide": "div",
    "type_as": "cast",
    "unsafe_view": "reshape",
    "view": "reshape",
    "view_as": "reshape",
}
"""Names of aten that differ, without leading and trailing underscores."""


def maker_of(program: ExportedProgram) -> StepFinder:
    """Return who makes which tensor of `program`."""
    nodes = {node.name: node for node in program.graph.nodes}

    def step(name: str) -> Step | None:
        node = nodes[name]
        return _step(node) if node.op == "call_function" else None

    return step


def _step(node: Node) -> Step:
    aten = str(node.target).removeprefix("aten.").partition(".")[0].strip("_")
    name, inputs = NAMES.get(aten, aten), _inputs(node.args)
    if aten in ("clamp", "clip", "hardtanh"):
        return Step(_clip(node), inputs)
    if aten == "rsub":  # other - self
        return Step("sub", inputs[1::-1])
    return Step(name, inputs)


def _inputs(arguments: object) -> tuple[str | None, ...]:
    """Return the tensors of the arguments, those of a list in its place; None for a number."""
    found: list[str | None] = []
    for each in arguments if isinstance(arguments, tuple | list) else (arguments,):
        if isinstance(each, Node):
            constant = each.op == "get_attr" or each.name.startswith(("c_", "p_", "b_"))
            found.append(None if constant and each.op != "call_function" else each.name)
        elif isinstance(each, tuple | list):
            found += _inputs(each)
        else:
            found.append(None)
    return tuple(found)


def _clip(node: Node) -> str:
    low, high = (node.args[at] if len(node.args) > at else None for at in (1, 2))
    bounded = isinstance(low, int | float) and isinstance(high, int | float)
    return "unitclip" if bounded and 0 <= low < high <= 1 else "clip"  # type: ignore[operator]
