"""Jobs of the engine `job` in a queue of Kueue's real controller: two places, and what comes third.

Only the kubelets of the two nodes are played (`kubelet_stand_in`). Each has one GPU, and a
separate flavour in the queue.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cluster_api import ClusterApi
from kubelet_stand_in import KubeletStandIn
from kueue.controller import Kueue
from operator_site import Site
from operators import START_TIMEOUT_S, Jobs, OperatorProcess, wait_until
from queues import Queues

IMAGE = "registry.example/components:1"
NewNode = Callable[[str], KubeletStandIn]


@pytest.fixture
def operator(site: Site, api: ClusterApi) -> OperatorProcess:
    """An operator with the engine, started; jobs of its pools are admitted by the queue `team`."""
    pool = {"accelerator_count": 1, "cpu": "1", "memory": "1Gi", "queue": "team"}
    made = site.new_operator(
        job={"enabled": True, "image": IMAGE, "termination_grace_s": 1},
        pools={
            "gpu": pool,
            "cpu": {**pool, "accelerator_count": 0},
            "urgent": {**pool, "priority_class": "urgent"},
            "large": {**pool, "accelerator_count": 2},
        },
    )
    made.start()
    return made


@pytest.fixture
def jobs(site: Site, operator: OperatorProcess) -> Jobs:
    """The jobs of the test's namespace, which the operator looks after."""
    return site.jobs


def apply(jobs: Jobs, name: str, pool: str = "gpu", **spec: Any) -> str:
    return jobs.apply(name, engine="job", placement={"compute": pool}, **spec)


def condition(jobs: Jobs, name: str, kind: str = "QuotaReserved") -> dict[str, Any]:
    """Return a condition of a job, empty if it has none."""
    found = jobs.status(name).get("conditions", ())
    return next((each for each in found if each["type"] == kind), {})


def waits(jobs: Jobs, name: str, why: str = "insufficient unused quota") -> dict[str, Any]:
    """Wait until a job waits in its queue because of `why`; return its status."""

    def is_reported() -> bool:
        quota = condition(jobs, name)
        return quota.get("status") == "False" and why in quota["message"]

    wait_until(is_reported, START_TIMEOUT_S, lambda: json.dumps(jobs.status(name), indent=1))
    status = jobs.status(name)
    assert status["phase"] == "Pending"
    assert why in status["message"]
    assert status["attempt"] == 1
    assert "failures" not in status
    return status


def admitted(jobs: Jobs, name: str) -> None:
    """Wait until a job's queue has let it start."""
    wait_until(
        lambda: condition(jobs, name).get("status") == "True",
        START_TIMEOUT_S,
        lambda: json.dumps(jobs.status(name), indent=1),
    )


def works(site: Site, name: str, times: int = 1) -> None:
    """Wait until the stand-in works in the `times`-th pod of a job's only run."""
    admitted(site.jobs, name)
    wait_until(
        lambda: site.starts(name).total() >= times,
        START_TIMEOUT_S,
        lambda: json.dumps(site.jobs.status(name), indent=1),
    )
    site.jobs.reaches(name, "Running")


def finishes(site: Site, name: str, starts: int = 1) -> None:
    """Let a job go on, and wait until it has ended well, after one run in `starts` pods."""
    site.let_go(name)
    status = site.jobs.ended(name)
    assert status["phase"] == "Succeeded", status
    assert status["attempt"] == 1
    assert list(site.starts(name).values()) == [starts]
    assert condition(site.jobs, name)["status"] == "True"


def kubernetes_jobs(api: ClusterApi, namespace: str) -> dict[str, dict[str, Any]]:
    """Return the Jobs by the name of what they are the run of."""
    found = api("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs")["items"]
    return {each["metadata"]["labels"]["fulcrum.dev/job"]: each for each in found}


def pods(api: ClusterApi, namespace: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
    return found


def test_third_job_for_two_gpus_waits_with_kueues_reason_and_runs_when_one_ends(
    site: Site, jobs: Jobs, api: ClusterApi, queues: Queues, node: NewNode
) -> None:
    nodes = {each.name: each for each in (node("gpu-a"), node("gpu-b"))}
    queues.open(*nodes.values())
    for name in ("wait.1", "wait.2"):
        apply(jobs, name)
        works(site, name)
    ran_on = {pod["spec"]["nodeName"]: pod["spec"] for pod in pods(api, site.namespace)}
    assert ran_on.keys() == nodes.keys()
    for name, spec in ran_on.items():
        pool = nodes[name].pool()
        assert spec["nodeSelector"] == pool["node_selector"]
        assert all(each in spec["tolerations"] for each in pool["tolerations"])

    apply(jobs, "wait.3")
    status = waits(jobs, "wait.3")
    assert all(name in status["message"] for name in nodes)
    assert "nvidia.com/gpu" in status["message"]
    assert condition(jobs, "wait.3", "Progressing")["reason"] == "WaitsInQueue"
    job = kubernetes_jobs(api, site.namespace)["wait.3"]
    assert job["spec"]["suspend"]
    assert len(pods(api, site.namespace)) == 2
    time.sleep(1)  # several looks of the operator
    assert jobs.status("wait.3") == status, "written again although nothing has changed"

    finishes(site, "wait.1")
    works(site, "wait.3")
    assert condition(jobs, "wait.3", "Progressing")["status"] == "True"
    finishes(site, "wait.2")
    finishes(site, "wait.3")


def test_time_in_the_queue_is_not_the_jobs_time(
    site: Site, jobs: Jobs, queues: Queues, node: NewNode
) -> None:
    limit_s = 20  # a pod of a busy machine starts within it
    queues.open(node("gpu-a"))
    apply(jobs, "wait.1")
    works(site, "wait.1")
    apply(jobs, "wait.2", activeDeadlineSeconds=limit_s)
    waits(jobs, "wait.2")
    time.sleep(limit_s + 1)
    assert jobs.status("wait.2")["phase"] == "Pending"
    finishes(site, "wait.1")
    works(site, "wait.2")
    finishes(site, "wait.2")


def test_time_after_the_queue_is_the_jobs_time(
    site: Site, jobs: Jobs, queues: Queues, node: NewNode
) -> None:
    queues.open(node("gpu-a"), stopPolicy="Hold")
    apply(jobs, "hang", activeDeadlineSeconds=4)
    waits(jobs, "hang", why="is inactive")
    time.sleep(5)
    queues.change(stopPolicy="None")
    admitted(jobs, "hang")
    status = jobs.ended("hang")
    assert (status["phase"], status["outcome"]["reason"]) == ("Failed", "DeadlineExceeded")


def test_job_that_makes_room_for_an_urgent_one_waits_again_and_goes_on(
    site: Site, jobs: Jobs, api: ClusterApi, queues: Queues, node: NewNode, urgent: None
) -> None:
    queues.open(node("gpu-a"), preemption={"withinClusterQueue": "LowerPriority"})
    apply(jobs, "wait.low")
    works(site, "wait.low")
    apply(jobs, "wait.urgent", pool="urgent")
    works(site, "wait.urgent")
    status = waits(jobs, "wait.low")
    assert "was evicted (Preempted)" in status["message"]
    finishes(site, "wait.urgent")
    works(site, "wait.low", times=2)
    finishes(site, "wait.low", starts=2)
    assert sorted(kubernetes_jobs(api, site.namespace)) == ["wait.low", "wait.urgent"]
    assert "Retrying" not in jobs.reasons("wait.low")


def test_job_that_an_administrator_evicts_waits_until_it_is_let_in_again(
    site: Site, jobs: Jobs, queues: Queues, node: NewNode
) -> None:
    nodes = (node("gpu-a"),)
    nodes[0].linger_s = 2.0  # the stopped pod stays visible after its end
    queues.open(*nodes)
    apply(jobs, "wait")
    works(site, "wait")
    (workload,) = queues.workloads()
    queues.set_active(workload, active=False)
    waits(jobs, "wait", why="deactivated")
    queues.set_active(workload, active=True)
    works(site, "wait", times=2)
    finishes(site, "wait", starts=2)


def test_job_that_is_measured_elsewhere_queues_for_each_of_its_two_pools(
    site: Site, jobs: Jobs, api: ClusterApi, queues: Queues, node: NewNode
) -> None:
    queues.open(node("gpu-a"))
    apply(jobs, "wait")
    works(site, "wait")
    jobs.apply("succeed", engine="job", placement={"compute": "cpu", "measure": "gpu"})
    waits(jobs, "succeed")
    (computed,) = (
        each
        for each in api("GET", f"/apis/batch/v1/namespaces/{site.namespace}/jobs")["items"]
        if each["metadata"]["labels"].get("fulcrum.dev/part") == "compute"
    )
    assert computed["status"]["succeeded"] == 1
    finishes(site, "wait")
    status = jobs.ended("succeed")
    assert (status["phase"], status["attempt"]) == ("Succeeded", 1)
    assert len(queues.workloads()) == 3


@pytest.mark.parametrize("how", ["deleted", "suspended"])
def test_job_that_is_stopped_while_it_waits_leaves_the_queue(
    how: str, site: Site, jobs: Jobs, api: ClusterApi, queues: Queues, node: NewNode
) -> None:
    queues.open(node("gpu-a"), stopPolicy="Hold")
    apply(jobs, "wait")
    waits(jobs, "wait", why="is inactive")
    if how == "deleted":
        jobs.delete("wait")
        jobs.gone("wait")
    else:
        jobs.patch("wait", {"suspend": True})
        jobs.reaches("wait", "Suspended")
        assert condition(jobs, "wait") == {}
    wait_until(lambda: queues.workloads() == [], START_TIMEOUT_S)
    assert kubernetes_jobs(api, site.namespace) == {}
    if how == "suspended":
        queues.change(stopPolicy="None")
        jobs.patch("wait", {"suspend": False})
        works(site, "wait")
        site.let_go("wait")
        assert jobs.ended("wait")["phase"] == "Succeeded"


@pytest.mark.parametrize(
    ("name", "pool", "why"),
    [
        pytest.param("wait.1", "gpu", "LocalQueue team doesn't exist", id="queue missing"),
        pytest.param("wait.2", "large", "insufficient quota", id="more than there ever is"),
    ],
)
def test_what_keeps_a_job_out_for_good_is_in_its_status(
    name: str, pool: str, why: str, jobs: Jobs, queues: Queues, node: NewNode
) -> None:
    if pool == "large":
        queues.open(node("gpu-a"))
    apply(jobs, name, pool=pool)
    waits(jobs, name, why=why)


def test_job_of_a_time_without_kueue_starts_once_it_is_back(
    site: Site, kueue: Kueue, jobs: Jobs, queues: Queues, node: NewNode
) -> None:
    queues.open(node("gpu-a"))
    kueue.kill()
    try:
        apply(jobs, "wait")
        wait_until(lambda: "failed calling webhook" in str(jobs.events("wait")), START_TIMEOUT_S)
        assert jobs.status("wait")["phase"] == "Pending"
    finally:
        kueue.start()
    works(site, "wait")
    finishes(site, "wait")
