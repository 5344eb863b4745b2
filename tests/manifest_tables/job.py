"""A good CompressionJob, and short names for changes of it."""

from __future__ import annotations

from typing import Any

from manifest_tables.rows import DROP

SHARES = {"name": "acc", "kind": "nonInferiority", "metric": "accuracy", "margin": 0.01}
FASTER = {"name": "fast", "kind": "speedup", "min": 2}

GOOD: dict[str, Any] = {
    "apiVersion": "fulcrum.dev/v1alpha1",
    "kind": "CompressionJob",
    "metadata": {"name": "mnist"},
    "spec": {
        "model": {"uri": "model"},
        "data": {
            "task": "classification",
            "train": {"uri": "train.npz"},
            "validation": {"uri": "validation.npz"},
            "test": {"uri": "test.npz"},
        },
        "recipe": {"prune": {"structured": {"sparsity": 0.5}}, "quantize": {"method": "auto"}},
        "gates": [SHARES],
    },
}


def gate(**fields: Any) -> dict[str, Any]:
    return {"spec.gates.0": {"name": "g", **fields}}


def prune(**fields: Any) -> dict[str, Any]:
    return {"spec.recipe.prune": fields}


def quantize(**fields: Any) -> dict[str, Any]:
    return {"spec.recipe.quantize": fields}


CANDIDATE = {"spec.recipe": DROP, "spec.candidate": {"uri": "new.onnx"}}
"""A model that something else made, in the place of a recipe."""
OF_CHANNEL = {"spec.baseline": {"kind": "Channel"}, "spec.promotion": {"channel": "production"}}
MEASURED = {
    "spec.recipe": DROP,
    "spec.gates": [{"name": "good", "kind": "threshold", "metric": "accuracy", "min": 0.9}],
}
"""Neither recipe nor candidate: the model is measured."""
REGRESSION = {"spec.data.task": "regression"}
NO_TRAIN = {"spec.data.train": DROP}
