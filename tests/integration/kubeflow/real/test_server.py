"""The suite of all engines, and a whole compression job, on a real Kubeflow Pipelines."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from engine_suite import EngineSuite, ended
from kubeflow.digits import digits_plan
from stand_in import stand_in_plan

from fulcrum_operator.assessing import assess
from fulcrum_operator.engines.kubeflow.cluster import ClusterView
from fulcrum_operator.engines.kubeflow.engine import KubeflowEngine
from fulcrum_operator.kubernetes.api import connect
from fulcrum_operator.kubernetes.finding import load_credentials
from fulcrum_operator.observed import Assessment
from fulcrum_operator.pools import Pool
from fulcrum_operator.ports import RunStatus
from fulcrum_operator.settings import Kubeflow
from fulcrum_pipelines.errors import FulcrumError
from fulcrum_pipelines.store import Store


class TestRealKubeflow(EngineSuite):
    """The suite."""


def test_whole_job_leaves_its_evidence_in_the_bucket(
    kubeflow_settings: Kubeflow, store: Store, tmp_path: Path
) -> None:
    plan = digits_plan(store, tmp_path)
    settings = kubeflow_settings.model_copy(update={"pipeline": "fulcrum-e2e-whole"})
    engine = KubeflowEngine(store, settings, {"default": Pool(cpu="2", memory="4Gi")})

    async def scenario() -> RunStatus:
        handle = await engine.submit(plan.run, plan)
        status = await ended(engine, handle)
        await engine.forget(handle)
        return status

    assert asyncio.run(scenario()) == RunStatus("Succeeded")
    found = assess(store, store.put_record(plan), plan.run, plan.spec.gates)
    assert isinstance(found, Assessment)
    assert found.verdict.outcome in ("Pass", "Inconclusive")
    assert found.candidate_uri.startswith(store.url)


def test_job_for_nodes_that_there_are_none_of_says_what_it_waits_for(
    kubeflow_settings: Kubeflow, store: Store, stand_in_file: Path
) -> None:
    try:
        credentials = load_credentials(None)
    except FulcrumError as error:
        pytest.skip(f"needs a cluster whose pods may be listed: {error}")
    plan = stand_in_plan("hang")
    pools = {"default": Pool(node_selector={"fulcrum.dev/no-such-node": "true"})}

    async def scenario() -> RunStatus:
        async with connect(credentials) as kube:
            engine = KubeflowEngine(
                store,
                kubeflow_settings,
                pools,
                cluster=ClusterView(kube),
                compiled=lambda _: stand_in_file.read_text(),
            )
            handle = await engine.submit(plan.run, plan)
            try:
                async with asyncio.timeout(300):
                    while not (status := await engine.status(handle)).message:
                        await asyncio.sleep(1.0)
                return status
            finally:
                await engine.cancel(handle)

    status = asyncio.run(scenario())
    assert status.reason == "Unschedulable"
    assert "nodes are available" in status.message
