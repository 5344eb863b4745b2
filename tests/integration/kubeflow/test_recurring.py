"""Recurring runs that people make in Kubeflow of a job's run are apart from jobs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from engine_suite import ended
from kubeflow.server import Server
from stand_in import stand_in_plan
from typer.testing import CliRunner

from fulcrum_components.stages.component import plan_of
from fulcrum_operator.cli.main import app
from fulcrum_operator.engines.kubeflow.engine import KubeflowEngine
from fulcrum_pipelines.contract import NEW_RUN
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.states import RunHandle
from fulcrum_pipelines.storage.store import Store


def finished_job(engine: KubeflowEngine) -> RunHandle:
    """Run a job, whose run is what recurring runs are made of."""
    plan = stand_in_plan("succeed")

    async def scenario() -> RunHandle:
        handle = await engine.submit(plan.run, plan)
        assert (await ended(engine, handle)).state == "Succeeded"
        return handle

    return asyncio.run(scenario())


def test_each_run_has_separate_evidence_that_the_gates_can_judge(
    engine: KubeflowEngine, server: Server, store: Store, tmp_path: Path
) -> None:
    job = finished_job(engine)
    before = store.read(f"runs/{job.key}/evidence.json")
    runs = [server.recur(job.reference, run=NEW_RUN) for _ in range(2)]
    policy = tmp_path / "policy.yaml"
    policy.write_text("gates: [{name: size, kind: size, max: 0.9}]")
    for run in runs:
        assert server.world.runs[run].state == "SUCCEEDED"
        key = f"succeed-{run}"
        evidence = store.evidence(key)
        assert evidence is not None
        plan = store.plan(evidence.plan)
        assert (plan.run, plan.occurrence) == (evidence.run, run) == (key, run)
        assert {stage.plan for stage in evidence.stages} == {evidence.plan}
        found = CliRunner().invoke(
            app, ["gate", f"file://{store.url}/runs/{key}", "--policy", str(policy)]
        )
        assert (found.exit_code, found.stdout.splitlines()[0]) == (0, "Pass")
    assert store.read(f"runs/{job.key}/evidence.json") == before


def test_they_are_no_runs_of_jobs(engine: KubeflowEngine, server: Server) -> None:
    """Otherwise the operator would stop them, or delete them once their job is gone."""
    job = finished_job(engine)
    parameters = server.world.runs[job.reference].body["runtime_config"]["parameters"]
    by_itself = server.recur(job.reference, run=NEW_RUN)
    same_key = server.recur(job.reference)
    with server.world.lock:
        server.world.runs[same_key].body["display_name"] = parameters["run"]
        clone = {"display_name": f"Clone of {job.key}", "recurring_run_id": None}
        server.world.create_run(server.world.runs[same_key].body | clone | {"run_id": None})
        body = server.world.runs[by_itself].body
        named = {"display_name": NEW_RUN, "recurring_run_id": None, "run_id": None}
        server.world.create_run(body | named)
    assert len(server.world.runs) == 5
    assert asyncio.run(engine.runs()) == (job,)
    assert asyncio.run(engine.find(job.key)) == (job,)


@pytest.mark.parametrize(
    ("run", "execution", "words"),
    [
        ("nightly-[[ScheduledTime]]", "an-id", "parameter run: is 'nightly-"),
        (NEW_RUN, "{{$.pipeline_job_uuid}}", "is no id of a run"),
        (NEW_RUN, "../../x", "is no id of a run"),
    ],
)
def test_parameters_that_cannot_be_meant(
    run: str, execution: str, words: str, store: Store
) -> None:
    digest = store.put_record(stand_in_plan("succeed"))
    with pytest.raises(UserError) as raised:
        plan_of(store, digest, run, execution)
    assert words in str(raised.value)
