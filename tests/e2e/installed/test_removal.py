"""An uninstalled release leaves schemas and objects, and nothing that runs."""

from __future__ import annotations

from helm.running import NAMESPACE as SYSTEM
from installation import TEAM, Installation


def test_uninstalled_release_keeps_jobs_and_channels(fulcrum: Installation, name: str) -> None:
    fulcrum.apply(name)
    fulcrum.jobs.ended(name, 300.0)
    fulcrum.run(f"helm uninstall fulcrum --namespace={SYSTEM} --wait")
    kubectl = fulcrum.cluster.kubectl
    kubectl("wait", "--for=delete", "pods", "--all", f"-n={SYSTEM}", "--timeout=60s")
    assert kubectl("get", "deployments", f"-n={SYSTEM}", "--output=name") == ""
    assert fulcrum.jobs.status(name)["phase"] == "Succeeded"
    assert "clusterrole.rbac.authorization.k8s.io/fulcrum" not in kubectl(
        "get", "clusterroles", "--output=name"
    )
    kubectl("delete", "namespace", TEAM, "--timeout=60s")
