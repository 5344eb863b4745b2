"""Recipes and gate policies on their own: the rules that are theirs alone hold there too."""

from __future__ import annotations

from typing import Any

from manifest_tables.job import SHARES
from manifest_tables.rows import DROP, Row, Table, Update

API_VERSION = "fulcrum.dev/v1alpha1"


def recipe(kind: str) -> Table:
    return Table(
        good={
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": {"name": "half"},
            "spec": {"prune": {"structured": {"sparsity": 0.5}}, "quantize": {}},
        },
        accepted=(
            Row("the good one"),
            Row(
                "valid here, although only a job can check it all",
                {"spec": {"finetune": {"epochs": 1}}},
            ),
        ),
        refused=(
            Row("no stage", {"spec": {}}, "spec", ("must have at least one of",)),
            Row("no spec", {"spec": DROP}, "spec", hints=("is required",)),
            Row("two prunings", {"spec.prune.nm": {}}, "spec.prune", ("exactly one of",)),
            Row(
                "a job's field",
                {"spec.gates": []},
                "spec.gates",
                hints=("is not a field", "quantize"),
            ),
            Row(
                "out of range",
                {"spec.prune.structured.sparsity": 2},
                "spec.prune.structured.sparsity",
                hints=("below 1",),
            ),
        ),
        updates=(Update("it may change", {}, {"spec.prune.structured.sparsity": 0.25}),),
    )


def policy(kind: str) -> Table:
    def gate(**fields: Any) -> dict[str, Any]:
        return {"spec.gates.0": {"name": "g", **fields}}

    return Table(
        good={
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": {"name": "strict"},
            "spec": {"gates": [SHARES]},
        },
        accepted=(
            Row("the good one"),
            Row(
                "valid here, although only a job can check it all",
                {"spec.gates.0.slices": [{"by": "site"}]},
            ),
            Row("no gates in the list", {"spec.gates": []}),
        ),
        refused=(
            Row("no gates", {"spec.gates": DROP}, "spec.gates", hints=("is required",)),
            Row("no margin", {"spec.gates.0.margin": DROP}, "spec.gates[0]", ("margin is needed",)),
            Row("size with min", gate(kind="size", min=1), "spec.gates[0]", ("take max, not min",)),
            Row("unknown kind", gate(kind="sise", max=1), "spec.gates[0].kind", hints=("size",)),
            Row("a job's field", {"spec.seed": 0}, "spec.seed", hints=("is not a field",)),
        ),
        updates=(Update("it may change", {}, {"spec.gates.0.margin": 0.02}),),
    )


PARTS = (
    recipe("CompressionRecipe"),
    recipe("ClusterCompressionRecipe"),
    policy("GatePolicy"),
    policy("ClusterGatePolicy"),
)
