"""A job that the operator runs in Kubeflow Pipelines, on any cluster that has our schemas."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster.kubectl import Kubectl
from cluster_api import ClusterApi, RefusedError
from operators import Jobs, OperatorProcess, wait_until

from fulcrum_operator.resources.names import OPERATOR_NAME, OPERATOR_NAMESPACE
from fulcrum_operator.settings import Kubeflow
from fulcrum_pipelines.storage.store import Store
from kubeflow.others import OthersClient
from kubeflow.site import NAME, Site

ADMISSION = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/fulcrum-status"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
LEASE = "fulcrum-e2e"


@dataclass(frozen=True)
class Operated:
    """An operator that is not started, and the jobs that it looks after.

    Attributes:
        jobs: In a separate namespace.
        operator: With the engine.
        arguments: That it has to be started with.
    """

    jobs: Jobs
    operator: OperatorProcess
    arguments: tuple[str, ...]


@contextlib.contextmanager
def operated(
    site: Site, settings: Kubeflow, store: Store, kubeconfig: Path, directory: Path
) -> Iterator[Operated]:
    """Give an operator for a namespace that is made for it, and removed in the end.

    Skips the test where the cluster has no schemas of ours.
    """
    api = ClusterApi(kubeconfig)
    if not _is_there(api, "/apis/fulcrum.dev/v1alpha1"):
        pytest.skip("needs our schemas in the cluster: kubectl apply --server-side -f crds")
    namespace = f"{NAME}-{uuid.uuid4().hex[:12]}"
    api("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    try:
        jobs = Jobs(Kubectl(Path("kubectl"), kubeconfig), namespace)
        config = directory / "settings.yaml"
        identity = _kubeconfig(api, kubeconfig, namespace, directory)
        config.write_text(yaml.safe_dump(_settings(settings, store, identity, namespace)))
        operator = OperatorProcess(directory, config)
        try:
            yield Operated(jobs, operator, ("--pipeline", str(site.stand_in_file)))
        finally:
            operator.kill()
            for name in jobs.names():  # without an operator their finalizers stay
                path = f"/apis/fulcrum.dev/v1alpha1/namespaces/{namespace}/compressionjobs/{name}"
                api("PATCH", path, {"metadata": {"finalizers": None}})
    finally:
        api("DELETE", f"/api/v1/namespaces/{namespace}")


def run_with_a_kill(given: Operated, effect: str, *, quiet_s: float, timeout_s: float) -> str:
    """Kill an operator after its next `effect`, start it again, and return the key of the run.

    Args:
        given: The operator.
        effect: At which it is killed.
        quiet_s: Wait before the start; if another operator takes the job, the test is skipped.
        timeout_s: Until the job's end.
    """
    jobs, operator = given.jobs, given.operator
    name = jobs.apply("succeed", engine="kubeflow")
    time.sleep(quiet_s)
    if jobs.status(name):
        pytest.skip("needs a cluster in which no other operator looks after all namespaces")
    operator.start(*given.arguments, "--kill-at", effect, ready=False)
    wait_until(lambda: not operator.alive, timeout_s, lambda: operator.log[-4000:])
    assert operator.effects[-1] == effect
    operator.start(*given.arguments)
    status = jobs.reaches(name, "Succeeded", timeout_s=timeout_s)
    assert status["attempt"] == 1
    return str(status["run"]["key"])


async def runs_named(settings: Kubeflow, name: str) -> list[str]:
    """Return the ids of all runs in Kubeflow that bear a name."""
    runs = await OthersClient(settings).runs(namespace=settings.namespace, name=name)
    return [run.run_id for run in runs]


def _is_there(api: ClusterApi, path: str) -> bool:
    try:
        api("GET", path)
    except RefusedError as error:
        if error.code != 404:
            raise
        return False
    return True


def _settings(settings: Kubeflow, store: Store, kubeconfig: Path, namespace: str) -> dict[str, Any]:
    secret = {"token", "cookie"}  # which the operator takes from the environment, as the test did
    return {
        "identity": NAME,
        "namespace": namespace,
        "namespaces": [namespace],
        "kubeconfig": str(kubeconfig),
        "store": store.url,
        "source_root": f"{store.url}-inputs",
        "log_format": "text",
        "http": {"port": 0},
        "process": {"work_root": str(kubeconfig.parent / "work")},
        "election": {"lease_name": LEASE},
        "reconcile": {"poll_s": 1.0, "first_backoff_s": 1.0},
        "kubeflow": settings.model_dump(mode="json", exclude=secret, exclude_none=True),
    }


def _kubeconfig(api: ClusterApi, kubeconfig: Path, namespace: str, directory: Path) -> Path:
    """Return credentials for the operator: its own account's, if no other may write status."""
    if not _is_there(api, ADMISSION):
        path = directory / "kubeconfig"
        path.write_text(kubeconfig.read_text())
        path.chmod(0o600)
        return path
    account = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/serviceaccounts/{OPERATOR_NAME}"
    if not _is_there(api, account):
        pytest.skip(f"needs the account {OPERATOR_NAMESPACE}/{OPERATOR_NAME}, as status is its own")
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = api("POST", f"{account}/token", request)["status"]["token"]
    rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]}
    api("POST", f"{RBAC}/namespaces/{namespace}/roles", _named({"rules": [rule]}))
    subject = {"kind": "ServiceAccount", "name": OPERATOR_NAME, "namespace": OPERATOR_NAMESPACE}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": LEASE}
    binding = _named({"roleRef": role, "subjects": [subject]})
    api("POST", f"{RBAC}/namespaces/{namespace}/rolebindings", binding)
    return _with_token(kubeconfig, token, directory / "kubeconfig")


def _named(fields: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": LEASE}, **fields}


def _with_token(kubeconfig: Path, token: str, path: Path) -> Path:
    """Write a kubeconfig for the same cluster, with a token for the user."""
    content = yaml.safe_load(kubeconfig.read_text())
    current = content["current-context"]
    (context,) = (each["context"] for each in content["contexts"] if each["name"] == current)
    context["user"] = NAME
    content["users"] = [{"name": NAME, "user": {"token": token}}]
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(content))
    return path
