"""The reasons that the API hides reach the status of a run, if the operator may see pods."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import stand_in
from engine_suite import ended, started
from kubeflow.engines import make_engine
from kubeflow.launcher import LauncherError
from kubeflow.server import Server, failed_pod
from stand_in import stand_in_plan

from fulcrum_operator.engines.kubeflow.cluster import ClusterView
from fulcrum_operator.engines.kubeflow.pods import NODE_NAME, launcher_failure
from fulcrum_operator.kubernetes.api import connect
from fulcrum_operator.kubernetes.credentials import Credentials
from fulcrum_pipelines.compiled import stages_of_task
from fulcrum_pipelines.states import RunStatus
from fulcrum_pipelines.storage.store import Store

WAITING = {
    "phase": "Pending",
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 node(s) had untolerated taint(s).",
        }
    ],
}


def pod_of(run_id: str, status: dict[str, Any]) -> dict[str, Any]:
    annotations = {NODE_NAME: "fulcrum-x(0).root(0).evaluate(0).executor(0)"}
    labels = {"pipeline/runid": run_id}
    return {
        "metadata": {"name": "p", "labels": labels, "annotations": annotations},
        "status": status,
    }


def status_of(
    server: Server, store: Store, behaviour: str = "hang", pod: dict[str, Any] | None = None
) -> RunStatus:
    """Return the status of a run with a pod whose status is `pod`, and another run's pod."""

    async def scenario() -> RunStatus:
        plan = stand_in_plan(behaviour)
        async with connect(Credentials(server=server.url)) as kube:
            engine = make_engine(server, store, cluster=ClusterView(kube))
            handle = await engine.submit(plan.run, plan)
            server.pods = [pod_of("another-run", {"phase": "Running"})]
            if pod is not None:
                server.pods.append(pod_of(handle.reference, pod))
            if behaviour != "hang":
                return await ended(engine, handle)
            await started(store, plan.run)
            return await engine.status(handle)

    return asyncio.run(scenario())


def test_run_that_waits_for_a_node_says_so(server: Server, store: Store) -> None:
    assert status_of(server, store, pod=WAITING) == RunStatus(
        "Running",
        "Unschedulable",
        "stage evaluate waits: 0/3 nodes are available: 3 node(s) had untolerated taint(s).",
    )


@pytest.mark.parametrize("forbidden", [{"pods", "workflows"}, {"pods"}, {"workflows"}])
def test_operator_that_may_not_look_goes_without(
    forbidden: set[str], server: Server, store: Store
) -> None:
    pod = WAITING if "pods" in forbidden else None
    server.forbidden = forbidden
    assert status_of(server, store, pod=pod) == RunStatus("Running")


def test_stage_that_ran_out_of_memory_is_tried_again(server: Server, store: Store) -> None:
    killed = [{"name": "main", "state": {"terminated": {"reason": "OOMKilled"}}}]
    pod = {"phase": "Failed", "containerStatuses": killed}
    status = status_of(server, store, "no-evidence", pod)
    assert (status.state, status.reason) == ("Failed", "OOMKilled")
    assert status.failure_class == "infrastructure"
    assert "stage evaluate was ended: OOMKilled" in status.message


def test_failed_launcher_is_distinguished_from_its_stage(server: Server, store: Store) -> None:
    words = 'URI "s3://models/x" does not have expected bucket prefix "minio://mlpipeline/"'

    def execute(parameters: dict[str, Any]) -> None:
        plan = store.plan(parameters["plan"])
        stand_in.work(store, plan)
        raise LauncherError("evaluate", words)

    server.execute = execute
    status = status_of(server, store, "early-end")
    assert (status.state, status.reason) == ("Failed", "LauncherFailed")
    assert status.failure_class == "infrastructure"
    message = f"stage evaluate succeeded, Kubeflow's launcher failed: {words}"
    assert status.message.endswith(message)


@pytest.mark.parametrize("done", [True, False], ids=["all stages", "not all stages"])
def test_launcher_of_a_shared_pod_is_to_blame_if_all_its_stages_succeeded(done: bool) -> None:
    plan = stand_in_plan("hang")
    stages = stages_of_task(plan, "compute")
    assert len(stages) > 1
    pod = failed_pod("a-run", LauncherError("compute", "no bucket"))
    trouble = launcher_failure([pod], plan, stages if done else stages[:-1])
    words = f"stages {', '.join(stages)} succeeded, Kubeflow's launcher failed: no bucket"
    assert (trouble and trouble.message) == (words if done else None)


def test_pods_are_not_looked_at_more_often_than_set(server: Server, store: Store) -> None:
    seconds = [0.0]

    async def scenario() -> list[str]:
        async with connect(Credentials(server=server.url)) as kube:
            engine = make_engine(
                server,
                store,
                cluster=ClusterView(kube),
                clock=lambda: seconds[0],
                look_s=10.0,
            )
            plan = stand_in_plan("hang")
            handle = await engine.submit(plan.run, plan)
            await started(store, plan.run)
            reasons = [(await engine.status(handle)).reason]
            server.pods = [pod_of(handle.reference, WAITING)]
            for now_s in (9.0, 10.0):
                seconds[0] = now_s
                reasons.append((await engine.status(handle)).reason)
            return reasons

    assert asyncio.run(scenario()) == ["", "", "Unschedulable"]
