"""Resolve a job's references: from a manifest to a self-contained specification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fulcrum_operator.controllers.planner import resolve, resolve_references
from fulcrum_operator.engines.placement import Site, unplaceable
from fulcrum_operator.kubernetes.object_cache import Objects
from fulcrum_operator.lifecycle.observation import Job, Refusal, Resolution
from fulcrum_pipelines.contract import ResolvedSpec
from fulcrum_pipelines.manifests import check_resolved, unsupported
from fulcrum_pipelines.resources.compressionjob import Gate, Recipe

HERE = Site()
"""An operator without nodes: it runs jobs on its own machine."""


@dataclass(frozen=True)
class Templates:
    """Recipes and gate policies, by the kind that a reference names."""

    by_kind: Mapping[str, Objects]

    def find(self, kind: str, name: str, namespace: str) -> Mapping[str, Any] | None:
        """Return the object that a reference from `namespace` names."""
        objects = self.by_kind[kind]
        return objects.get((namespace if objects.kind.namespaced else "", name))


def resolve_job(
    job: Job, templates: Templates, channels: Objects, source_root: str, site: Site = HERE
) -> Resolution | Refusal:
    """Return the specification that the job would start with now, or why it cannot start.

    Rules are asked only if something came by reference: the API server has asked them of the
    rest, and they take more time than all else that a job needs of the operator.
    """
    baseline = _baseline(job, channels)
    if isinstance(baseline, Refusal):
        return baseline
    fields: dict[str, Any] = {}
    sources: dict[str, Any] = {}
    wanted = (
        ("recipe", "recipe", job.spec.recipe_ref),
        ("gates", "gate_policy", job.spec.gate_policy_ref),
    )
    for field, source, reference in wanted:
        if reference is None:
            fields[field] = getattr(job.spec, field)
            continue
        body = templates.find(reference.kind, reference.name, job.namespace)
        if body is None:
            where = f" in namespace {job.namespace}" if not reference.kind.startswith("Cl") else ""
            message = f"there is no {reference.kind} {reference.name}{where}"
            return Refusal("ReferenceNotFound", message)
        fields[field] = _content(field, body)
        sources[source] = {
            "kind": reference.kind,
            "name": reference.name,
            "resource_version": body["metadata"]["resourceVersion"],
        }
    spec = resolve_references(job.spec, fields["recipe"], fields["gates"])
    if sources and (problems := check_resolved(_as_written(spec))):
        return Refusal("InvalidSpec", "; ".join(map(str, problems)))
    if missing := unsupported(spec):
        return Refusal("NotSupported", "; ".join(map(str, missing)))
    if wrong := unplaceable(spec, site):
        return Refusal("CannotBePlaced", "; ".join(map(str, wrong)))
    spec = resolve(spec, source_root).model_copy(update={"baseline_model": baseline})
    return Resolution(spec, sources)


def _baseline(job: Job, channels: Objects) -> str | Refusal | None:
    """Return the digest of the job's channel's model, if that is its baseline."""
    if job.spec.baseline.kind != "Channel" or job.spec.promotion is None:
        return None
    name = job.spec.promotion.channel
    body = channels.get((job.namespace, name))
    if body is None:
        message = f"there is no ModelChannel {name} in namespace {job.namespace}"
        return Refusal("ReferenceNotFound", message)
    current = (body.get("status") or {}).get("current") or {}
    if "digest" not in current:
        message = (
            f"spec.baseline.kind is Channel, but ModelChannel {name} holds no model yet; "
            "promote one first, or take kind Source"
        )
        return Refusal("ReferenceNotFound", message)
    return str(current["digest"])


def _as_written(spec: ResolvedSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _content(field: str, body: Mapping[str, Any]) -> Any:
    if field == "recipe":
        return Recipe.model_validate(body["spec"])
    return tuple(Gate.model_validate(gate) for gate in body["spec"]["gates"])
