"""Plain ONNX files: checked, made self-contained, upgraded where they are too old.

The result is one file without references to other files, with an operator set that the rest
of Fulcrum knows, and proven to run on more than one size of batch.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import onnx
from onnx import external_data_helper, numpy_helper, shape_inference

from fulcrum_components.equivalence import of_onnx, require_same, run_onnx
from fulcrum_components.models.checking import (
    Arrays,
    MakeExamples,
    axis_sizes,
    check_outputs,
    trial_batches,
)
from fulcrum_components.models.finite import check_graph
from fulcrum_components.models.meaning import Step, StepFinder, guess_meaning
from fulcrum_components.models.signature import BATCH, DTYPES, Signature, TensorSpec
from fulcrum_components.models.upgrading import upgrade
from fulcrum_components.sources.digest import file_digest
from fulcrum_components.sources.naming import listed
from fulcrum_pipelines.catalog import Meaning
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.texts import reason

MIN_OPSET = 17
"""Older operator sets are upgraded to this one."""

STANDARD = ("", "ai.onnx")


def onnx_digest(path: Path) -> str:
    """Return the digest of an ONNX file, which covers its external data where it has some.

    Without external data it is the SHA-256 of the file. With, it is that of the sorted lines
    (relative path, SHA-256) of all files, as for a bundle.
    """
    names = _external_files(_parse(path), path)
    if not names:
        return file_digest(path)
    lines = sorted(f"{name} {file_digest(path.parent / name)}\n" for name in (path.name, *names))
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def load_onnx(
    path: Path,
    *,
    cache_dir: Path,
    task: str | None = None,
    examples: MakeExamples | None = None,
    meaning: Meaning | None = None,
) -> tuple[Path, Signature, tuple[str, ...]]:
    """Check an ONNX file and return a self-contained one, its signature, and what was changed.

    Args:
        path: The user's file.
        cache_dir: Directory for a changed file.
        task: The model's task; it restricts the meaning of the first output.
        examples: Gives real inputs to try it on.
        meaning: What the manifest says that it holds.

    Raises:
        UserError: The file is damaged, breaks the standard, reads files it must not, has weights
            that are not finite, a fixed batch, or does not run.
    """
    model = _parse(path)
    external = _external_files(model, path)
    _check(path)
    if external:
        external_data_helper.load_external_data_for_model(model, str(path.parent))
    check_graph(model, path)
    notes = [f"external data ({listed(external)}) was put into the ONNX file"] if external else []
    opset = _opset(model, path)
    if opset < MIN_OPSET:
        with _naming(path):
            model = upgrade(model, opset, MIN_OPSET)
        notes.append(f"the operator set was upgraded from {opset} to {MIN_OPSET}")
    ready = _saved(model, path, cache_dir) if notes else path
    signature = signature_of(model, path, task, meaning)
    found = examples(signature) if examples is not None else None
    batches = _check_run(ready, signature, path, found)
    if notes:
        _check_same(path, ready, batches, signature, " and ".join(notes))
    return ready, signature, tuple(notes)


def _parse(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception:  # protobuf's own exception class is not public
        raise UserError("is no ONNX file, or is truncated", where=str(path)) from None
    if not model.graph.node:
        message = "holds no graph; it is no ONNX file, or is truncated"
        raise UserError(message, where=str(path))
    return model


def _external_files(model: onnx.ModelProto, path: Path) -> list[str]:
    """Return the names of the files that hold tensors, each of them beside the model."""
    names: set[str] = set()
    for tensor in external_data_helper._get_all_tensors(model):
        if external_data_helper.uses_external_data(tensor):
            location = external_data_helper.ExternalDataInfo(tensor).location
            names.add(_inside(path, location, tensor.name))
    return sorted(names)


def _inside(path: Path, location: str, tensor: str) -> str:
    parts = PurePosixPath(location).parts
    folder = path.parent.resolve()
    try:
        file = (folder / location).resolve()
        there = file.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, links without end
        message = f"tensor '{tensor}' refers to {location[:80]!r}, which cannot be a file"
        raise UserError(f"{message}: {error.args[-1]}", where=str(path)) from None
    if not location or ".." in parts or not file.is_relative_to(folder):
        message = f"tensor '{tensor}' refers to '{location}', outside of the model's directory"
        raise UserError(message, where=str(path))
    if not there:
        message = f"tensor '{tensor}' is in the file '{location}', which is not beside the model"
        raise UserError(message, where=str(path))
    return location


def _check(path: Path) -> None:
    try:
        onnx.checker.check_model(str(path))
    except Exception as error:
        message = f"breaks the ONNX standard: {reason(error)}"
        raise UserError(message, where=str(path)) from None


def _opset(model: onnx.ModelProto, path: Path) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in STANDARD]
    if not versions:
        raise UserError("imports no standard operator set", where=str(path))
    return int(max(versions))


def _saved(model: onnx.ModelProto, path: Path, cache_dir: Path) -> Path:
    """Write a changed model into the cache, named by its content."""
    try:
        content = model.SerializeToString(deterministic=True)
    except Exception:
        message = "is larger than the 2 GiB that one ONNX file without external data can hold"
        raise UserError(message, where=str(path)) from None
    target = cache_dir / "onnx" / hashlib.sha256(content).hexdigest() / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(target)
    return target


def signature_of(
    model: onnx.ModelProto, path: Path, task: str | None = None, said: Meaning | None = None
) -> Signature:
    """Return what the graph says about its inputs and outputs.

    Axis 0 of the first input is the batch, under any name; axes without a name get
    one.

    Raises:
        UserError: A batch axis is fixed, or a type is not known.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if not inputs:
        raise UserError("the graph has no inputs", where=str(path))
    batch = _batch_name(inputs[0], path)
    specs = tuple(_spec(value, batch, path) for value in inputs)
    for spec in specs:
        if not spec.shape or spec.shape[0] != BATCH:
            message = (
                f"input '{spec.name}' is {spec}; its first axis must be the same dynamic batch "
                "axis as that of the first input"
            )
            raise UserError(message, where=str(path))
    outputs = tuple(_spec(value, batch, path) for value in _inferred(model).graph.output)
    meaning = said or guess_meaning(task, _maker(model.graph), outputs[0])
    return Signature(specs, outputs, meaning)


def _maker(graph: onnx.GraphProto) -> StepFinder:
    """Return who makes which tensor of `graph`, for finding what its output means."""
    nodes = {name: node for node in graph.node for name in node.output if name}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for name, node in nodes.items():
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[name] = node.attribute[0].t

    def step(name: str) -> Step | None:
        node = nodes.get(name)
        if node is None:
            return None
        inputs = tuple(None if each in constants else each or None for each in node.input)
        return Step(_operation(node, constants), inputs)

    return step


def _operation(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> str:
    """Return the name of a node's operation as `meaning` knows it."""
    name = node.op_type.lower()
    given = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    transform = given.get("post_transform", b"NONE").decode()
    if node.domain == "ai.onnx.ml" and transform in ("LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"):
        return "softmax"
    if name == "normalizer":
        return name if given.get("norm") == b"L1" else "scaled"
    if name == "clip":
        low, high = (
            float(numpy_helper.to_array(constants[node.input[at]]))
            if len(node.input) > at and node.input[at] in constants
            else given.get(bound, unbounded)
            for at, bound, unbounded in ((1, "min", -np.inf), (2, "max", np.inf))
        )
        return "unitclip" if 0 <= low < high <= 1 else name
    return name


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return shape_inference.infer_shapes(model)
    except Exception:  # without inference, shapes are as far as the graph declares them
        return model


def _batch_name(value: Any, path: Path) -> str:
    """Return the graph's own name of the batch axis, empty if it has none."""
    dimensions = value.type.tensor_type.shape.dim
    if dimensions and dimensions[0].HasField("dim_value"):
        message = (
            f"input '{value.name}' has its batch fixed to {dimensions[0].dim_value}; export the "
            "model again with an example batch of 2 and a dynamic first axis"
        )
        raise UserError(message, where=str(path))
    return str(dimensions[0].dim_param) if dimensions else ""


def _spec(value: Any, batch: str, path: Path) -> TensorSpec:
    tensor = value.type.tensor_type
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    except (KeyError, TypeError):
        dtype = "no tensor"
    if dtype not in DTYPES:
        message = f"'{value.name}' has the type {dtype}; known are {listed(DTYPES)}"
        raise UserError(message, where=str(path))
    shape = tuple(
        _size(dimension, axis, value.name, batch) for axis, dimension in enumerate(tensor.shape.dim)
    )
    return TensorSpec(value.name, shape, dtype)


def _size(dimension: Any, axis: int, name: str, batch: str) -> int | str:
    if dimension.HasField("dim_value"):
        return int(dimension.dim_value)
    if axis == 0 or (batch and dimension.dim_param == batch):
        same = not dimension.dim_param or dimension.dim_param == batch
        return BATCH if same else str(dimension.dim_param)
    return str(dimension.dim_param) or f"{name}_axis{axis}"


def _check_run(
    ready: Path, signature: Signature, path: Path, examples: Arrays | None
) -> list[dict[str, np.ndarray[Any, Any]]]:
    """Run the file on two sizes of batch, compare its outputs with the signature, return both."""
    with _naming(path):
        call = run_onnx(ready)

    def run(arrays: Arrays) -> tuple[Any, ...]:
        with _naming(path):
            return tuple(call(arrays))

    batches = trial_batches(signature, run, examples)
    for arrays in batches:
        check_outputs(run(arrays), signature.outputs, axis_sizes(signature, arrays), str(path))
    return batches


def _check_same(
    path: Path, ready: Path, batches: Sequence[Arrays], signature: Signature, step: str
) -> None:
    """Compare the file with what was made of it.

    Raises:
        UserError: ONNX Runtime does not run it as it came, so nothing can be compared.
        QualityError: An output differs.
    """
    advice = f"export the model with opset {MIN_OPSET} or newer"
    try:
        before = of_onnx(path)
    except UserError as error:
        message = f"cannot be compared with the file as it came ({error.message}); {advice}"
        raise UserError(f"{step}: this {message}", where=str(path)) from None
    names = [spec.name for spec in signature.outputs]
    require_same(step, before, run_onnx(ready), batches, names, advice=advice)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name `path` in the errors of what runs inside."""
    try:
        yield
    except UserError as error:
        raise UserError(error.message, where=str(path)) from None
