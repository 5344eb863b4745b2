"""A bundle: a directory with the code that builds a module, its weights and a `fulcrum.yaml`."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from fulcrum_components.models.calling import take_by_position, unwrapped
from fulcrum_components.models.checking import (
    Arrays,
    MakeExamples,
    check_forward,
    run_module,
    trial_batches,
)
from fulcrum_components.models.manifest import read_manifest
from fulcrum_components.models.signature import Signature
from fulcrum_components.models.weights import load_weights, read_weights
from fulcrum_components.sources.digest import is_hidden
from fulcrum_components.sources.naming import listed
from fulcrum_components.sources.usercode import load_function, user_errors
from fulcrum_pipelines.errors import UserError


def load_bundle(
    directory: Path, examples: MakeExamples | None = None
) -> tuple[torch.nn.Module, Signature]:
    """Build the module of the bundle in `directory`, load its weights and try it.

    Args:
        directory: The bundle.
        examples: Gives real inputs to try it on.

    Raises:
        UserError: Anything in the bundle is wrong; the message names file and field or line.
    """
    directory = directory.resolve()
    manifest = read_manifest(directory)
    weights = _inside(directory, manifest.weights, "weights")  # before any of its code runs
    signature = manifest.signature
    module = build_module(directory, manifest.entry_point, manifest.arguments).eval()
    take_by_position(module, signature, directory)
    arrays = examples(signature) if examples is not None else None
    give_sizes(module, signature, directory, arrays)
    load_weights(module, read_weights(weights), weights)
    _check_memory(module, directory)
    check_forward(module, signature, directory, arrays)
    return module, signature


def build_module(
    directory: Path, entry_point: str, arguments: Mapping[str, Any]
) -> torch.nn.Module:
    """Call the entry point of a bundle, without loading weights."""
    file_name, _, name = entry_point.partition(":")
    file = _inside(directory, file_name, "entryPoint")
    where = f"{directory}: entryPoint {entry_point}"
    function = load_function(file, name, where=where)
    with user_errors(where):
        module = function(**arguments)
    if not isinstance(module, torch.nn.Module):
        message = f"returns a {type(module).__name__}, expected a torch.nn.Module"
        raise UserError(message, where=where)
    if isinstance(module, torch.jit.ScriptModule):
        message = "returns a compiled torch.jit module; return the torch.nn.Module itself"
        raise UserError(message, where=where)
    return unwrapped(module)


def give_sizes(
    module: torch.nn.Module, signature: Signature, directory: Path, examples: Arrays | None
) -> None:
    """Run a module with lazy layers once, which gives their parameters shapes.

    Raises:
        UserError: It does not run, or a lazy layer is not used.
    """
    if not _lazy(module):
        return

    def run(arrays: Arrays) -> tuple[object, ...]:
        with user_errors(f"{directory}: forward, which gives lazy layers their sizes"):
            return run_module(module, signature, arrays)

    run(trial_batches(signature, run, examples)[0])
    if left := _lazy(module):
        message = f"forward does not use the lazy {listed(left)}; build them with their sizes"
        raise UserError(message, where=str(directory))


def _lazy(module: torch.nn.Module) -> list[str]:
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return [name for name, tensor in tensors if is_lazy(tensor)]


def _check_memory(module: torch.nn.Module, directory: Path) -> None:
    """Refuse a module with tensors that have shapes but no values.

    Raises:
        UserError: Some are on the device `meta`.
    """
    tensors = [*module.named_parameters(), *module.named_buffers()]
    empty = [name for name, tensor in tensors if tensor.is_meta]
    if empty:
        message = (
            f"{listed(empty)} have no values: they were built on the device meta and the weights "
            "do not hold them; build the module on cpu"
        )
        raise UserError(message, where=str(directory))


def _inside(directory: Path, name: str, field: str) -> Path:
    """Return the path of file `name`, which must be inside the bundle."""
    try:
        path = (directory / name).resolve()
        path.exists()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, links without end
        message = f"{field} {name[:80]!r} cannot be a file: {error.args[-1]}"
        raise UserError(message, where=str(directory)) from None
    if not path.is_relative_to(directory):
        message = f"{field} '{name}' leads out of the bundle; use a path relative to it"
        raise UserError(message, where=str(directory))
    if is_hidden(path.relative_to(directory)):
        message = (
            f"{field} '{name}' is hidden, so the bundle's digest does not cover it; "
            "rename it so that no part starts with a dot or is __pycache__"
        )
        raise UserError(message, where=str(directory))
    return path


def check_files(directory: Path) -> None:
    """Refuse what the digest of a bundle cannot cover, before it is computed.

    Raises:
        UserError: A link leads out or to what is hidden, or something is no file and no directory.
    """
    directory = directory.resolve()
    for path in directory.rglob("*"):
        name = path.relative_to(directory).as_posix()
        if problem := _problem(path, name, directory):
            raise UserError(f"{name!r} {problem}", where=str(directory))


def _problem(path: Path, name: str, directory: Path) -> str:
    """Return what is wrong with `path`, or nothing."""
    if not name.isprintable():  # it could be no text, or several lines of a digest
        return "has a name with control characters or undecodable bytes; rename it"
    mode = path.lstat().st_mode
    if not stat.S_ISLNK(mode):
        plain = stat.S_ISREG(mode) or stat.S_ISDIR(mode)
        return "" if plain else "is a pipe, a socket or a device; only files can be in a bundle"
    target = Path(os.path.realpath(path))
    if not target.is_relative_to(directory):
        return "is a symbolic link out of the bundle; copy the file into it"
    if is_hidden(target.relative_to(directory)):
        return "is a symbolic link to a hidden file, which the bundle's digest does not cover"
    return ""
