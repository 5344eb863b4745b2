"""Read weights without ever running code that came with them.

safetensors is data only. A state dict of `torch.save` is a pickle, which torch reads with an
allow-list of types (`weights_only=True`); what does not fit is refused, with the way out.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from fulcrum_components.models.finite import check_module, check_not_nan
from fulcrum_components.sources.archives import check_archive
from fulcrum_components.sources.naming import listed
from fulcrum_pipelines.errors import UserError

SAFETENSORS = (".safetensors",)
STATE_DICTS = (".pt", ".pth", ".bin")
WRAPPERS = ("_orig_mod.", "module.")
NEEDS_UNPICKLING = "needs unpickling, which can run code; convert with safetensors"


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the named tensors that `path` holds, none of them with NaN.

    Raises:
        UserError: The file is missing, of another kind, damaged, needs unpickling, or holds NaN.
    """
    if not path.is_file():
        raise UserError("the weights file is missing", where=str(path))
    if path.suffix in SAFETENSORS:
        tensors = _read_safetensors(path)
    elif path.suffix in STATE_DICTS:
        tensors = _read_state_dict(path)
    else:
        kinds = listed([*SAFETENSORS, *STATE_DICTS])
        message = f"'{path.suffix}' is no known kind of weights; known are {kinds}"
        raise UserError(message, where=str(path))
    check_not_nan(tensors, path)
    return tensors


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        message = f"is damaged, truncated or no safetensors file ({error})"
        raise UserError(message, where=str(path)) from None


def _read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    if zipfile.is_zipfile(path):
        check_archive(path, str(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of what we refuse below anyway
            value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        pickled = "weights_only" in str(error) or "WeightsUnpickler" in str(error)
        message = NEEDS_UNPICKLING if pickled else "is damaged, truncated or no state dict"
        raise UserError(message, where=str(path)) from None
    if isinstance(value, dict) and isinstance(value.get("state_dict"), dict):
        value = value["state_dict"]
    if not isinstance(value, dict) or not all(isinstance(v, torch.Tensor) for v in value.values()):
        message = (
            "holds something else than a mapping of names to tensors; "
            "save model.state_dict(), best with safetensors.torch.save_file"
        )
        raise UserError(message, where=str(path))
    return value


def load_weights(module: torch.nn.Module, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Put `tensors` into `module`; every one must have its place and shape.

    Prefixes that `torch.compile` and `DataParallel` put before all names are taken off.

    Raises:
        UserError: Keys are missing, unexpected or of another shape, and all of them are listed; or
            a weight is infinite.
    """
    wanted = module.state_dict()
    tensors = _without_wrappers(tensors, wanted)
    shared = [name for name in wanted if name in tensors]
    # safetensors keeps one of several names that share memory, for instance tied embeddings
    present = {_memory(wanted[name]) for name in shared if wanted[name].numel()}
    missing = [
        name
        for name, tensor in wanted.items()
        if name not in tensors and _memory(tensor) not in present
    ]
    unexpected = [name for name in tensors if name not in wanted]
    wrong = [
        f"{name} (file {list(tensors[name].shape)}, module {list(wanted[name].shape)})"
        for name in shared
        if tensors[name].shape != wanted[name].shape
    ]
    problems = (("missing", missing), ("unexpected", unexpected), ("wrongly shaped", wrong))
    texts = [f"{kind}: {listed(names)}" for kind, names in problems if names]
    if texts:
        message = f"weights do not fit the module that the entry point builds; {'; '.join(texts)}"
        raise UserError(message, where=str(path))
    without_memory = any(tensor.is_meta for tensor in wanted.values())
    # strictness is the check above
    module.load_state_dict(tensors, strict=False, assign=without_memory)
    check_module(module, path)


def _without_wrappers(
    tensors: dict[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return `tensors` without a wrapper's prefix, if all have it and the module has none."""
    for prefix in WRAPPERS:
        if (
            tensors
            and all(name.startswith(prefix) for name in tensors)
            and not any(name.startswith(prefix) for name in wanted)
        ):
            stripped = {name.removeprefix(prefix): value for name, value in tensors.items()}
            return _without_wrappers(stripped, wanted)
    return tensors


def _memory(tensor: torch.Tensor) -> tuple[object, ...]:
    """Return what tensors that are the same part of the same memory have in common."""
    return tensor.untyped_storage()._cdata, tensor.storage_offset(), tuple(tensor.shape)
