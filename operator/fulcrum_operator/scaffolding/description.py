"""Describe a model file, without torch or onnx in this process.

Code beside a file of weights runs in a separate process too.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fulcrum_pipelines.errors import InfrastructureError, UserError

SAFETENSORS = ".safetensors"
WEIGHTS = (SAFETENSORS, ".pt", ".pth", ".bin")
PROGRAM = ".pt2"
MODELS = (".onnx", PROGRAM)
LARGEST_HEADER_BYTES = 100_000_000  # the limit of the format itself
PATIENCE_S = 300
DESCRIBE = "fulcrum_components.models.describe"
DTYPES = {"F16": "float16", "F32": "float32", "F64": "float64", "BF16": "bfloat16"}


@dataclass(frozen=True)
class Tensor:
    """A weight, an input or an output."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str

    @property
    def text(self) -> str:
        """For instance `float32[batch, 16]`."""
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Description:
    """Description of a model: its weights only, or its inputs and outputs.

    Attributes:
        tensors: The weights, for a file of weights.
        inputs: Empty if they are not known.
        outputs: Empty if they are not known.
        meaning: Of the first output.
        entry_point: Code beside the weights that builds their module; empty without such code.
        files: The Python files of that code, relative to the directory of the weights.
        doubts: What a person must decide, by field (`inputs`, `meaning`).
        problems: Why the entry point, or inputs and outputs, are not known.
    """

    tensors: tuple[Tensor, ...] = ()
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    meaning: str = "logits"
    entry_point: str = ""
    files: tuple[str, ...] = ()
    doubts: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def describe(path: Path) -> Description:
    """Return what is in the model file `path`.

    Raises:
        UserError: It is missing, of an unknown kind, or damaged.
        InfrastructureError: Reading this kind needs what is not installed here.
    """
    if not path.is_file():
        what = "is a directory; name a file" if path.is_dir() else "no such file"
        raise UserError(what, where=str(path))
    if path.suffix == SAFETENSORS:
        tensors = read_safetensors_header(path)
        if not any(path.parent.glob("*.py")):
            return Description(tensors=tensors)
        try:
            return _parsed(_ask(path))
        except InfrastructureError as error:  # report what is readable without torch
            return Description(tensors=tensors, problems=(str(error),))
    if path.suffix in (*WEIGHTS, *MODELS):
        return _parsed(_ask(path))
    known = ", ".join((*WEIGHTS, *MODELS))
    message = f"'{path.suffix}' is no known kind of model file; known are {known}"
    raise UserError(message, where=str(path))


def read_safetensors_header(path: Path) -> tuple[Tensor, ...]:
    """Return the tensors that a safetensors file lists: 8 bytes of length, then JSON.

    Raises:
        UserError: It is truncated, or something else.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > LARGEST_HEADER_BYTES:
                raise ValueError("its header is too long")
            header = json.loads(file.read(length))
        return tuple(
            Tensor(name, tuple(value["shape"]), DTYPES.get(value["dtype"], value["dtype"].lower()))
            for name, value in header.items()
            if name != "__metadata__"
        )
    except (struct.error, ValueError, TypeError, KeyError, AttributeError):
        message = "is damaged, truncated or no safetensors file"
        raise UserError(message, where=str(path)) from None


def _ask(path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", DESCRIBE, str(path)]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        message = f"the code of the model did not end within {PATIENCE_S} s"
        raise InfrastructureError(message, where=str(path)) from None
    if result.returncode == 0:
        value: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
        return value
    last = (result.stderr.strip().splitlines() or ["no message"])[-1]
    if result.returncode == 2:
        raise UserError(last)
    if "No module named" in last:
        message = f"reading a {path.suffix} file needs fulcrum-components here ({last})"
        raise InfrastructureError(message, where=str(path))
    raise InfrastructureError(f"could not be read: {last}", where=str(path))


def _parsed(value: dict[str, Any]) -> Description:
    def tensors(key: str) -> tuple[Tensor, ...]:
        found = value.get(key, [])
        return tuple(Tensor(t["name"], tuple(t["shape"]), t["dtype"]) for t in found)

    return Description(
        tensors=tensors("tensors"),
        inputs=tensors("inputs"),
        outputs=tensors("outputs"),
        meaning=value.get("meaning", "logits"),
        entry_point=value.get("entry_point", ""),
        files=tuple(value.get("files", ())),
        doubts=value.get("doubts", {}),
        problems=tuple(value.get("problems", ())),
    )
