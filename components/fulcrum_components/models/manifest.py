"""The `fulcrum.yaml` of a bundle, parsed once and strictly.

A field that is not known is refused: a misspelt `input` must not silently become a model without
inputs.
"""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from fulcrum_components.models.signature import BATCH, DTYPES, Signature, TensorSpec
from fulcrum_components.sources.naming import listed, suggestion
from fulcrum_pipelines.catalog import Meaning
from fulcrum_pipelines.errors import UserError

FILE_NAME = "fulcrum.yaml"
MOST_BYTES = 1 << 20
ENTRY_POINT = r"^[^:]+\.py:[A-Za-z_][A-Za-z0-9_]*$"

_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2  # a few lines of YAML can expand to too many values to print


class _Strict(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )


class Tensor(_Strict):
    """An input or an output as the user declares it."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    shape: tuple[Annotated[int, Field(ge=1)] | str, ...]
    dtype: str = "float32"


class Manifest(_Strict):
    """The manifest of a bundle.

    Attributes:
        entry_point: `file.py:function`; the function builds the module.
        arguments: Keyword arguments of that function.
        weights: File of the weights, relative to the bundle.
        inputs: Inputs in the order of `forward`.
        outputs: Outputs in the order in which `forward` returns them.
        meaning: What the first output holds.
    """

    api_version: Literal["fulcrum.dev/v1alpha1"] = "fulcrum.dev/v1alpha1"
    kind: Literal["Bundle"] = "Bundle"
    entry_point: Annotated[str, Field(pattern=ENTRY_POINT)]
    arguments: dict[str, Any] = {}
    weights: Annotated[str, Field(min_length=1)]
    inputs: Annotated[tuple[Tensor, ...], Field(min_length=1, max_length=32)]
    outputs: Annotated[tuple[Tensor, ...], Field(min_length=1, max_length=32)]
    meaning: Meaning

    @property
    def signature(self) -> Signature:
        """The inputs and outputs as the rest of Fulcrum knows them."""
        inputs, outputs = (
            tuple(TensorSpec(item.name, item.shape, item.dtype) for item in items)
            for items in (self.inputs, self.outputs)
        )
        return Signature(inputs, outputs, self.meaning)


def read_manifest(directory: Path) -> Manifest:
    """Read and check the `fulcrum.yaml` of a bundle.

    Raises:
        UserError: It is missing, is no YAML, or a field of it is wrong.
    """
    path = directory / FILE_NAME
    if not path.is_file():
        message = f"no {FILE_NAME} in the bundle; `fulcrum init` writes one"
        raise UserError(message, where=str(directory))
    if path.stat().st_size > MOST_BYTES:
        raise UserError(f"is larger than {MOST_BYTES} bytes", where=str(path))
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        place = f" near line {line + 1}" if line is not None else ""
        raise UserError(f"is not valid YAML{place}", where=str(path)) from None
    if not isinstance(raw, dict):
        raise UserError("must be a mapping with entryPoint, weights, ...", where=str(path))
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as error:
        raise UserError(_readable(error), where=str(path)) from None
    _check_tensors(manifest, path)
    return manifest


def _readable(error: ValidationError) -> str:
    """Return the problems of `error`, each with its field path, in one line."""
    return "; ".join(_problem(item) for item in error.errors())


def _problem(item: Any) -> str:
    path = [str(part) for part in item["loc"] if part not in ("int", "str", "constrained-int")]
    field = ".".join(path)
    if item["type"] == "extra_forbidden":
        model = Tensor if len(path) > 1 else Manifest
        known = [info.alias or name for name, info in model.model_fields.items()]
        return f"unknown field '{field}'{suggestion(path[-1], known)}; known are {listed(known)}"
    if item["type"] == "missing":
        return f"field '{field}' is missing"
    if item["type"] == "string_pattern_mismatch":
        return f"{field} is '{item['input']}' and must look like model.py:build"
    return f"{field} is {_SHORT.repr(item['input'])}: {item['msg'][0].lower()}{item['msg'][1:]}"


def _check_tensors(manifest: Manifest, path: Path) -> None:
    """Refuse names, types and shapes that cannot be.

    Outputs after the first may have their batch on another axis, or none.
    """
    for field, tensors in (("inputs", manifest.inputs), ("outputs", manifest.outputs)):
        names = [tensor.name for tensor in tensors]
        for index, tensor in enumerate(tensors):
            place = f"{path}: {field}.{index}"
            if names.index(tensor.name) != index:
                raise UserError(f"the name '{tensor.name}' is used twice", where=place)
            if tensor.dtype not in DTYPES:
                message = (
                    f"dtype '{tensor.dtype}' is not known{suggestion(tensor.dtype, DTYPES)}; "
                    f"known are {listed(DTYPES)}"
                )
                raise UserError(message, where=place)
            needs_batch = field == "inputs" or index == 0
            if needs_batch and tensor.shape[:1] != (BATCH,):
                message = (
                    f"shape {list(tensor.shape)} must start with the dynamic axis '{BATCH}', "
                    "since a model that takes one size of batch only cannot be served in batches"
                )
                raise UserError(message, where=place)
