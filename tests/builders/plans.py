"""Specifications and plans."""

from __future__ import annotations

import hashlib
from typing import Any

from fulcrum_pipelines.contract import Plan, ResolvedSpec


def make_spec(**changes: Any) -> ResolvedSpec:
    """Return a small valid specification; `changes` replace its top-level fields."""
    fields: dict[str, Any] = {
        "model": {"uri": "file:///models/mnist"},
        "data": {
            "task": "classification",
            **{
                name: {"uri": f"file:///data/{name}.npz"}
                for name in ("train", "validation", "test")
            },
        },
        "recipe": {"quantize": {}},
        "gates": [
            {"name": "accuracy", "kind": "nonInferiority", "metric": "accuracy", "margin": 0.01}
        ],
    }
    return ResolvedSpec.model_validate(fields | changes)


def make_plan(**changes: Any) -> Plan:
    """Return a plan of `make_spec(**changes)`."""
    return Plan(
        name="mnist-resnet",
        uid=hashlib.sha256(b"job").hexdigest(),
        spec=make_spec(**changes),
        fulcrum_version="0.1.0",
    )


def make_digest(name: str) -> str:
    """Return a well-formed digest that differs for each `name`."""
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"
