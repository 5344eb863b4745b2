"""From a manifest on disk to the plan of a run on this machine.

A plan must mean the same wherever it is read, so paths relative to the manifest become URLs. What
is not there is said before anything starts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fulcrum_pipelines
from fulcrum_pipelines.contract import Plan, ResolvedSpec, canonical_json
from fulcrum_pipelines.resources.compressionjob import CompressionJobSpec, Gate, Recipe

DATA_SETS = ("train", "calibration", "validation", "test")
GLOB = frozenset("*?[")


def make_plan(name: str, spec: CompressionJobSpec, base: Path) -> Plan:
    """Return the plan of the first attempt at `spec`.

    Args:
        name: Name of the job.
        spec: As it stands in the manifest, with its recipe and gates.
        base: Directory of the manifest, which its relative paths are relative to.
    """
    resolved = resolve(spec, f"file://{base.absolute()}")
    content = canonical_json(resolved.model_dump(mode="json", by_alias=True))
    return Plan(
        name=name,
        uid=hashlib.sha256(content).hexdigest(),
        spec=resolved,
        fulcrum_version=fulcrum_pipelines.__version__,
    )


def resolve_references(
    spec: CompressionJobSpec, recipe: Recipe | None, gates: Sequence[Gate]
) -> ResolvedSpec:
    """Return `spec` with `recipe` (None with a candidate) and `gates` in place of references.

    Whether all of it fits together is another question: `manifests.check_resolved`.
    """
    fields = spec.model_dump(by_alias=True, exclude_unset=True)
    for reference in ("recipeRef", "gatePolicyRef"):
        fields.pop(reference, None)
    if recipe is not None:
        fields["recipe"] = recipe.model_dump(by_alias=True, exclude_unset=True)
    fields["gates"] = [gate.model_dump(by_alias=True, exclude_unset=True) for gate in gates]
    return ResolvedSpec.model_validate(fields)


def resolve(spec: CompressionJobSpec, base: str) -> ResolvedSpec:
    """Return `spec` with every relative path as a URL under the URL `base`."""
    fields = spec.model_dump(by_alias=True, exclude_unset=True)
    for _, holder, key in _addresses(fields):
        if "://" not in holder[key]:
            holder[key] = f"{base.rstrip('/')}/{holder[key]}"
    return ResolvedSpec.model_validate(fields)


def missing_files(spec: CompressionJobSpec) -> list[tuple[str, str]]:
    """Return field path and path of each local file that a resolved `spec` names and is not there.

    Patterns, remote addresses and those that may be missing are left to the stage that reads them.
    """
    fields = spec.model_dump(by_alias=True, exclude_unset=True)
    for source in map(fields["data"].get, DATA_SETS):
        if source is not None and source.get("missing") == "Skip":
            source.pop("uris")
    return [
        (field, path)
        for field, holder, key in _addresses(fields)
        if holder[key].startswith("file://")
        and not GLOB.intersection(path := holder[key].removeprefix("file://"))
        and not Path(path).exists()
    ]


def _addresses(fields: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield field path, mapping or list, and key of each address in a specification."""
    for name in ("model", "candidate"):
        if name in fields:
            yield f"spec.{name}.uri", fields[name], "uri"
    for name in DATA_SETS:
        source = fields["data"].get(name) or {}
        for key in ("uri", "targetUri"):
            if source.get(key) is not None:
                yield f"spec.data.{name}.{key}", source, key
        if source.get("uris") is not None:
            uris = source["uris"] = list(source["uris"])
            for index in range(len(uris)):
                yield f"spec.data.{name}.uris[{index}]", uris, index
