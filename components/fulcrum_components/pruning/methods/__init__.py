"""All pruning methods by their names in `spec.recipe.prune`."""

from __future__ import annotations

from typing import Any

from fulcrum_components.pruning.methods.definition import MethodResult, PruningMethod
from fulcrum_components.pruning.methods.nm import NM
from fulcrum_components.pruning.methods.structured import STRUCTURED
from fulcrum_components.pruning.methods.truncate import TRUNCATE
from fulcrum_components.pruning.methods.unstructured import UNSTRUCTURED
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.resources.compressionjob import Prune

METHODS: dict[str, PruningMethod[Any]] = {
    method.name: method for method in (STRUCTURED, UNSTRUCTURED, NM, TRUNCATE)
}

__all__ = ["METHODS", "MethodResult", "PruningMethod", "find_method"]


def find_method(options: Prune) -> tuple[PruningMethod[Any], Any]:
    """Return the method that `options` ask for, and its own options.

    Raises:
        UserError: They ask for none.
    """
    for name, method in METHODS.items():
        asked = getattr(options, name)
        if asked is not None:
            return method, asked
    message = f"must have exactly one of {', '.join(METHODS)}"
    raise UserError(message, where="spec.recipe.prune")
