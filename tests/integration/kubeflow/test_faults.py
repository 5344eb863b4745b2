"""Lost answers, refusals and strays: no fault makes a second run, or a wait without end."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import urllib3
from builders.plans import make_digest
from engine_suite import ended, started
from kubeflow.engines import execute, make_engine
from kubeflow.others import StagePod, stage_pods
from kubeflow.pods import REPEATS
from kubeflow.server import PREFIX, Fault, Server
from kubeflow.world import Refused
from stand_in import stand_in_plan

from fulcrum_operator.engines.kubeflow.api_errors import KubeflowError
from fulcrum_operator.engines.kubeflow.cluster import POD, ClusterView
from fulcrum_operator.engines.kubeflow.engine import KubeflowEngine
from fulcrum_operator.engines.kubeflow.submission import Submission, Submissions
from fulcrum_operator.kubernetes.api import connect
from fulcrum_operator.kubernetes.credentials import Credentials
from fulcrum_operator.kubernetes.retries import CallPolicy
from fulcrum_pipelines.compiled import Fuse
from fulcrum_pipelines.errors import InfrastructureError
from fulcrum_pipelines.states import RunHandle, RunStatus
from fulcrum_pipelines.storage.store import Store

CREATE = "POST /runs$"
OVER = "Failed to terminate a run. Row not found"
ONCE = CallPolicy(timeout_s=5.0, retries=0)


@asynccontextmanager
async def seeing(server: Server, store: Store, **changes: object) -> AsyncIterator[KubeflowEngine]:
    """Give an engine that may look at the cluster."""
    async with connect(Credentials(server=server.url), policy=ONCE) as kube:
        yield make_engine(server, store, cluster=ClusterView(kube), **changes)  # type: ignore[arg-type]


async def later(engine: KubeflowEngine, key: str, reason: str) -> RunStatus:
    """Wait until the run under `key` is said to be as `reason` says."""
    async with asyncio.timeout(20):
        while True:
            (handle, *_) = await engine.find(key)
            if (status := await engine.status(handle)).reason == reason:
                return status
            await asyncio.sleep(0.02)


def stop(server: Server, handle: RunHandle) -> None:
    """Stop a run as another user would, in Kubeflow's UI."""
    url = f"{server.url}{PREFIX}/runs/{handle.reference}:terminate"
    assert urllib3.request("POST", url).status == 200


def workflows(server: Server, handle: RunHandle) -> int:
    with server.world.lock:
        return sum(each.run_id == handle.reference for each in server.world.workflows)


@pytest.mark.parametrize("status", [302, 401, 403, 404, 409, 429])
def test_clear_refusal_is_reported_and_may_be_retried(
    status: int, engine: KubeflowEngine, server: Server
) -> None:
    async def scenario() -> None:
        plan = stand_in_plan("succeed")
        server.faults.append(Fault(CREATE, "refuse", status))
        with pytest.raises(KubeflowError, match=str(status)):
            await engine.submit(plan.run, plan)
        assert await engine.find(plan.run) == ()
        handle = await engine.submit(plan.run, plan)
        assert (await ended(engine, handle)).state == "Succeeded"

    asyncio.run(scenario())
    assert len(server.world.runs) == 1


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(CREATE, "act-then-refuse", 500), id="500 after it was made"),
        pytest.param(Fault(CREATE, "act-then-refuse", 503), id="503 after it was made"),
        pytest.param(Fault(CREATE, "act-then-hang"), id="no answer in time"),
    ],
)
def test_run_whose_answer_was_lost_is_found_and_not_asked_for_again(
    fault: Fault, engine: KubeflowEngine, server: Server, store: Store
) -> None:
    async def scenario() -> None:
        plan = stand_in_plan("succeed")
        server.faults.append(fault)
        handle = await engine.submit(plan.run, plan)
        assert await engine.submit(plan.run, plan) == handle
        assert await make_engine(server, store).submit(plan.run, plan) == handle
        assert (await ended(engine, handle)).state == "Succeeded"

    asyncio.run(scenario())
    assert server.count(CREATE) == 1
    assert len(server.world.runs) == 1


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(CREATE, "refuse", 500), id="500"),
        pytest.param(Fault(CREATE, "refuse", 502), id="a proxy's 502"),
        pytest.param(Fault(CREATE, "lose"), id="lost connection"),
        pytest.param(Fault(CREATE, "garbage"), id="a page of something else"),
        pytest.param(Fault(CREATE, "orphan"), id="500 with a stray Workflow"),
    ],
)
def test_unclear_answer_is_followed_by_looking_only(
    fault: Fault, engine: KubeflowEngine, server: Server
) -> None:
    async def scenario() -> RunStatus:
        plan = stand_in_plan("succeed")
        server.faults.append(fault)
        handle = await engine.submit(plan.run, plan)
        assert await engine.submit(plan.run, plan) == handle
        assert await engine.find(plan.run) == (handle,)
        return await engine.status(handle)

    status = asyncio.run(scenario())
    assert (status.state, status.reason) == ("Unknown", "NotConfirmed")
    assert server.count(CREATE) == 1


def test_run_that_turns_up_late_is_taken(
    engine: KubeflowEngine, server: Server, store: Store
) -> None:
    async def scenario() -> str:
        plan = stand_in_plan("succeed")
        server.faults.append(Fault(CREATE, "refuse", 504))
        handle = await engine.submit(plan.run, plan)
        experiment = next(iter(server.world.experiments))
        with server.world.lock:
            server.world.create_run(
                {
                    "run_id": handle.reference,
                    "display_name": plan.run,
                    "experiment_id": experiment,
                    "pipeline_spec": {},
                }
            )
            server.world.runs[handle.reference].move("RUNNING")
        return (await engine.status(handle)).state

    assert asyncio.run(scenario()) == "Running"


def test_stray_of_a_run_that_was_never_made_is_removed(server: Server, store: Store) -> None:
    async def scenario() -> RunStatus:
        plan = stand_in_plan("succeed")
        server.faults.append(Fault(CREATE, "orphan"))
        async with seeing(server, store) as engine:
            handle = await engine.submit(plan.run, plan)
            assert workflows(server, handle) == 1
            status = await later(engine, plan.run, "SubmissionLost")
            assert workflows(server, handle) == 0
            return status

    status = asyncio.run(scenario())
    assert (status.state, status.failure_class) == ("Failed", "infrastructure")


def test_second_workflow_of_a_run_is_removed(server: Server, store: Store) -> None:
    async def scenario() -> None:
        plan = stand_in_plan("hang")
        server.faults.append(Fault(CREATE, "act-twice"))
        async with seeing(server, store) as engine:
            handle = await engine.submit(plan.run, plan)
            assert workflows(server, handle) == 1

    asyncio.run(scenario())


def test_stray_that_may_not_be_seen_does_no_harm(server: Server, store: Store) -> None:
    server.forbidden = {"pods", "workflows"}

    async def scenario() -> RunStatus:
        plan = stand_in_plan("succeed")
        server.faults.append(Fault(CREATE, "orphan"))
        async with seeing(server, store, confirm_s=0.01) as engine:
            handle = await engine.submit(plan.run, plan)
            await asyncio.sleep(1.1)  # moments on file are whole seconds
            return await engine.status(handle)

    assert asyncio.run(scenario()).reason == "NotConfirmed"


def test_what_the_server_would_never_take_ends_the_attempt(
    engine: KubeflowEngine, server: Server
) -> None:
    async def scenario() -> RunStatus:
        plan = stand_in_plan("succeed")
        server.faults.append(Fault(CREATE, "refuse", 400))
        handle = await engine.submit(plan.run, plan)
        status = await engine.status(handle)
        await engine.forget(handle)
        assert await engine.find(plan.run) == ()
        return status

    status = asyncio.run(scenario())
    assert (status.state, status.reason) == ("Failed", "SubmissionRefused")
    assert "on purpose" in status.message


def test_operator_that_died_before_it_asked_does_not_ask_later(
    engine: KubeflowEngine, server: Server, store: Store
) -> None:
    plan = stand_in_plan("succeed")
    digest = store.put_record(plan)
    time = "2026-11-25T09:00:00Z"
    asked = Submission(key=plan.run, plan=digest, run_id=str(uuid.uuid4()), posted_at=time)
    Submissions(store).write(asked)
    (handle,) = asyncio.run(engine.find(plan.run))
    assert asyncio.run(engine.submit(plan.run, plan)) == handle
    assert server.count(CREATE) == 0


@pytest.mark.parametrize(
    ("fuse", "refusal"),
    [("Compute", "error fetching manifest"), ("All", "Failed to create a pipeline version")],
    ids=["version that was used", "another version"],
)
def test_deleted_pipeline_is_uploaded_again(
    fuse: Fuse, refusal: str, engine: KubeflowEngine, server: Server
) -> None:
    async def scenario() -> None:
        first = stand_in_plan("succeed")
        second = stand_in_plan("succeed.2", engine="kubeflow", placement={"fuse": fuse})
        await engine.submit(first.run, first)
        with server.world.lock:
            for pipeline_id in list(server.world.pipelines):
                server.world.delete_pipeline(pipeline_id, cascade=True)
        with pytest.raises(KubeflowError, match=refusal):
            await engine.submit(second.run, second)
        handle = await engine.submit(second.run, second)
        assert (await ended(engine, handle)).state == "Succeeded"

    asyncio.run(scenario())


def test_pipeline_is_uploaded_once_by_concurrent_clients(server: Server, store: Store) -> None:
    async def scenario() -> None:
        engines = [make_engine(server, store) for _ in range(3)]
        plans = [stand_in_plan(f"succeed.{number}") for number in range(3)]
        await asyncio.gather(*(e.submit(p.run, p) for e, p in zip(engines, plans, strict=True)))
        plan = stand_in_plan("succeed.later")
        await make_engine(server, store).submit(plan.run, plan)

    asyncio.run(scenario())
    assert len(server.world.pipelines) == 1
    names = [each.name for each in server.world.versions.values()]
    assert sorted(len(name) > len("fulcrum") for name in names) == [False, True]
    used = {
        run.body["pipeline_version_reference"]["pipeline_version_id"]
        for run in server.world.runs.values()
    }
    assert len(used) == 1
    assert [each["display_name"] for each in server.world.experiments.values()] == [
        "Default",
        "fulcrum",
    ]


def test_second_run_with_the_name_is_found_and_stopped(
    engine: KubeflowEngine, server: Server, store: Store
) -> None:
    async def scenario() -> None:
        plan = stand_in_plan("hang")
        own = await engine.submit(plan.run, plan)
        body = server.world.runs[own.reference].body
        time.sleep(1.1)  # the server's moments are whole seconds
        with server.world.lock:
            for name in (plan.run, plan.run.upper()):
                copy = {k: v for k, v in body.items() if k not in ("run_id", "created_at")}
                server.world.create_run({**copy, "display_name": name})
        found = await engine.find(plan.run)
        assert found[0] == own
        assert len(found) == 2
        await engine.cancel(found[1])
        await ended(engine, found[1])
        assert await engine.find(plan.run) == (own,)
        assert (await engine.status(own)).state == "Running"

    asyncio.run(scenario())


@pytest.mark.parametrize("overwritten", [False, True], ids=["seen", "never-in-the-history"])
def test_run_stopped_by_another_user_is_not_reported_as_cancelled(
    overwritten: bool, server: Server, store: Store
) -> None:
    server.overwrites_canceling = overwritten

    async def scenario() -> RunStatus:
        plan = stand_in_plan("hang")
        async with seeing(server, store) as engine:
            handle = await engine.submit(plan.run, plan)
            await started(store, plan.run)
            stop(server, handle)
            return await ended(engine, handle)

    status = asyncio.run(scenario())
    assert (status.state, status.reason) == ("Failed", "Terminated")
    assert status.failure_class == "infrastructure"


@pytest.mark.parametrize("overwritten", [False, True], ids=["seen", "never-in-the-history"])
@pytest.mark.parametrize("after", ["at once", "started"])
def test_run_that_we_stopped_is_cancelled_despite_its_history(
    after: str, overwritten: bool, engine: KubeflowEngine, server: Server, store: Store
) -> None:
    server.overwrites_canceling = overwritten

    async def scenario() -> str:
        plan = stand_in_plan("hang")
        handle = await engine.submit(plan.run, plan)
        if after == "started":
            await started(store, plan.run)
        await engine.cancel(handle)
        return (await ended(engine, handle)).state

    assert asyncio.run(scenario()) == "Cancelled"


def test_stop_whose_answer_was_lost_is_read_from_the_workflow(server: Server, store: Store) -> None:
    server.overwrites_canceling = True
    server.faults.append(Fault(":terminate$", "act-then-refuse", 503))

    async def scenario() -> str:
        plan = stand_in_plan("hang")
        async with seeing(server, store) as engine:
            handle = await engine.submit(plan.run, plan)
            await started(store, plan.run)
            with pytest.raises(KubeflowError, match="503"):
                await engine.cancel(handle)
            return (await ended(engine, handle)).state

    assert asyncio.run(scenario()) == "Cancelled"


def test_run_that_failed_before_it_was_stopped_is_not_cancelled(
    engine: KubeflowEngine, server: Server, store: Store
) -> None:
    """The server refuses to stop what has ended, so the failure is the run's own."""
    server.faults.append(Fault(":terminate$", "refuse", 400, words=OVER))

    async def scenario() -> RunStatus:
        plan = stand_in_plan("hang")
        handle = await engine.submit(plan.run, plan)
        await started(store, plan.run)
        await engine.cancel(handle)
        with server.world.lock:
            server.world.runs[handle.reference].move("FAILED")
        return await engine.status(handle)

    status = asyncio.run(scenario())
    assert (status.state, status.reason) == ("Failed", "NoEvidence")


def test_who_cancelled_survives_the_operator(
    engine: KubeflowEngine, server: Server, store: Store
) -> None:
    async def scenario() -> str:
        plan = stand_in_plan("hang")
        handle = await engine.submit(plan.run, plan)
        await started(store, plan.run)
        await engine.cancel(handle)
        await engine.cancel(handle)  # it is stopping already
        return (await ended(make_engine(server, store), handle)).state

    assert asyncio.run(scenario()) == "Cancelled"
    assert server.count("POST /runs/.*:terminate$") == 1


@pytest.mark.parametrize("overwritten", [False, True], ids=["seen", "never-in-the-history"])
def test_run_that_nothing_is_on_file_about_can_be_cancelled(
    overwritten: bool, server: Server, store: Store
) -> None:
    """Its end is read from the server: from the history, or from the Workflow."""
    server.overwrites_canceling = overwritten

    async def scenario() -> str:
        plan = stand_in_plan("hang")
        async with seeing(server, store) as engine:
            handle = await engine.submit(plan.run, plan)
            await started(store, plan.run)
            Submissions(store).remove(plan.run)
            await engine.cancel(handle)
            return (await ended(engine, handle)).state

    assert asyncio.run(scenario()) == "Cancelled"


def test_run_without_its_workflow_can_be_cancelled(
    engine: KubeflowEngine, server: Server, store: Store
) -> None:
    async def scenario() -> str:
        plan = stand_in_plan("hang")
        server.stop_s = 600.0
        handle = await engine.submit(plan.run, plan)
        await started(store, plan.run)
        server.world.workflows.clear()
        await engine.cancel(handle)
        return (await engine.status(handle)).state

    assert asyncio.run(scenario()) == "Cancelled"


@pytest.mark.parametrize(
    ("behaviour", "state", "reason"),
    [
        pytest.param("hang", "Failed", "WorkflowGone", id="without a result"),
        pytest.param("succeed", "Succeeded", "", id="with its result in the store"),
    ],
)
def test_run_whose_workflow_was_collected_does_not_run_forever(
    behaviour: str, state: str, reason: str, server: Server, store: Store
) -> None:
    def work(parameters: dict[str, Any]) -> None:
        """Do all work and stay RUNNING, as on a server that lost track of the Workflow."""
        execute(parameters)

    server.execute = work

    async def scenario() -> RunStatus:
        plan = stand_in_plan(behaviour)
        async with seeing(server, store) as engine:
            handle = await engine.submit(plan.run, plan)
            await started(store, plan.run)
            server.world.workflows.clear()
            return await ended(engine, handle)

    status = asyncio.run(scenario())
    assert (status.state, status.reason) == (state, reason)


def test_stage_whose_pods_are_deleted_again_and_again_fails(server: Server, store: Store) -> None:
    async def scenario() -> RunStatus:
        plan = stand_in_plan("hang")
        async with connect(Credentials(server=server.url), policy=ONCE) as kube:
            cluster = ClusterView(kube)
            engine = make_engine(server, store, cluster=cluster)
            handle = await engine.submit(plan.run, plan)
            await started(store, plan.run)
            for _ in range(1 + REPEATS):
                async with asyncio.timeout(10):
                    while not (found := await stage_pods_of(cluster, handle)):
                        await asyncio.sleep(0.01)
                assert (await engine.status(handle)).state == "Running"
                await kube.delete(POD, found[0].name, "kubeflow")
            return await ended(engine, handle)

    status = asyncio.run(scenario())
    assert (status.state, status.failure_class) == ("Failed", "infrastructure")


async def stage_pods_of(cluster: ClusterView, handle: RunHandle) -> list[StagePod]:
    return stage_pods(await cluster.pods(handle.reference, "kubeflow"))


@pytest.mark.parametrize(
    ("behaviour", "state", "reason"),
    [
        pytest.param("hang", "Failed", "RunDeleted", id="before it had a result"),
        pytest.param("succeed", "Succeeded", "", id="after it had one"),
    ],
)
def test_deleted_run_is_judged_by_the_store(
    behaviour: str, state: str, reason: str, engine: KubeflowEngine, server: Server, store: Store
) -> None:
    async def scenario() -> RunStatus:
        plan = stand_in_plan(behaviour)
        handle = await engine.submit(plan.run, plan)
        assert await engine.find(plan.run) == (handle,)
        await started(store, plan.run)
        if behaviour == "succeed":
            await ended(engine, handle)
        with server.world.lock:
            server.world.delete_run(handle.reference)
        return await engine.status(handle)

    status = asyncio.run(scenario())
    assert (status.state, status.reason) == (state, reason)


@pytest.mark.parametrize(
    ("state", "expected", "reason"),
    [
        ("PAUSED", "Running", "Paused"),
        ("CANCELING", "Running", "Canceling"),
        ("RUNTIME_STATE_UNSPECIFIED", "Unknown", "UnknownState"),
        ("OF_A_LATER_VERSION", "Unknown", "UnknownState"),
    ],
)
def test_state_that_is_neither_active_nor_final_is_reported(
    state: str, expected: str, reason: str, engine: KubeflowEngine, server: Server
) -> None:
    async def scenario() -> RunStatus:
        plan = stand_in_plan("hang")
        handle = await engine.submit(plan.run, plan)
        with server.world.lock:
            server.world.runs[handle.reference].state = state
        return await engine.status(handle)

    status = asyncio.run(scenario())
    assert (status.state, status.reason) == (expected, reason)
    assert status.message


@pytest.mark.parametrize("deleted_by", ["us", "a user"])
def test_run_after_a_deleted_one_runs_its_own_plan(
    deleted_by: str, engine: KubeflowEngine, server: Server, store: Store
) -> None:
    """Under a spent id, pods would get the first run's parameters."""

    async def scenario() -> RunStatus:
        first = stand_in_plan("succeed")
        second = first.model_copy(update={"fulcrum_version": "0.2.0"})
        handle = await engine.submit(first.run, first)
        await ended(engine, handle)
        if deleted_by == "us":
            await engine.forget(handle)
        else:
            with server.world.lock:
                server.world.delete_run(handle.reference)
            Submissions(store).remove(first.run)
        again = await engine.submit(second.run, second)
        assert again.reference != handle.reference
        assert (await engine.status(handle)).reason == "NotFound"  # not what is on file of `again`
        return await ended(engine, again)

    assert asyncio.run(scenario()) == RunStatus("Succeeded")


def test_run_keeps_its_id_when_the_operator_restarts(
    engine: KubeflowEngine, server: Server, store: Store
) -> None:
    async def scenario() -> None:
        plan = stand_in_plan("hang")
        handle = await engine.submit(plan.run, plan)
        assert await make_engine(server, store).find(plan.run) == (handle,)

    asyncio.run(scenario())


def test_deleted_experiment_is_created_again(engine: KubeflowEngine, server: Server) -> None:
    async def scenario() -> None:
        first, second = stand_in_plan("hang"), stand_in_plan("succeed")
        await engine.submit(first.run, first)
        with server.world.lock:
            kept = server.world.default_experiment
            for experiment in set(server.world.experiments) - {kept}:
                del server.world.experiments[experiment]
        with pytest.raises(KubeflowError, match="404"):
            await engine.runs()
        handle = await engine.submit(second.run, second)
        assert await engine.runs() == (handle,)

    asyncio.run(scenario())


def test_archived_run_is_still_known(engine: KubeflowEngine, server: Server) -> None:
    async def scenario() -> None:
        plan = stand_in_plan("hang")
        handle = await engine.submit(plan.run, plan)
        with server.world.lock:
            server.world.archive(handle.reference, archived=True)
        assert await engine.find(plan.run) == (handle,)
        assert await engine.runs() == (handle,)
        assert (await engine.status(handle)).state in ("Pending", "Running")

    asyncio.run(scenario())


def test_runs_of_others_are_never_listed(engine: KubeflowEngine, server: Server) -> None:
    async def scenario() -> None:
        plan = stand_in_plan("hang")
        handle = await engine.submit(plan.run, plan)
        body = server.world.runs[handle.reference].body
        with server.world.lock:  # our pipeline in another experiment, another's in ours
            kept = ("pipeline_version_reference", "runtime_config")
            by_hand = {name: body[name] for name in kept}
            server.world.create_run({"display_name": "by-hand-0a1b2c3d-4e5f-1", **by_hand})
            server.world.create_run(
                {
                    "display_name": "other-0a1b2c3d-4e5f-1",
                    "experiment_id": body["experiment_id"],
                    "pipeline_spec": {},
                }
            )
        assert await engine.runs() == (handle,)

    asyncio.run(scenario())


def test_many_runs_come_in_pages(engine: KubeflowEngine, server: Server) -> None:
    async def scenario() -> None:
        plan = stand_in_plan("hang")
        handle = await engine.submit(plan.run, plan)
        body = server.world.runs[handle.reference].body
        with server.world.lock:
            for number in range(250):
                copy = {k: v for k, v in body.items() if k not in ("run_id", "created_at")}
                given = {"parameters": body["runtime_config"]["parameters"] | {"run": f"{number}"}}
                named = {"display_name": f"{number}", "runtime_config": given}
                server.world.create_run(copy | named)
        assert len(await engine.runs()) == 251

    asyncio.run(scenario())


def test_server_that_is_away_is_an_infrastructure_error(store: Store) -> None:
    with Server().running() as server:
        engine = make_engine(server, store)
    plan = stand_in_plan("succeed")
    for call in (engine.find(plan.run), engine.submit(plan.run, plan)):
        with pytest.raises(InfrastructureError, match="no answer"):
            asyncio.run(call)
    assert Submissions(store).read(plan.run) is None


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        pytest.param(Fault("GET /runs/", "garbage"), "look at kubeflow.url and its", id="login"),
        pytest.param(Fault("GET /runs/", "refuse", 429), "429", id="busy"),
        pytest.param(Fault("GET /runs/", "refuse", 404), "404", id="a gateway without a route"),
        pytest.param(Fault("GET /runs/", "refuse", 500), "500 InternalServerError", id="broken"),
        pytest.param(Fault("GET /runs/", "lose"), "no answer", id="lost"),
        pytest.param(Fault("GET /runs/", "act-then-hang"), "no answer: Read", id="too late"),
    ],
)
def test_question_without_an_answer_is_an_infrastructure_error(
    fault: Fault, message: str, engine: KubeflowEngine, server: Server, store: Store
) -> None:
    asked = Submission(key="some-run-1", plan=make_digest("plan"), run_id=str(uuid.uuid4()))
    Submissions(store).write(asked)
    server.faults.append(fault)
    with pytest.raises(InfrastructureError, match=message):
        asyncio.run(engine.find("some-run-1"))


def test_stack_traces_of_the_server_are_never_shown(engine: KubeflowEngine, server: Server) -> None:
    with pytest.raises(Refused) as real, server.world.lock:
        server.world.upload_version("nowhere", "v", {})
    assert real.value.body["error_details"] == "a stack trace"
    server.faults.append(Fault("POST /pipelines/upload$", "refuse", 500))
    plan = stand_in_plan("succeed")
    with pytest.raises(KubeflowError) as caught:
        asyncio.run(engine.submit(plan.run, plan))
    assert "stack trace" not in str(caught.value)


def test_file_that_cannot_be_read_is_no_missing_run(engine: KubeflowEngine, store: Store) -> None:
    store.write("runs/some-run-1/kubeflow.json", b"{")
    with pytest.raises(InfrastructureError, match=r"kubeflow\.json: cannot be read"):
        asyncio.run(engine.find("some-run-1"))
