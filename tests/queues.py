"""Kueue's queues as a platform engineer makes them, and what Kueue has of Jobs, for tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cluster_api import ClusterApi, RefusedError
from kubelet_stand_in import KubeletStandIn

VERSION = "kueue.x-k8s.io/v1beta2"
ROOT = f"/apis/{VERSION}"
Object = dict[str, Any]


@dataclass
class Queues:
    """One ClusterQueue, its flavours, and a LocalQueue `team` in the test's namespace.

    Attributes:
        api: As an administrator.
        namespace: Of the LocalQueue; the others carry its name, for they are the cluster's.
    """

    api: ClusterApi
    namespace: str
    _made: list[str] = field(default_factory=list)

    def open(self, *nodes: KubeletStandIn, **spec: Any) -> None:
        """Make a flavour of one GPU for each of `nodes`, and the queues; `spec` is merged in."""
        for node in nodes:
            pool = node.pool()
            flavor = {"nodeLabels": pool["node_selector"], "tolerations": pool["tolerations"]}
            self._create("resourceflavors", "ResourceFlavor", node.name, flavor)
        group = {"coveredResources": [*_QUOTA], "flavors": [_flavor(node.name) for node in nodes]}
        self._create("clusterqueues", "ClusterQueue", self.namespace, {
            "namespaceSelector": {}, "resourceGroups": [group], **spec,
        })  # fmt: skip
        self.api("POST", f"{ROOT}/namespaces/{self.namespace}/localqueues", {
            "apiVersion": VERSION, "kind": "LocalQueue", "metadata": {"name": "team"},
            "spec": {"clusterQueue": self.namespace},
        })  # fmt: skip

    def change(self, **spec: Any) -> None:
        """Edit the ClusterQueue."""
        self.api("PATCH", f"{ROOT}/clusterqueues/{self.namespace}", {"spec": spec})

    def workloads(self) -> list[Object]:
        """Return what Kueue has of the namespace's Jobs."""
        found: list[Object] = self.api("GET", f"{ROOT}/namespaces/{self.namespace}/workloads")[
            "items"
        ]
        return found

    def set_active(self, workload: Object, *, active: bool) -> None:
        """Let Kueue evict a workload and keep it out, or consider it again."""
        name = workload["metadata"]["name"]
        path = f"{ROOT}/namespaces/{self.namespace}/workloads/{name}"
        self.api("PATCH", path, {"spec": {"active": active}})

    def close(self) -> None:
        """Ask for the deletion of what is the cluster's; Kueue lets go once nothing uses it."""
        for path in reversed(self._made):
            try:
                self.api("DELETE", path)
            except RefusedError as error:
                if error.code != 404:
                    raise

    def _create(self, plural: str, kind: str, name: str, spec: Object) -> None:
        body = {"apiVersion": VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
        self.api("POST", f"{ROOT}/{plural}", body)
        self._made.append(f"{ROOT}/{plural}/{name}")


_QUOTA = {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "1"}


def _flavor(name: str) -> Object:
    resources = [{"name": each, "nominalQuota": amount} for each, amount in _QUOTA.items()]
    return {"name": name, "resources": resources}
