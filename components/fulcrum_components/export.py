"""From a torch module to an ONNX file that is known to compute the same.

Every stage hands on an ONNX file, and what is measured is that file. An exporter that silently
fixes the batch size (it does when the example has batch 1) or drops a branch would make all later
evidence worthless, so the file is compared with torch on shapes that the exporter never saw.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
import torch

from fulcrum_components.blame import blame, user_line
from fulcrum_components.equivalence import Run, of_module, require_same, run_onnx
from fulcrum_components.folding import without_parametrizations
from fulcrum_components.graph import (
    Array,
    clean_graph,
    interface_names,
    name_nodes,
    opset_of,
    refuse_oversized,
    write_graph,
)
from fulcrum_components.models.signature import BATCH, Signature, resized
from fulcrum_components.objective import output_tensors
from fulcrum_components.quiet import quiet
from fulcrum_pipelines.errors import UserError

logger = logging.getLogger(__name__)

OPSET = 20  # the newest whose every operator ONNX Runtime 1.32 runs without conversion
EXAMPLE_BATCH = 2  # with 1 the exporter takes the batch axis for a constant
PROOF_BATCH = 5
NESTED = "_module"
VALUES_NEEDED = ("data-dependent", "DataDependent", "FakeTensor")
"""Words of the exporter's error if Python code needs the value of a tensor."""


def export_onnx(
    module: torch.nn.Module,
    signature: Signature,
    path: Path,
    *,
    example_inputs: Mapping[str, Array],
    opset: int = OPSET,
) -> float:
    """Write `module` as ONNX, with the signature's names and dynamic axes.

    The module is exported in eval mode and left in the mode it was in.

    Args:
        module: Takes the inputs positionally in the signature's order.
        signature: Names, shapes with named dynamic axes, and types.
        path: File to write.
        example_inputs: At least one real example per input, batch first; values matter, since the
            proof runs on them.
        opset: Version of the standard operator set. Where the exporter cannot convert to it, the
            version that it has is kept and logged.

    Returns:
        The largest absolute difference between torch and the file, over all outputs.

    Raises:
        UserError: The module cannot be exported (the message has the exporter's own reason), or
            holds more than the 2 GiB of one file, which is found before it is traced.
        QualityError: The file computes something else than torch.
    """
    refuse_oversized(_state_bytes(module), where="spec.model")
    _refuse_bfloat16(module)
    with eval_mode(module):
        model = _export(module, signature, resized(signature, example_inputs, EXAMPLE_BATCH), opset)
        write_graph(model, path)
        return _prove(module, signature, path, example_inputs)


def _refuse_bfloat16(module: torch.nn.Module) -> None:
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.dtype == torch.bfloat16:
            message = (
                f"'{name}' is bfloat16, which ONNX Runtime does not compute in on CPU; build the "
                "module in float32 and take conversions out of forward (weights that are stored "
                "as bfloat16 are fine)"
            )
            raise UserError(message, where="spec.model")


def _state_bytes(module: torch.nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


@contextlib.contextmanager
def eval_mode(module: torch.nn.Module) -> Iterator[None]:
    """Put `module` into eval mode, every submodule's own mode is restored afterwards.

    The fused inference path of torch's Transformer layers is switched off meanwhile: it has no ONNX
    counterpart, and with padding masks it changes the shape of its output.
    """
    training = {name: part.training for name, part in module.named_modules()}
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    module.eval()
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for name, part in module.named_modules():
            part.training = training[name]


def _export(
    module: torch.nn.Module, signature: Signature, inputs: Mapping[str, Array], opset: int
) -> onnx.ModelProto:
    device = next((tensor.device for tensor in module.parameters()), torch.device("cpu"))
    arguments = tuple(torch.from_numpy(inputs[spec.name]).to(device) for spec in signature.inputs)
    # torch captures an LSTM's or GRU's loop by its compiler, and would take the loop of an earlier
    # export from its cache, with that one's fixed sequence length.
    torch.compiler.reset()
    try:
        with quiet():
            program = torch.onnx.export(
                _Nested(without_parametrizations(module)),
                arguments,
                dynamo=True,
                opset_version=opset,
                input_names=[spec.name for spec in signature.inputs],
                output_names=[spec.name for spec in signature.outputs],
                dynamic_shapes=_dynamic_shapes(signature),
                verbose=False,
                optimize=True,
            )
            assert program is not None  # None only with a file argument
            model = clean_graph(program.model_proto)
    except Exception as error:  # user code, torch.export and the converters: no common base
        message = f"the model cannot be exported to ONNX: {_why(error)}"
        raise UserError(message, where="spec.model") from error
    _take_off_prefix(model.graph)
    _check_interface(model, signature)
    name_nodes(model)
    if opset_of(model) != opset:
        logger.info("exported with opset %d instead of %d", opset_of(model), opset)
    return model


class _Nested(torch.nn.Module):
    """A module as the only part of another.

    The exporter binds arguments to the root's `forward` and puts the root's parts into a class of
    its own. Parts called `code`, `graph` or `meta` clash with that class's attributes, and
    parameters that are keyword-only cannot be bound; one level further down neither matters.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.add_module(NESTED, module)

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Return what the module returns."""
        return self.get_submodule(NESTED)(*inputs)


def _take_off_prefix(graph: onnx.GraphProto) -> None:
    """Name tensors as the module names its parameters, without the level around it; in place.

    The exporter names results after their operators, so a buffer `mean` of the module may meet the
    result of a mean: then the result gets another name.
    """
    names = set(_names(graph))
    interface = {value.name for value in (*graph.input, *graph.output)}
    changes: dict[str, str] = {}
    for name in sorted(names):
        short = name.removeprefix(f"{NESTED}.")
        if short == name or short in interface:
            continue
        if short in names:
            changes[short] = _free(f"{short}.result", names)
        changes[name] = short
    _rename(graph, changes)


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (tensor.name for tensor in graph.initializer)
    for node in graph.node:
        yield from (*node.input, *node.output)
        for inner in _subgraphs(node):
            yield from _names(inner)


def _free(name: str, names: set[str]) -> str:
    """Return `name`, longer if it is one of `names`, and add it to them."""
    while name in names:
        name += "_"
    names.add(name)
    return name


def _rename(graph: onnx.GraphProto, changes: Mapping[str, str]) -> None:
    for value in (*graph.initializer, *graph.value_info):
        value.name = changes.get(value.name, value.name)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [changes.get(name, name) for name in names]
        for inner in _subgraphs(node):
            _rename(inner, changes)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    yield from (each.g for each in node.attribute if each.type == onnx.AttributeProto.GRAPH)


def _why(error: BaseException) -> str:
    """Return why an export failed in one line, with what to do where that is known."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if any(word in f"{type(cause).__name__} {cause}" for word in VALUES_NEEDED):
        return (
            f"{user_line(error)}a branch, loop or size there depends on values of a tensor, which "
            "an exported file cannot follow; use torch.where or a mask instead (for packed "
            "sequences: run the layer on the padded ones, and choose by the lengths afterwards)"
        )
    return blame(error)


def _dynamic_shapes(signature: Signature) -> tuple[tuple[dict[int, Any], ...]]:
    """Build torch.export's dynamic axes; the same name is the same dimension everywhere."""
    dims: dict[str, Any] = {}
    shapes = []
    for spec in signature.inputs:
        axes = {axis: name for axis, name in enumerate(spec.shape) if isinstance(name, str)}
        for name in axes.values():
            dims.setdefault(name, torch.export.Dim(name))
        shapes.append({axis: dims[name] for axis, name in axes.items()})
    return (tuple(shapes),)


def _check_interface(model: onnx.ModelProto, signature: Signature) -> None:
    inputs, outputs = interface_names(model)
    expected_inputs = [spec.name for spec in signature.inputs]
    expected_outputs = [spec.name for spec in signature.outputs]
    if inputs != expected_inputs:
        unused = sorted(set(expected_inputs) - set(inputs))
        message = f"the model does not use its input {', '.join(unused) or expected_inputs}"
        raise UserError(message, where="spec.model")
    if outputs != expected_outputs:
        message = (
            f"the model returns {len(outputs)} outputs, the signature names "
            f"{len(expected_outputs)}: {', '.join(expected_outputs)}"
        )
        raise UserError(message, where="spec.model")
    for value, spec in zip(model.graph.input, signature.inputs, strict=True):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if isinstance(spec.shape[axis], str) and dim.HasField("dim_value"):
                message = (
                    f"the exporter fixes axis {spec.shape[axis]!r} of input {spec.name!r} at "
                    f"{dim.dim_value}, since the model (or an operator such as LSTM) depends on "
                    f"its size; write {dim.dim_value} in the signature instead of the name"
                )
                raise UserError(message, where="spec.model")


def _prove(
    module: torch.nn.Module, signature: Signature, path: Path, examples: Mapping[str, Array]
) -> float:
    """Compare file and module at the example's sizes and others; return the largest difference."""

    def run(inputs: Mapping[str, Array]) -> list[Array]:
        return run_torch(module, signature, inputs)

    return require_same(
        "the export to ONNX",
        of_module(module, run),
        run_onnx(path),
        _proofs(run, signature, examples),
        [spec.name for spec in signature.outputs],
    )


def _proofs(
    run: Run, signature: Signature, examples: Mapping[str, Array]
) -> Iterator[dict[str, Array]]:
    """Yield inputs of several sizes.

    Real examples with another length may be none: lengths and masks then say something that the
    module refuses. So shorter ones are tried, then longer ones; if the module takes
    neither, it takes that one length only.
    """
    for batch in (EXAMPLE_BATCH, PROOF_BATCH):
        yield resized(signature, examples, batch)
    if signature.dynamic_axes == (BATCH,):
        return
    for longer_by in (-1, 1):
        inputs = resized(signature, examples, PROOF_BATCH, longer_by)
        try:
            run(inputs)
        except Exception:  # user code may raise anything
            continue
        yield inputs
        return


def run_torch(
    module: torch.nn.Module, signature: Signature, inputs: Mapping[str, Array]
) -> list[Array]:
    """Run the module on numpy inputs, and return all of its outputs."""
    device = next((tensor.device for tensor in module.parameters()), torch.device("cpu"))
    arguments = [torch.from_numpy(inputs[spec.name]).to(device) for spec in signature.inputs]
    with torch.no_grad():
        result = module(*arguments)
    return [tensor.detach().cpu().numpy() for tensor in output_tensors(result)]
