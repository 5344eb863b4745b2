"""CRDs of the objects that are parts of a CompressionJob, and of the schedule that has one in it.

Derived, so that a recipe, a gate policy and a schedule's template are accepted exactly if a job
with them is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

HEADER = "# Generated from compressionjob.yaml by `make crds`; do not edit.\n"
SCHEDULE_HEADER = (
    "# Generated from parts/compressionschedule.yaml and compressionjob.yaml by `make crds`; do "
    "not edit.\n"
)


@dataclass(frozen=True)
class Part:
    """A kind whose spec is, or holds, one field of a job's."""

    kind: str
    plural: str
    short: str
    scope: str
    field: str
    description: str

    @property
    def file_name(self) -> str:
        return f"{self.kind.lower()}.yaml"


PARTS = (
    Part(
        "CompressionRecipe",
        "compressionrecipes",
        "crecipe",
        "Namespaced",
        "recipe",
        "CompressionRecipe is a recipe that the jobs of its namespace can name in spec.recipeRef.",
    ),
    Part(
        "ClusterCompressionRecipe",
        "clustercompressionrecipes",
        "ccrecipe",
        "Cluster",
        "recipe",
        "ClusterCompressionRecipe is a recipe that any job can name in spec.recipeRef.",
    ),
    Part(
        "GatePolicy",
        "gatepolicies",
        "gp",
        "Namespaced",
        "gates",
        "GatePolicy is a list of gates that the jobs of its namespace can name in "
        "spec.gatePolicyRef.",
    ),
    Part(
        "ClusterGatePolicy",
        "clustergatepolicies",
        "cgp",
        "Cluster",
        "gates",
        "ClusterGatePolicy is a list of gates that any job can name in spec.gatePolicyRef.",
    ),
)


NO_PLACEHOLDERS = "!self.contains('{slot')"
"""The rule of a job's addresses that a template's do not have."""
OF_WRITTEN_ADDRESSES = "!has(self.minimum) || !has(self.uris) || self.minimum <= self.uris.size()"
"""A job's rule that a template need not keep: one item of it may become many addresses."""
PLACEHOLDERS = {
    # Short, since the API server counts what it costs for 1000 addresses of 1024 characters.
    "rule": (
        "self.matches('^([^{]|[{]([^s]|slots?([+-][0-9]+[hdw])?:"
        "([0-9]+[hdw][*][0-9]+:)?[^{}]*%[^{}]*[}]))*$')"
    ),
    "message": "a placeholder must be such as {slot:%Y-%m-%d}, {slot-1d:%Y/%m/%d} or, in an item "
    "of uris, {slots:1d*28:%Y-%m-%d}; units are h, d and w",
}


class _Plain(yaml.SafeDumper):
    """Writes what is used twice twice, since a reader of a schema follows no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


# Texts that kubectl's reader takes for booleans, and PyYAML writes without quotes.
_Plain.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^[yYnN]$"), list("yYnN"))


def derive(job: dict[str, Any]) -> dict[str, str]:
    """Return file name and text of each CRD that is derived from that of CompressionJob."""
    return {part.file_name: HEADER + _written(_crd(part, job)) for part in PARTS}


def schedule(job: dict[str, Any], rest: dict[str, Any]) -> str:
    """Return the CRD of CompressionSchedule: `rest`, with a job's spec in its template."""
    template = _schema(rest)["properties"]["spec"]["properties"]["jobTemplate"]
    template["properties"]["spec"] = _in_template(_schema(job)["properties"]["spec"])
    return SCHEDULE_HEADER + _written(rest)


def _written(crd: dict[str, Any]) -> str:
    return yaml.dump(crd, Dumper=_Plain, sort_keys=False, width=10_000, allow_unicode=True)


def _schema(crd: dict[str, Any]) -> dict[str, Any]:
    (version,) = crd["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def _in_template(schema: Any) -> Any:
    """Return `schema` without rules against changes, and with placeholders in addresses."""
    if isinstance(schema, list):
        return [_in_template(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {name: _in_template(value) for name, value in schema.items()}
    if rules := schema.get("x-kubernetes-validations"):
        kept = [
            PLACEHOLDERS if rule["rule"] == NO_PLACEHOLDERS else rule
            for rule in rules
            if "oldSelf" not in rule["rule"] and rule["rule"] != OF_WRITTEN_ADDRESSES
        ]
        changed.pop("x-kubernetes-validations")
        changed |= {"x-kubernetes-validations": kept} if kept else {}
    return changed


def _changeable(field: dict[str, Any]) -> dict[str, Any]:
    """Return `field` without the rule that it does not change: a template may."""
    rules = [rule for rule in field["x-kubernetes-validations"] if "oldSelf" not in rule["rule"]]
    rest = {name: value for name, value in field.items() if name != "x-kubernetes-validations"}
    return {**rest, "x-kubernetes-validations": rules} if rules else rest


def _crd(part: Part, job: dict[str, Any]) -> dict[str, Any]:
    (version,) = job["spec"]["versions"]
    whole = _schema(job)
    field = _changeable(whole["properties"]["spec"]["properties"][part.field])
    root = {
        "type": "object",
        "description": part.description,
        "required": ["spec"],
        "properties": {
            name: whole["properties"][name] for name in ("apiVersion", "kind", "metadata")
        }
        | {"spec": _spec(part, field)},
    }
    root["properties"]["kind"] = {"type": "string", "description": f"{part.kind}."}
    return {
        "apiVersion": job["apiVersion"],
        "kind": job["kind"],
        "metadata": {"name": f"{part.plural}.{job['spec']['group']}"},
        "spec": {
            "group": job["spec"]["group"],
            "scope": part.scope,
            "names": {
                "kind": part.kind,
                "listKind": f"{part.kind}List",
                "plural": part.plural,
                "singular": part.kind.lower(),
                "shortNames": [part.short],
                "categories": ["fulcrum"],
            },
            "versions": [
                {
                    "name": version["name"],
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": version["additionalPrinterColumns"][-1:],
                    "schema": {"openAPIV3Schema": root},
                }
            ],
        },
    }


def _spec(part: Part, field: dict[str, Any]) -> dict[str, Any]:
    if field["type"] == "object":
        return field
    return {
        "type": "object",
        "description": "What must hold of a candidate.",
        "required": [part.field],
        "properties": {part.field: field},
    }
