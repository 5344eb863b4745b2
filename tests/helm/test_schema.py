"""Values that cannot work are refused before anything reaches a cluster, in words that help."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from cluster.installing import ROOT

from helm.running import CHART, Helm, HelmError
from helm.value_sets import value_sets

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
GOOD = {"store": {"url": "s3://models/fulcrum"}, "engines": {"job": {"enabled": True}}}
KUBEFLOW = {"url": "http://ml-pipeline:8888"}


@dataclass(frozen=True)
class Refused:
    """Values, over good ones, and what is said of them."""

    name: str
    said: tuple[str, ...]
    values: dict[str, Any]


def unknown(where: str, name: str) -> tuple[str, ...]:
    return (f"at '{where}'", f"additional properties '{name}' not allowed")


WITH_SETTINGS = ("/engines/job", "/engines/kubeflow")
ANYWHERE = [{"ipBlock": {"cidr": "0.0.0.0/0"}}]
REFUSED = (
    Refused("unknown value", unknown("", "replicaCount"), {"replicaCount": 2}),
    Refused("unknown value below", unknown("/store", "bucket"), {"store": {"bucket": "models"}}),
    Refused("no store", ("store.url is needed", "s3://bucket/fulcrum"), {"store": {"url": ""}}),
    Refused("store is a path", ("at '/store/url'", "does not match"), {"store": {"url": "/data"}}),
    Refused(
        "no engine",
        ("no engine is set up: set engines.job.enabled, or engines.kubeflow.url",),
        {"engines": {"job": {"enabled": False}}},
    ),
    Refused(
        "engine that is not offered",
        unknown("/engines", "process"),
        {"engines": {"process": {"enabled": True}}},
    ),
    Refused(
        "unknown setting of an engine",
        unknown("/engines/job", "gpu"),
        {"engines": {"job": {"gpu": 1}}},
    ),
    Refused(
        "wrong size of scratch",
        ("at '/engines/job/scratch_size'", "'20 GB' does not match"),
        {"engines": {"job": {"scratch_size": "20 GB"}}},
    ),
    Refused(
        "time to live too short",
        ("at '/engines/job/ttl_seconds'", "minimum: got 5, want 60"),
        {"engines": {"job": {"ttl_seconds": 5}}},
    ),
    Refused(
        "address of Kubeflow without a scheme",
        ("at '/engines/kubeflow/url'", "does not match"),
        {"engines": {"kubeflow": {"url": "ml-pipeline:8888"}}},
    ),
    Refused(
        "token in plain sight",
        unknown("/engines/kubeflow", "token"),
        {"engines": {"kubeflow": {**KUBEFLOW, "token": "secret"}}},
    ),
    Refused(
        "key without a secret",
        ("engines.kubeflow.auth.existingSecret is needed with a key of it",),
        {"engines": {"kubeflow": {**KUBEFLOW, "auth": {"tokenKey": "token"}}}},
    ),
    Refused(
        "two tokens",
        ("engines.kubeflow.auth.tokenKey and engines.kubeflow.auth.serviceAccountToken exclude",),
        {
            "engines": {
                "kubeflow": {
                    **KUBEFLOW,
                    "auth": {
                        "existingSecret": "a",
                        "tokenKey": "token",
                        "serviceAccountToken": True,
                    },
                }
            }
        },
    ),
    Refused(
        "runs in all profiles",
        ("in_job_namespace needs the list of all profiles in namespaces",),
        {"engines": {"kubeflow": {**KUBEFLOW, "in_job_namespace": True}}},
    ),
    Refused(
        "pool with an unknown field",
        unknown("/pools/gpu-a", "gpus"),
        {"pools": {"gpu-a": {"gpus": 1}}},
    ),
    Refused(
        "pool with a wrong amount",
        ("at '/pools/gpu-a/memory'", "'16 GB' does not match"),
        {"pools": {"gpu-a": {"memory": "16 GB"}}},
    ),
    Refused(
        "pool with fewer than no accelerators",
        ("at '/pools/gpu-a/accelerator_count'", "minimum: got -1, want 0"),
        {"pools": {"gpu-a": {"accelerator_count": -1}}},
    ),
    Refused(
        "toleration with a wrong effect",
        ("at '/pools/a/tolerations/0/effect'", "must be one of '', 'NoSchedule'"),
        {"pools": {"a": {"tolerations": [{"key": "x", "effect": "NoExecution"}]}}},
    ),
    Refused("unknown setting", unknown("/settings", "verbose"), {"settings": {"verbose": True}}),
    Refused(
        "setting of the wrong kind",
        ("at '/settings/reconcile/workers'", "got string, want integer"),
        {"settings": {"reconcile": {"workers": "many"}}},
    ),
    Refused(
        "setting out of its range",
        ("at '/settings/election/lease_duration_s'", "exclusiveMinimum: got 0, want 0"),
        {"settings": {"election": {"lease_duration_s": 0}}},
    ),
    Refused(
        "setting that the chart sets",
        unknown("/settings", "namespaces"),
        {"settings": {"namespaces": ["team-a"]}},
    ),
    Refused(
        "one identity for all replicas",
        unknown("/settings", "identity"),
        {"settings": {"identity": "one"}},
    ),
    Refused("no replica", ("at '/replicas'", "minimum: got 0, want 1"), {"replicas": 0}),
    Refused(
        "wrong name of a namespace",
        ("at '/namespaces/0'", "'Team A' does not match"),
        {"namespaces": ["Team A"]},
    ),
    Refused(
        "namespace twice", ("at '/namespaces'", "items at 0 and 1 are equal"),
        {"namespaces": ["team-a", "team-a"]},
    ),
    Refused(
        "namespaces to be made, and none",
        ("createNamespaces needs the names in namespaces",),
        {"createNamespaces": True},
    ),
    Refused(
        "operator that is no service account",
        ("at '/admission/operators/0'", "'ann' does not match"),
        {"admission": {"operators": ["ann"]}},
    ),
    Refused(
        "digest that is none",
        ("at '/image/digest'", "does not match"),
        {"image": {"digest": "sha256:1234"}},
    ),
    Refused(
        "tag in the repository",
        ("at '/image/repository'", "does not match"),
        {"image": {"repository": "fulcrum-operator@sha256:1234"}},
    ),
    Refused("root", ("at '/runAsUser'", "minimum: got 0, want 1"), {"runAsUser": 0}),
    Refused(
        "no time for an orderly end",
        ("at '/terminationGracePeriodSeconds'", "minimum: got 1, want 15"),
        {"terminationGracePeriodSeconds": 1},
    ),
    Refused(
        "privileged port",
        ("at '/metrics/port'", "minimum: got 80, want 1,024"),
        {"metrics": {"port": 80}},
    ),
    Refused(
        "monitor of a service that is not made",
        ("metrics.serviceMonitor.enabled needs metrics.service.enabled",),
        {"metrics": {"service": {"enabled": False}, "serviceMonitor": {"enabled": True}}},
    ),
    Refused(
        "jobs without a way to the store",
        ("networkPolicy.store.to is needed, so that pods of jobs reach the store",),
        {"namespaces": ["team-a"]},
    ),
    Refused(
        "jobs with a way to everything",
        ("networkPolicy.apiServer is needed with 0.0.0.0/0 in networkPolicy.store.to",),
        {"namespaces": ["team-a"], "networkPolicy": {"store": {"to": ANYWHERE}}},
    ),
    Refused(
        "peer that is none",
        ("at '/networkPolicy/store/to/0'", "minProperties"),
        {"networkPolicy": {"store": {"to": [{}]}}},
    ),
    Refused(
        "address that is no block",
        ("at '/networkPolicy/apiServer/0'", "does not match"),
        {"networkPolicy": {"apiServer": ["10.96.0.1"]}},
    ),
)  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_refused(helm: Helm, case: Refused) -> None:
    with pytest.raises(HelmError) as caught:
        helm.render(merged(GOOD, case.values))
    for words in case.said:
        assert words in str(caught.value)


@pytest.mark.parametrize("name", value_sets())
def test_accepted_and_lint_finds_nothing(helm: Helm, name: str) -> None:
    said = helm("lint", "--strict", "--quiet", str(CHART), values=value_sets()[name])
    assert said.strip() == ""


def test_defaults_alone_pass_the_schema(helm: Helm) -> None:
    """The templates report missing values, in a readable message."""
    with pytest.raises(HelmError, match=r"store\.url is needed"):
        helm.render({})


def objects_in(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each part of a schema that describes an object with fields, and its path."""
    if isinstance(schema, list):
        for number, each in enumerate(schema):
            yield from objects_in(each, f"{path}/{number}")
    elif isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield path, schema
        for name, each in schema.items():
            yield from objects_in(each, f"{path}/{name}")


def test_every_object_is_closed() -> None:
    found = dict(objects_in(SCHEMA))
    assert len(found) > 20
    assert [path for path, part in found.items() if part["additionalProperties"]] == []


def test_every_value_is_described() -> None:
    text = (ROOT / "docs" / "install.md").read_text()
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) > 70
    assert [row[1] for row in rows if not row[3].strip()] == []


def test_every_default_is_one_that_the_schema_knows() -> None:
    """And every value of the chart's own has a default; a setting's is in the operator's code."""

    def compare(schema: dict[str, Any], defaults: dict[str, Any], path: str) -> None:
        own = {name for name in schema["properties"] if path not in WITH_SETTINGS}
        assert own <= set(defaults) <= set(schema["properties"]), path
        for name, default in defaults.items():
            part = schema["properties"][name]
            if isinstance(default, dict) and default and "properties" in part:
                compare(part, default, f"{path}/{name}")

    compare(SCHEMA, DEFAULTS, "")


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` merged into it."""
    both = {name: merged(base[name], over[name]) for name in base.keys() & over.keys()
            if isinstance(base[name], dict) and isinstance(over[name], dict)}  # fmt: skip
    return {**base, **over, **both}
