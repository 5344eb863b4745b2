"""Each name that a manifest may use has its entry in a registry, and no entry lacks a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from fulcrum_components.pruning.criteria import CRITERIA
from fulcrum_components.pruning.methods import METHODS as PRUNING_METHODS
from fulcrum_components.quantization.methods import METHODS as QUANTIZATION_METHODS
from fulcrum_pipelines.resources.compressionjob import Prune, Quantize, Structured


@dataclass(frozen=True)
class Registry:
    name: str
    entries: Mapping[str, Any]
    allowed: set[str]


def values(model: type[BaseModel], field: str) -> set[str]:
    """Return the values that the schema allows for a field."""
    return set(get_args(model.model_fields[field].annotation))


def parts(model: type[BaseModel]) -> set[str]:
    """Return the names of the fields that hold nested options."""
    return {
        name
        for name, field in model.model_fields.items()
        for kind in get_args(field.annotation)
        if isinstance(kind, type) and issubclass(kind, BaseModel)
    }


REGISTRIES = [
    Registry("pruning criteria", CRITERIA, values(Structured, "importance")),
    Registry("pruning methods", PRUNING_METHODS, parts(Prune)),
    Registry("quantization methods", QUANTIZATION_METHODS, values(Quantize, "method")),
]


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.name)
def test_registry_has_the_names_that_a_manifest_may_use(registry: Registry) -> None:
    assert set(registry.entries) == registry.allowed != set()
    assert all(name == entry.name for name, entry in registry.entries.items())
