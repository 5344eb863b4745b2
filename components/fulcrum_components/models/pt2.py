"""Programs of `torch.export`, loaded from a cleaned copy of the archive.

torch reads the archive with its own zip reader and trusts it. So it never sees the user's file: we
read the members, check them (see `pt2_checks`), and write an archive of our own that holds just
those.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

from fulcrum_components.equivalence import of_module, require_same
from fulcrum_components.models.checking import (
    Arrays,
    MakeExamples,
    check_forward,
    run_module,
    trial_batches,
)
from fulcrum_components.models.finite import check_program
from fulcrum_components.models.meaning import guess_meaning
from fulcrum_components.models.pt2_checks import payload_problems, program_problems, sanitised
from fulcrum_components.models.pt2_layers import restore_layers
from fulcrum_components.models.pt2_steps import maker_of
from fulcrum_components.models.signature import BATCH, DTYPES, Signature, TensorSpec
from fulcrum_components.models.weights import NEEDS_UNPICKLING
from fulcrum_components.sources.archives import DAMAGE, check_archive
from fulcrum_components.sources.naming import listed
from fulcrum_pipelines.catalog import Meaning
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.texts import reason

PROGRAM = "models/model.json"
WEIGHTS_TABLE = "data/weights/model_weights_config.json"
CONSTANTS_TABLE = "data/constants/model_constants_config.json"
SAMPLE_INPUTS = "data/sample_inputs/model.pt"
PLAIN = ("archive_format", "archive_version", "byteorder", "version", ".data/")
TENSORS = ("data/weights/weight_", "data/constants/tensor_")
NOTES = ("extra/", ".format_version", ".storage_alignment")
"""Members that are left out of the copy without harm."""
TRAINING_SWITCHES = ("aten.dropout.", "aten.feature_dropout.", "aten.alpha_dropout.")
"""Operations whose one truth value is on while training."""


def as_module(program: ExportedProgram) -> torch.nn.Module:
    """Return an exported program as a module in which training and evaluation mode can be set.

    torch's own refuses to switch. The effects of the modes (dropout, batch-norm statistics) were
    fixed when the program was exported; parameters can be trained all the same.
    """
    _rename_clashes(program)
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    # they are instance attributes that raise; without them the class's own methods are back
    del module.train
    del module.eval
    restore_layers(module)
    return module


def _rename_clashes(program: ExportedProgram) -> None:
    """Append `_` to names of parts that clash with a graph module's attributes, in place."""
    targets = [spec.target for spec in program.graph_signature.input_specs if spec.target]
    roots = {target.partition(".")[0] for target in targets}
    taken = {*dir(GraphModule), "meta"}  # meta is an attribute of each instance

    def renamed(name: str) -> str:
        root, dot, rest = name.partition(".")
        if root not in taken:
            return name
        while root in taken | roots:
            root += "_"
        return f"{root}{dot}{rest}"

    if not roots & taken:
        return
    for spec in program.graph_signature.input_specs:
        if spec.target:
            spec.target = renamed(spec.target)
    for tensors in (program.state_dict, program.constants):
        for name in list(tensors):
            tensors[renamed(name)] = tensors.pop(name)


def load_pt2(
    path: Path,
    task: str | None = None,
    examples: MakeExamples | None = None,
    meaning: Meaning | None = None,
) -> tuple[torch.nn.Module, Signature]:
    """Check a `.pt2` file and return its module and signature.

    Args:
        path: The user's file.
        task: What the model is for; it restricts what the first output may hold.
        examples: Gives real inputs to try it on.
        meaning: What the manifest says that it holds.

    Raises:
        UserError: The file is damaged, holds anything that would run code, has weights that are
            not finite or a fixed batch, or does not run.
        QualityError: The module computes something else than the program.
    """
    check_archive(path, str(path))
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "model.pt2"
        _write_clean(path, copy)
        program = _load(copy, path)
    check_program(program, path)
    _check_mode(program, path)
    signature = signature_of(program, path, task, meaning)
    module = as_module(program).eval()
    found = examples(signature) if examples is not None else None
    check_forward(module, signature, path, found)
    _check_same(program, module, signature, found)
    return module, signature


def _check_same(
    program: ExportedProgram, module: torch.nn.Module, signature: Signature, examples: Arrays | None
) -> None:
    """Compare the module that was made of a program with torch's own.

    Raises:
        QualityError: An output differs.
    """

    def call(arrays: Arrays) -> list[npt.NDArray[Any]]:
        return [output.numpy() for output in run_module(module, signature, arrays)]

    own = program.module(check_guards=False)

    def call_own(arrays: Arrays) -> list[npt.NDArray[Any]]:
        return [output.numpy() for output in run_module(own, signature, arrays)]

    require_same(
        "its layers were restored",
        of_module(own, call_own),
        call,
        trial_batches(signature, call, examples),
        [spec.name for spec in signature.outputs],
    )


def _load(copy: Path, path: Path) -> ExportedProgram:
    try:
        return torch.export.load(copy)
    except Exception as error:  # torch raises nearly anything on a program it does not know
        message = (
            f"torch {torch.__version__} does not load it ({reason(error)}); export it again with "
            "this version"
        )
        raise UserError(message, where=str(path)) from None


def _check_mode(program: ExportedProgram, path: Path) -> None:
    """Refuse a program that was exported while training, whose answers are random.

    Raises:
        UserError: Dropout drops.
    """
    for node in program.graph.nodes:
        operation = str(node.target)
        if operation.startswith(TRAINING_SWITCHES) and True in node.args:
            message = (
                f"was exported in training mode ({operation} is active); call .eval() on the "
                "module and export it again"
            )
            raise UserError(message, where=str(path))


def _write_clean(path: Path, copy: Path) -> None:
    """Write the allowed members of `path` to `copy`, the program sanitised.

    Raises:
        UserError: A member is not allowed or damaged, or one is missing.
    """
    try:
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
            names = _members(source, path)
            _check_tables(source, names, path)
            for name, full in names.items():
                if name == PROGRAM:
                    program = json.dumps(sanitised(json.loads(source.read(full)))).encode()
                    target.writestr(f"model/{name}", program)
                else:
                    target.writestr(f"model/{name}", source.read(full))
    except (*DAMAGE, AttributeError, TypeError):  # the latter two: JSON of another shape
        raise UserError("is damaged or truncated", where=str(path)) from None


def _members(source: zipfile.ZipFile, path: Path) -> dict[str, str]:
    """Return the names below the archive's root of the members to keep, with their full names."""
    names: dict[str, str] = {}
    for full in source.namelist():
        name = full.partition("/")[2]
        if name.startswith(NOTES) or full.endswith("/"):
            continue
        allowed = (PROGRAM, WEIGHTS_TABLE, CONSTANTS_TABLE, SAMPLE_INPUTS)
        if name not in allowed and not name.startswith((*PLAIN, *TENSORS)):
            message = f"member '{full}' is not allowed: {_reason(name)}"
            raise UserError(message, where=str(path))
        if name in names:
            raise UserError(f"member '{full}' is there twice", where=str(path))
        names[name] = full
    missing = [name for name in (PROGRAM, WEIGHTS_TABLE) if name not in names]
    if missing:
        message = (
            f"holds no {listed(missing)}; it is no program of torch.export, or one of an old "
            "version of torch; export it again with this version"
        )
        raise UserError(message, where=str(path))
    return names


def _reason(name: str) -> str:
    if name.endswith((".so", ".cpp", ".o", ".cubin")) or "aotinductor" in name:
        return "compiled code runs as it is loaded"
    if name.endswith((".pt", ".pkl")) or "custom_obj" in name or "opaque_obj" in name:
        return f"it {NEEDS_UNPICKLING}"
    return "only one model, model, with its weights and constants is read"


def _check_tables(source: zipfile.ZipFile, names: Mapping[str, str], path: Path) -> None:
    problems = program_problems(json.loads(source.read(names[PROGRAM])))
    for table in (WEIGHTS_TABLE, CONSTANTS_TABLE):
        if table in names:
            problems += payload_problems(json.loads(source.read(names[table])))
    if problems:
        message = f"holds what could run code: {listed(problems, 4)}; it is refused"
        raise UserError(message, where=str(path))
    if SAMPLE_INPUTS in names:
        _check_sample_inputs(source.read(names[SAMPLE_INPUTS]), path)


def _check_sample_inputs(content: bytes, path: Path) -> None:
    """Refuse example inputs that torch would unpickle after its safe reader refused them."""
    try:
        torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # torch raises nearly anything on a damaged file
        message = f"the example inputs are damaged, or of a kind that {NEEDS_UNPICKLING}"
        raise UserError(message, where=str(path)) from None


def signature_of(
    program: ExportedProgram, path: Path, task: str | None = None, said: Meaning | None = None
) -> Signature:
    """Return what an exported program says about its inputs and outputs.

    Axis 0 of the first input is the batch; other dynamic axes go by torch's names (`s27`).

    Raises:
        UserError: An input is no tensor, or the batch is fixed.
    """
    nodes = {node.name: node for node in program.graph.nodes}
    values = {name: node.meta.get("val") for name, node in nodes.items()}
    names = [str(name) for name in program.graph_signature.user_inputs]
    outputs = [str(name) for name in program.graph_signature.user_outputs]
    for name in (*names, *outputs):
        if not isinstance(values.get(name), torch.Tensor):
            message = f"input or output '{name}' is no tensor; only tensors can be served"
            raise UserError(message, where=str(path))
    batch = _batch_symbol(names[0], values[names[0]], path)
    specs = tuple(_spec(name, values[name], batch, path) for name in names)
    for spec in specs:
        if spec.shape[:1] != (BATCH,):
            message = f"input '{spec.name}' is {spec}; its first axis must be the batch"
            raise UserError(message, where=str(path))
    results = tuple(_spec(name, values[name], batch, path) for name in outputs)
    return Signature(specs, results, said or guess_meaning(task, maker_of(program), results[0]))


def _batch_symbol(name: str, value: torch.Tensor, path: Path) -> str:
    size: int | torch.SymInt = value.shape[0] if value.ndim else 1
    if not isinstance(size, torch.SymInt):
        message = (
            f"input '{name}' has its batch fixed to {size}; export the program again with an "
            f'example batch of 2 and dynamic_shapes={{"{name}": {{0: torch.export.Dim("batch")}}}}'
        )
        raise UserError(message, where=str(path))
    return str(size)


def _spec(name: str, value: torch.Tensor, batch: str, path: Path) -> TensorSpec:
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        message = f"'{name}' has the type {dtype}; known are {listed(DTYPES)}"
        raise UserError(message, where=str(path))
    shape = tuple(
        size if isinstance(size, int) else BATCH if str(size) == batch else str(size)
        for size in value.shape
    )
    return TensorSpec(name, shape, dtype)
