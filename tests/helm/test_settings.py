"""The configuration file that the chart writes is one that the operator reads, all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from fulcrum_operator.settings import Settings, load_settings
from helm.running import NAMESPACE, Helm, Object, of_kind
from helm.value_sets import value_sets

SETS = value_sets()
SAMPLES: dict[str, Any] = {
    "namespaces": ("team-a", "team-b"),
    "store": "s3://models/fulcrum",
    "source_root": "s3://models/sources",
    "log_format": "text",
    "log_level": "ERROR",
    "pools": {"gpu-a": {"cpu": "4", "node_selector": {"pool": "gpu-a"}, "accelerator_count": 2}},
    "job.enabled": True,
    "job.image_pull_policy": "Always",
    "job.image_pull_secrets": ("registry",),
    "job.scratch_size": "50Gi",
    "job.tmp_size": "2Gi",
    "kubeflow.url": "http://ml-pipeline:8888",
    "kubeflow.fuse": "All",
    "kubeflow.in_job_namespace": True,
    "election.lease_duration_s": 60.0,
}
"""Of settings that are not any number or any text."""
ELSEWHERE = {
    "namespaces": "namespaces",
    "pools": "pools",
    "store": "store.url",
    "source_root": "store.sourceRoot",
    "http.port": "metrics.port",
}
"""Settings that are values of another name."""
FIXED = {
    "namespace": NAMESPACE,
    "http.host": "0.0.0.0",
    "election.lease_name": "fulcrum-operator",
    "process.enabled": False,
}
"""Settings that the chart fixes."""
NOT_FOR_PODS = {"identity", "kubeconfig", "process.work_root", "process.max_running"}
FROM_SECRETS = {"kubeflow.token": "tokenKey", "kubeflow.cookie": "cookieKey"}
FROM_FILES: dict[str, dict[str, Any]] = {
    "kubeflow.token_path": {"serviceAccountToken": True},
    "kubeflow.ca_path": {"existingSecret": "access", "caKey": "ca.crt"},
}
EXCLUDED = {"kubeflow.namespace"}
"""By kubeflow.in_job_namespace; rendered by itself."""


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and the default of every setting."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from leaves(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.default


def sample(path: str, default: Any) -> Any:
    """Return a value of a setting that is not its default."""
    if path in SAMPLES:
        return SAMPLES[path]
    if isinstance(default, (int, float)) and not isinstance(default, bool):
        return default + 1
    return 7 if default is None else f"another-{path.rpartition('.')[2].replace('_', '-')}"


LEAVES = dict(leaves(Settings))
BY_VALUE = {
    path: sample(path, default)
    for path, default in LEAVES.items()
    if path not in {*FIXED, *NOT_FOR_PODS, *FROM_SECRETS, *FROM_FILES, *EXCLUDED}
}


def value_of(path: str) -> str:
    """Return the path of the value by which a setting is set."""
    if path in ELSEWHERE:
        return ELSEWHERE[path]
    return f"engines.{path}" if path.startswith(("job.", "kubeflow.")) else f"settings.{path}"


def nested(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by their paths as a tree."""
    tree: dict[str, Any] = {}
    for path, value in given.items():
        *folders, name = path.split(".")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = list(value) if isinstance(value, tuple) else value
    return tree


def flat(model: BaseModel, prefix: str = "") -> dict[str, Any]:
    """Return a model's values by their paths."""
    found: dict[str, Any] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        nested = isinstance(value, BaseModel)
        found |= flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return found


def read(objects: list[Object], directory: Path) -> Settings:
    """Return the settings as the operator would read them."""
    (config,) = of_kind(objects, "ConfigMap")
    path = directory / "settings.yaml"
    path.write_text(config["data"]["settings.yaml"])
    return load_settings(path)


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in LEAVES:
        monkeypatch.delenv(f"FULCRUM_{path.upper().replace('.', '__')}", raising=False)


@pytest.mark.parametrize("name", SETS)
def test_settings_of_every_set_are_read(helm: Helm, name: str, tmp_path: Path) -> None:
    settings = read(helm.objects(SETS[name]), tmp_path)
    assert {path: flat(settings)[path] for path in FIXED if "lease" not in path} == {
        path: value for path, value in FIXED.items() if "lease" not in path
    }
    assert settings.store == SETS[name]["store"]["url"]
    assert settings.job.enabled or settings.kubeflow.url


def test_every_setting_has_a_value(helm: Helm, tmp_path: Path) -> None:
    values = nested({value_of(path): value for path, value in BY_VALUE.items()})
    values["networkPolicy"] = {"operator": False, "jobs": False}
    found = flat(read(helm.objects(values), tmp_path))
    (pool,) = found["pools"].values()
    found["pools"] = {"gpu-a": pool.model_dump(exclude_unset=True)}
    wanted = {**BY_VALUE, **FIXED}
    assert {path: found[path] for path in wanted} == wanted
    assert all(value != LEAVES[path] for path, value in BY_VALUE.items())


def test_setting_that_others_exclude_has_a_value(helm: Helm, tmp_path: Path) -> None:
    values = {**SETS["kubeflow"], "engines": {"kubeflow": {"url": "http://a", "namespace": "ann"}}}
    objects = helm.objects(values)
    assert read(objects, tmp_path).kubeflow.namespace == "ann"
    (role,) = of_kind(objects, "Role", "fulcrum-operator-runs")
    assert role["metadata"]["namespace"] == "ann"


@pytest.mark.parametrize("path", FROM_SECRETS)
def test_secret_becomes_a_setting(
    helm: Helm, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"FULCRUM_{path.upper().replace('.', '__')}"
    objects = helm.objects(with_auth({"existingSecret": "access", FROM_SECRETS[path]: "key"}))
    (deployment,) = of_kind(objects, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (given,) = (each for each in container["env"] if each["name"] == variable)
    assert given["valueFrom"] == {"secretKeyRef": {"name": "access", "key": "key"}}
    monkeypatch.setenv(variable, "from the secret")
    assert flat(read(objects, tmp_path))[path].get_secret_value() == "from the secret"


@pytest.mark.parametrize("path", FROM_FILES)
def test_file_is_mounted_where_the_setting_says(helm: Helm, path: str, tmp_path: Path) -> None:
    objects = helm.objects(with_auth(FROM_FILES[path]))
    (deployment,) = of_kind(objects, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    file = flat(read(objects, tmp_path))[path]
    (mount,) = (m for m in container["volumeMounts"] if m["mountPath"] == str(file.parent))
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    (volume,) = (each for each in volumes if each["name"] == mount["name"])
    assert file.name in yaml.safe_dump(volume)
    assert mount["readOnly"] is True


def with_auth(auth: dict[str, Any]) -> dict[str, Any]:
    return {**SETS["kubeflow"], "engines": {"kubeflow": {"url": "http://a", "auth": auth}}}
