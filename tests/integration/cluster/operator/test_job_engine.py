"""The engine `job` on a real API server, Job controller and scheduler.

Nothing but the kubelet is played: see `kubelet_stand_in`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import stand_in
from cluster.control_plane import ControlPlane
from cluster_api import ClusterApi
from engine_suite import EngineSuite
from job_engines import ConnectingEngine, settings_for
from kubelet_stand_in import KubeletStandIn
from operators import Jobs

from fulcrum_operator.engines.job.cluster import JobCluster
from fulcrum_operator.engines.job.engine import JobEngine
from fulcrum_operator.kubernetes.api import Kube
from fulcrum_operator.kubernetes.kubeconfig import from_kubeconfig
from fulcrum_operator.pools import Pool
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.store import Store

BEHAVIOURS = ("succeed", "fail", "no-evidence", "early-end", "other-plan", "hang")
ELSEWHERE = "example.test/nobody"
"""Manages the jobs that own the runs here: no operator looks after them."""


@pytest.fixture
def api(control_plane: ControlPlane) -> ClusterApi:
    """The API, as an administrator."""
    return ClusterApi(control_plane.admin_kubeconfig)


@pytest.fixture
def secured(namespace: str, api: ClusterApi) -> str:
    """A namespace in which only pods run that the profile `restricted` allows."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    api("PATCH", f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": labels}})
    return namespace


@pytest.fixture
def kubelet(api: ClusterApi, secured: str, tmp_path: Path) -> Iterator[KubeletStandIn]:
    """A node of the test's own."""
    node = KubeletStandIn(api, f"node-{secured}", tmp_path, {"nvidia.com/gpu": "2"}).start()
    yield node
    node.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(f"file://{tmp_path}/store")


@pytest.fixture
def owners(control_plane: ControlPlane, secured: str) -> dict[str, str]:
    """CompressionJobs by name, that own the Jobs of runs: without them these are garbage."""
    jobs = Jobs(control_plane.kubectl, secured)
    for name in BEHAVIOURS:
        jobs.apply(name, engine="job", managedBy=ELSEWHERE)
    return {each["metadata"]["name"]: each["metadata"]["uid"] for each in jobs.items()}


@pytest.fixture
def plans(owners: dict[str, str], secured: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make plans of the stand-in that belong to the jobs that there are, in the suite too."""

    def owned(behaviour: str, **changes: object) -> Plan:
        plan = stand_in.stand_in_plan(behaviour, **changes)
        return plan.model_copy(update={"namespace": secured, "uid": owners[behaviour]})

    monkeypatch.setattr("engine_suite.stand_in_plan", owned)
    return owned


@pytest.fixture
def engine(
    control_plane: ControlPlane, store: Store, secured: str, kubelet: KubeletStandIn, plans: Any
) -> ConnectingEngine:
    """The engine with the rights of the operator and no more, whose pods run at once."""
    token = control_plane.token_kubeconfig("fulcrum-system", "fulcrum-operator")
    cluster = JobCluster(cast("Kube", None), "fulcrum-system.fulcrum-operator", (secured,))
    pools = {"default": Pool.model_validate(kubelet.pool())}
    made = JobEngine(store, settings_for(), pools, cluster)
    return ConnectingEngine(made, cluster, from_kubeconfig(token))


class TestJobEngine(EngineSuite):
    """The suite of all engines."""
