"""Keep a pruned torch model between stages without pickle.

A pruned module has other shapes than the code of its bundle builds. So what is kept is the history
of the pruning as JSON, which is replayed on the original module, and the weights as safetensors.
Which weights must stay zero needs no mask: it is those that are zero in the layers named as sparse.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_model

from fulcrum_components.models.loading import LoadedModel
from fulcrum_components.models.weights import load_weights, read_weights
from fulcrum_pipelines.contract import canonical_json
from fulcrum_pipelines.errors import UserError

STRUCTURE = "structure.json"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class ModelState:
    """A module as a stage left it.

    Attributes:
        module: The module with the structure and weights that were saved, in evaluation mode.
        structure: The pruning history that made it as JSON, or `None` if its shapes are the
            original's.
        sparse_layers: Names of the modules whose zero weights must stay zero.
    """

    module: torch.nn.Module
    structure: str | None
    sparse_layers: tuple[str, ...]


def save_state(
    module: torch.nn.Module,
    directory: Path,
    *,
    structure: str | None = None,
    sparse_layers: Sequence[str] = (),
) -> None:
    """Write `structure.json` and `model.safetensors` into `directory`.

    Args:
        module: The module whose weights to keep.
        directory: Made if it is not there.
        structure: The pruning history that led from the bundle's module to this one, as JSON.
        sparse_layers: Names of the modules whose zero weights must stay zero.
    """
    directory.mkdir(parents=True, exist_ok=True)
    history = None if structure is None else json.loads(structure)
    record = {"history": history, "sparseLayers": list(sparse_layers)}
    (directory / STRUCTURE).write_bytes(canonical_json(record))
    save_model(module, str(directory / WEIGHTS))


def load_state(
    loaded: LoadedModel,
    directory: Path,
    replay: Callable[[torch.nn.Module, str], object],
) -> ModelState:
    """Rebuild what `save_state` wrote, from the original model.

    Args:
        loaded: The original; its own module is left as it is.
        directory: Of the saved state.
        replay: Applies a pruning history, given as JSON, to a module in place.

    Raises:
        UserError: The model has no module, or the state does not fit it.
    """
    if loaded.module is None:
        raise UserError("an ONNX model has no torch state to load", where=str(directory))
    try:
        record = json.loads((directory / STRUCTURE).read_bytes())
        history, sparse_layers = record["history"], tuple(record["sparseLayers"])
    except (OSError, ValueError, KeyError, TypeError):
        message = f"{STRUCTURE} is missing or damaged; run the stage that wrote it again"
        raise UserError(message, where=str(directory)) from None
    structure = None if history is None else canonical_json(history).decode()
    module = copy.deepcopy(loaded.module)
    if structure is not None:
        replay(module, structure)
    weights = directory / WEIGHTS
    load_weights(module, read_weights(weights), weights)
    return ModelState(module.eval(), structure, sparse_layers)
