"""The suite of all engines, and a run that finds no node."""

from __future__ import annotations

import asyncio

from engine_suite import EngineSuite
from kubeflow.site import Site
from stand_in import stand_in_plan

from fulcrum_operator.settings import Kubeflow
from fulcrum_operator.settings.pools import Pool
from fulcrum_pipelines.states import RunStatus
from fulcrum_pipelines.storage.store import Store


class TestKubeflow(EngineSuite):
    """The suite."""


def test_job_without_a_fitting_node_says_what_it_waits_for(
    cluster: Site, kubeflow_settings: Kubeflow, store: Store
) -> None:
    plan = stand_in_plan("hang")
    pools = {"default": Pool(node_selector={"fulcrum.dev/no-such-node": "true"})}

    async def scenario() -> RunStatus:
        async with cluster.seeing(store, kubeflow_settings, pools) as seen:
            handle = await seen.engine.submit(plan.run, plan)
            async with asyncio.timeout(cluster.patience_s):
                while not (status := await seen.engine.status(handle)).message:
                    await asyncio.sleep(cluster.look_s)
            return status

    status = asyncio.run(scenario())
    assert status.reason == "Unschedulable"
    assert "nodes are available" in status.message
