"""Load a model of any supported format from any allowed URL, checked and never unpickled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from fulcrum_components.models.bundle import check_files, load_bundle
from fulcrum_components.models.checking import MakeExamples
from fulcrum_components.models.meaning import check_output
from fulcrum_components.models.onnx_file import load_onnx, onnx_digest
from fulcrum_components.models.pt2 import load_pt2
from fulcrum_components.models.signature import Signature
from fulcrum_components.models.weights import NEEDS_UNPICKLING, STATE_DICTS
from fulcrum_components.sources.digest import content_digest
from fulcrum_components.sources.fetching import fetch
from fulcrum_pipelines.catalog import TASKS, Meaning
from fulcrum_pipelines.errors import UserError

Format = Literal["bundle", "pt2", "onnx"]


@dataclass
class LoadedModel:
    """A model that is ready to be worked on.

    Attributes:
        format: What it was stored as.
        signature: Its inputs and outputs.
        module: The module; absent for ONNX. `forward` takes the inputs positionally in the order
            of the signature and returns a tensor or a tuple.
        onnx_path: The ONNX file; absent for the other formats.
        digest: SHA-256 of the file, or of the bundle's files.
        directory: The bundle; absent for the other formats.
        notes: What was changed on the way in, in sentences for the user.
    """

    format: Format
    signature: Signature
    module: torch.nn.Module | None
    onnx_path: Path | None
    digest: str
    directory: Path | None
    notes: tuple[str, ...] = ()


def load_model(
    uri: str,
    format: str = "auto",
    digest: str | None = None,
    *,
    cache_dir: Path,
    task: str | None = None,
    examples: MakeExamples | None = None,
    meaning: Meaning | None = None,
    where: str = "spec.model",
) -> LoadedModel:
    """Fetch, check and load a model.

    Args:
        uri: A bundle directory, a `.pt2` file or an `.onnx` file, as a path or URL.
        format: `bundle`, `pt2`, `onnx`, or `auto`, which goes by the name.
        digest: The digest that the model must have.
        cache_dir: Directory for copies of remote files and for converted files.
        task: The model's task, by which the first output of a `.pt2` or ONNX model is read.
        examples: Gives real inputs for the signature, to try the model on; without them, some are
            made up, which not every model takes (lengths, masks, identifiers).
        meaning: What the manifest says that it holds.
        where: Field path for messages.

    Raises:
        UserError: The model is wrong in any way.
        InfrastructureError: Remote storage did not answer.
    """
    path, kind, found = identify(uri, format, digest, cache_dir=cache_dir, where=where)
    model = _loaded(kind, path, found, cache_dir, task, examples, meaning)
    _check_meaning(model.signature, task, meaning, path, where)
    check_output(model.signature, task, str(path))
    return model


def identify(
    uri: str, format: str, digest: str | None, *, cache_dir: Path, where: str
) -> tuple[Path, Format, str]:
    """Fetch a model, and return its path, format and digest without running anything of it.

    Args:
        uri: As for `load_model`, like all others.
        format: The declared format.
        digest: The digest that it must have.
        cache_dir: Directory for copies of remote files.
        where: Field path for messages.

    Raises:
        UserError: It is missing, of another format, or has another digest.
        InfrastructureError: Remote storage did not answer.
    """
    path = fetch(uri, cache_dir=cache_dir, where=f"{where}.uri")
    kind = _format_of(path, format, where)
    if kind == "bundle":
        check_files(path)
    found = onnx_digest(path) if kind == "onnx" else content_digest(path)
    if digest is not None and digest != found:
        message = f"the model at '{uri}' has digest {found}, expected {digest}"
        raise UserError(message, where=f"{where}.digest")
    return path, kind, found


def _loaded(
    kind: Format,
    path: Path,
    digest: str,
    cache_dir: Path,
    task: str | None,
    examples: MakeExamples | None,
    meaning: Meaning | None,
) -> LoadedModel:
    if kind == "bundle":
        module, signature = load_bundle(path, examples)
        return LoadedModel(kind, signature, module, None, digest, path.resolve())
    if kind == "pt2":
        module, signature = load_pt2(path, task, examples, meaning)
        return LoadedModel(kind, signature, module, None, digest, None)
    onnx_path, signature, notes = load_onnx(
        path, cache_dir=cache_dir, task=task, examples=examples, meaning=meaning
    )
    return LoadedModel(kind, signature, None, onnx_path, digest, None, notes)


def _check_meaning(
    signature: Signature, task: str | None, said: Meaning | None, path: Path, field: str
) -> None:
    """Refuse a bundle whose declared meaning contradicts the task or the manifest."""
    where = f"{path}: fulcrum.yaml"
    if said is not None and said != signature.meaning:
        message = f"meaning is {signature.meaning}, but {field}.meaning is {said}"
        raise UserError(message, where=where)
    if task is None or signature.meaning in TASKS[task].meanings:
        return
    wanted = " or ".join(TASKS[task].meanings)
    message = f"meaning is {signature.meaning}, but spec.data.task {task} needs {wanted}"
    raise UserError(message, where=where)


def _format_of(path: Path, declared: str, where: str) -> Format:
    """Return the format of the model at `path`, and refuse what `declared` contradicts."""
    actual: Format | None = None
    if path.is_dir():
        actual = "bundle"
    elif path.suffix == ".pt2":
        actual = "pt2"
    elif path.suffix == ".onnx":
        actual = "onnx"
    elif path.suffix in STATE_DICTS:
        message = (
            f"'{path.name}' alone is not a model: a state dict has no code that builds the "
            f"module, and a whole pickled module {NEEDS_UNPICKLING}; make a bundle directory "
            "around it with `fulcrum init`"
        )
        raise UserError(message, where=f"{where}.uri")
    if declared == "auto" and actual is None:
        message = (
            f"the format of '{path.name}' is not clear from its name; "
            "name it .pt2 or .onnx, give a bundle directory, or set format"
        )
        raise UserError(message, where=f"{where}.format")
    if declared == "bundle" and not path.is_dir():
        raise UserError(f"'{path.name}' is a file, a bundle is a directory", where=f"{where}.uri")
    if declared in ("pt2", "onnx") and path.is_dir():
        message = f"'{path.name}' is a directory, {declared} is a file"
        raise UserError(message, where=f"{where}.uri")
    known: dict[str, Format | None] = {
        "bundle": "bundle",
        "pt2": "pt2",
        "onnx": "onnx",
        "auto": actual,
    }
    kind = known[declared]
    assert kind is not None
    return kind
