"""Changes of a CompressionJob that is there."""

from __future__ import annotations

from typing import Any

from manifest_tables.job import CANDIDATE, OF_CHANNEL, SHARES
from manifest_tables.rows import DROP, Update

IMMUTABLE = ("is immutable", "except suspend, activeDeadlineSeconds and ttlSecondsAfterFinished")


def refused(name: str, before: dict[str, Any], after: dict[str, Any]) -> Update:
    """A field that was set and is set differently; the field itself is named."""
    field = next(iter(after)).split(".")[1]
    return Update(name, before, after, f"spec.{field}", IMMUTABLE)


def set_or_removed(name: str, before: dict[str, Any], after: dict[str, Any]) -> Update:
    """A field that was absent or becomes so."""
    return Update(name, before, after, "spec", IMMUTABLE)


BY_REFERENCE = {
    "spec.recipe": DROP,
    "spec.recipeRef": {"name": "small"},
    "spec.gates": DROP,
    "spec.gatePolicyRef": {"name": "strict"},
}

UPDATES = (
    Update("nothing"),
    Update("defaults spelled out", {}, {"spec.baseline": {}, "spec.seed": 0, "spec.measure": {}}),
    Update("suspended", {}, {"spec.suspend": True}),
    Update("resumed", {"spec.suspend": True}, {"spec.suspend": DROP}),
    Update("deadline set", {}, {"spec.activeDeadlineSeconds": 60}),
    Update(
        "deadline removed", {"spec.activeDeadlineSeconds": 60}, {"spec.activeDeadlineSeconds": DROP}
    ),
    Update(
        "deleted later", {"spec.ttlSecondsAfterFinished": 5}, {"spec.ttlSecondsAfterFinished": 9}
    ),
    Update("labels", {}, {"metadata.labels": {"team": "vision"}}),
    Update("references that stay", BY_REFERENCE, {"spec.suspend": True}),
    refused("another model", {}, {"spec.model.uri": "another"}),
    refused("model pinned", {}, {"spec.model.digest": f"sha256:{'0' * 64}"}),
    refused("another candidate", CANDIDATE, {"spec.candidate.uri": "newer.onnx"}),
    set_or_removed(
        "candidate instead of the recipe",
        {},
        {"spec.recipe": DROP, "spec.candidate": {"uri": "new.onnx"}},
    ),
    set_or_removed("model left out", {**CANDIDATE, **OF_CHANNEL}, {"spec.model": DROP}),
    refused("other data", {}, {"spec.data.test.uri": "another.npz"}),
    refused("another recipe", {}, {"spec.recipe.prune.structured.sparsity": 0.6}),
    refused("weaker gate", {}, {"spec.gates.0.margin": 0.5}),
    refused("gate taken away", {"spec.gates.1": {**SHARES, "name": "b"}}, {"spec.gates": [SHARES]}),
    set_or_removed(
        "recipe by reference", {}, {"spec.recipe": DROP, "spec.recipeRef": {"name": "small"}}
    ),
    refused("another recipeRef", BY_REFERENCE, {"spec.recipeRef.name": "large"}),
    refused(
        "another kind of recipe", BY_REFERENCE, {"spec.recipeRef.kind": "ClusterCompressionRecipe"}
    ),
    set_or_removed(
        "gates by reference", {}, {"spec.gates": DROP, "spec.gatePolicyRef": {"name": "lax"}}
    ),
    refused("another gatePolicyRef", BY_REFERENCE, {"spec.gatePolicyRef.name": "lax"}),
    refused(
        "another baseline",
        {"spec.promotion": {"channel": "production"}},
        {"spec.baseline.kind": "Channel"},
    ),
    refused("another measurement", {}, {"spec.measure.pairs": 1000}),
    set_or_removed("placement set", {}, {"spec.placement": {"compute": "gpu"}}),
    set_or_removed(
        "placement removed", {"spec.placement": {"compute": "gpu"}}, {"spec.placement": DROP}
    ),
    set_or_removed("promotion set", {}, {"spec.promotion": {"channel": "production"}}),
    refused(
        "promotion made automatic",
        {"spec.promotion": {"channel": "production"}},
        {"spec.promotion.mode": "Automatic"},
    ),
    refused("another engine", {}, {"spec.engine": "job"}),
    set_or_removed("stage deadline set", {}, {"spec.stageDeadlineSeconds": {"prune": 60}}),
    refused("more retries", {}, {"spec.backoffLimit": 5}),
    refused("another seed", {}, {"spec.seed": 1}),
    set_or_removed("handed over", {}, {"spec.managedBy": "kueue"}),
    set_or_removed("taken back", {"spec.managedBy": "kueue"}, {"spec.managedBy": DROP}),
)
