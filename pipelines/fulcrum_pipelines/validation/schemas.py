"""The schemas that this version knows: the CRDs, shipped as data."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from fulcrum_pipelines.validation.structure import Schema

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def known_kinds() -> dict[tuple[str, str], Schema]:
    """Return the schema of each (apiVersion, kind)."""
    found: dict[tuple[str, str], Schema] = {}
    for resource in (files("fulcrum_pipelines") / "crds").iterdir():
        if resource.name.endswith(".yaml"):
            spec = yaml.load(resource.read_text(), Loader=_LOADER)["spec"]
            for version in spec["versions"]:
                key = f"{spec['group']}/{version['name']}", spec["names"]["kind"]
                found[key] = version["schema"]["openAPIV3Schema"]
    return found


def job_spec_schema() -> Schema:
    """Return the schema of the specification of a CompressionJob."""
    spec: Schema = known_kinds()["fulcrum.dev/v1alpha1", "CompressionJob"]["properties"]["spec"]
    return spec


def gates_schema() -> Schema:
    """Return the schema of a list of gates."""
    gates: Schema = job_spec_schema()["properties"]["gates"]
    return gates
