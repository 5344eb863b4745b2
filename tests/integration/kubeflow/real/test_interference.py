"""Interfere with a run: delete or evict its pod, delete its Workflow, stop it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from kubeflow.digits import digits_plan
from kubeflow.others import OthersClient, StagePod, evict, stage_pods
from kubeflow.site import Seen, Site
from stand_in import stand_in_plan

from fulcrum_operator.engines.kubeflow.cluster import POD, WORKFLOW
from fulcrum_operator.settings import Kubeflow
from fulcrum_operator.settings.pools import Pool
from fulcrum_pipelines.assessing import assess
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.gates.assessment import Assessment
from fulcrum_pipelines.states import RunHandle, RunStatus
from fulcrum_pipelines.storage.store import Store

POOLS = {"default": Pool(cpu="2", memory="4Gi")}


def no_evidence_but_one(store: Store, plan: Plan) -> None:
    """The store has one result a stage, and all of them together are the run's evidence."""
    evidence = store.evidence(plan.run)
    assert evidence is not None
    on_record = tuple(store.stage_evidence(plan.run, stage) for stage in plan.stages)
    assert evidence.stages == on_record
    assert len(store.names(f"runs/{plan.run}/stages")) == len(plan.stages)
    files = [name for name in store.names(f"runs/{plan.run}") if "evidence" in name]
    assert files == ["evidence.json"]
    found = assess(store, store.put_record(plan), plan.run, plan.spec.gates)
    assert isinstance(found, Assessment)


@pytest.mark.parametrize("how", ["deleted", "evicted"])
def test_stage_whose_pod_goes_runs_again_in_the_same_run(
    how: str, cluster: Site, kubeflow_settings: Kubeflow, store: Store, tmp_path: Path
) -> None:
    plan = digits_plan(store, tmp_path, "again.digits")
    namespace = cluster.pod_namespace(kubeflow_settings)

    async def working(seen: Seen, handle: RunHandle) -> StagePod:
        async with asyncio.timeout(cluster.patience_s):
            while True:
                found = stage_pods(await seen.cluster.pods(handle.reference, namespace))
                if running := [pod for pod in found if pod.runs]:
                    return running[0]
                await asyncio.sleep(cluster.look_s)

    async def scenario() -> tuple[RunStatus, StagePod, list[StagePod]]:
        async with cluster.seeing(store, kubeflow_settings, POOLS, whole=True) as seen:
            handle = await seen.engine.submit(plan.run, plan)
            await cluster.started(store, plan.run)
            lost = await working(seen, handle)
            if how == "evicted":
                await evict(seen.kube, lost.name, namespace)
            else:
                await seen.kube.delete(POD, lost.name, namespace)
            status = await cluster.ended(seen.engine, handle)
            assert await seen.engine.find(plan.run) == (handle,)
            pods = await seen.cluster.pods(handle.reference, namespace)
            return status, lost, stage_pods(pods)

    status, lost, left = asyncio.run(scenario())
    assert status == RunStatus("Succeeded")
    assert any(pod.task == lost.task and pod.name != lost.name for pod in left)
    no_evidence_but_one(store, plan)


async def delete_workflow(site: Site, seen: Seen, handle: RunHandle, namespace: str) -> None:
    """Delete the Workflow of a run, and wait until it and its pods are gone."""
    (workflow,) = await seen.cluster.workflows(handle.reference, namespace) or ()
    await seen.kube.delete(WORKFLOW, workflow["metadata"]["name"], namespace)
    async with asyncio.timeout(site.patience_s):
        while await seen.cluster.workflows(handle.reference, namespace):
            await asyncio.sleep(site.look_s)


def test_run_whose_workflow_is_deleted_ends(
    cluster: Site, kubeflow_settings: Kubeflow, store: Store
) -> None:
    plan = stand_in_plan("hang")
    namespace = cluster.pod_namespace(kubeflow_settings)

    async def scenario() -> RunStatus:
        async with cluster.seeing(store, kubeflow_settings) as seen:
            handle = await seen.engine.submit(plan.run, plan)
            await cluster.started(store, plan.run)
            await delete_workflow(cluster, seen, handle, namespace)
            status = await cluster.ended(seen.engine, handle)
            await seen.engine.forget(handle)
            assert await seen.engine.find(plan.run) == ()
            return status

    status = asyncio.run(scenario())
    assert (status.state, status.reason) == ("Failed", "WorkflowGone")
    assert status.failure_class == "infrastructure"


def test_run_whose_workflow_is_deleted_can_be_cancelled(
    cluster: Site, kubeflow_settings: Kubeflow, store: Store
) -> None:
    """An operator that may not look at the cluster learns it when it stops the run."""
    plan = stand_in_plan("hang")
    namespace = cluster.pod_namespace(kubeflow_settings)
    blind = cluster.engine(store, kubeflow_settings)

    async def scenario() -> RunStatus:
        handle = await blind.submit(plan.run, plan)
        await cluster.started(store, plan.run)
        async with cluster.seeing(store, kubeflow_settings) as seen:
            await delete_workflow(cluster, seen, handle, namespace)
        await blind.cancel(handle)
        return await cluster.ended(blind, handle)

    assert asyncio.run(scenario()).state == "Cancelled"


@pytest.mark.parametrize("after_s", [0, 1, 4])
@pytest.mark.parametrize("who", ["we", "others"])
def test_run_that_is_stopped_early_says_who_stopped_it(
    who: str, after_s: int, cluster: Site, kubeflow_settings: Kubeflow, store: Store
) -> None:
    plan = stand_in_plan("hang")

    async def scenario() -> RunStatus:
        async with cluster.seeing(store, kubeflow_settings) as seen:
            handle = await seen.engine.submit(plan.run, plan)
            await cluster.passes(after_s)
            if who == "we":
                await seen.engine.cancel(handle)
            else:
                assert await OthersClient(kubeflow_settings).terminate_run(handle.reference)
            return await cluster.ended(seen.engine, handle)

    status = asyncio.run(scenario())
    expected = ("Cancelled", "Cancelled") if who == "we" else ("Failed", "Terminated")
    assert (status.state, status.reason) == expected


@pytest.mark.parametrize("after_s", [0, 1, 4])
def test_run_that_we_stop_early_is_cancelled_without_a_view_of_its_cluster(
    after_s: int, site: Site, kubeflow_settings: Kubeflow, store: Store
) -> None:
    plan = stand_in_plan("hang")
    engine = site.engine(store, kubeflow_settings)

    async def scenario() -> RunStatus:
        handle = await engine.submit(plan.run, plan)
        await site.passes(after_s)
        await engine.cancel(handle)
        return await site.ended(engine, handle)

    assert asyncio.run(scenario()).state == "Cancelled"
