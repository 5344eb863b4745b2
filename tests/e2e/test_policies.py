"""NetworkPolicies on real nodes: what the chart says of pods of jobs, enforced for these tests."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cluster.kubectl import Kubectl
from node.archives import NON_ROOT, PROBE_IMAGE
from node.policies import POLL_S, enforced
from node.real_cluster import PLAIN, RealCluster

PROBE = "/probe"
WITHIN = "--timeout=90s"
JOB = {"app.kubernetes.io/managed-by": "fulcrum", "fulcrum.dev/job": "digits"}
PODS = {"evil": JOB, "neighbour": {"app": "web"}}


def pod(name: str, labels: dict[str, str]) -> dict[str, Any]:
    """Return a pod that does nothing by itself."""
    container = {
        "name": "probe",
        "image": PROBE_IMAGE,
        "args": ["pause"],
        "resources": {"limits": {"memory": "32Mi", "cpu": "100m"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    spec = {
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "nodeSelector": {"pool": PLAIN.name},
        "containers": [container],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": NON_ROOT,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def policy(egress: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a policy of pods of jobs, selected as the chart does."""
    selector = {
        "matchLabels": {"app.kubernetes.io/managed-by": "fulcrum"},
        "matchExpressions": [{"key": "fulcrum.dev/job", "operator": "Exists"}],
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "jobs"},
        "spec": {
            "podSelector": selector,
            "policyTypes": ["Ingress", "Egress"],
            "egress": egress,
        },
    }


@pytest.fixture
def dial(
    node: RealCluster, kubectl: Kubectl, namespace: str
) -> Iterator[Callable[[str, str], bool]]:
    """Return whether a pod reaches an address; the pods exist, and policies are in effect."""
    for name, labels in PODS.items():
        kubectl("create", f"-n={namespace}", "-f", "-", stdin=json.dumps(pod(name, labels)))
    kubectl("wait", "--for=condition=Ready", "pods", "--all", f"-n={namespace}", WITHIN)

    def reaches(name: str, address: str) -> bool:
        said = kubectl("exec", name, f"-n={namespace}", "--", PROBE, "dial", address)
        return said.split()[-1] == "reachable"

    with enforced(node):
        yield reaches


def test_a_job_reaches_what_its_policy_lists_and_nothing_else(
    node: RealCluster, kubectl: Kubectl, namespace: str, dial: Callable[[str, str], bool]
) -> None:
    host, port = node.slot.host, node.plane.server.rpartition(":")[2]
    server, service = f"{host}:{port}", f"{node.slot.services[1]}:443"
    assert dial("evil", server)
    assert dial("evil", service)

    def apply(egress: list[dict[str, Any]]) -> None:
        kubectl("apply", f"-n={namespace}", "-f", "-", stdin=json.dumps(policy(egress)))
        time.sleep(3 * POLL_S)

    apply([])
    assert not dial("evil", server)
    assert not dial("evil", service)
    assert dial("neighbour", server)
    store = {"ipBlock": {"cidr": f"{host}/32"}}  # the store of these tests is on the same machine
    apply([{"to": [store], "ports": [{"port": int(port), "protocol": "TCP"}]}])
    assert dial("evil", server)
    apply([{"to": [store], "ports": [{"port": int(port) + 1, "protocol": "TCP"}]}])
    assert not dial("evil", server)
    kubectl("delete", "networkpolicy", "jobs", f"-n={namespace}")
    time.sleep(3 * POLL_S)
    assert dial("evil", server)
