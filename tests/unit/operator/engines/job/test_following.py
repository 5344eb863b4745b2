"""How a run goes and ends, from a Job, its pods and the store: what goes before what."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import stand_in
from stand_in import stand_in_plan

from fulcrum_operator.engines.job.cluster import JobCluster, key_of
from fulcrum_operator.engines.job.engine import JobEngine
from fulcrum_operator.engines.job.naming import PART_LABEL
from fulcrum_operator.kubernetes.errors import Invalid
from fulcrum_operator.resources.times import write_time
from fulcrum_operator.settings import JobEngineSettings
from fulcrum_operator.settings.pools import Pool
from fulcrum_pipelines.errors import FailureClass, InfrastructureError
from fulcrum_pipelines.runner.exit_codes import EXIT_CODES, NO_EVIDENCE, LastWords
from fulcrum_pipelines.states import RunHandle, RunStatus
from fulcrum_pipelines.storage.store import Store

NOW = datetime(2026, 11, 25, 17, 0, tzinfo=UTC)
START_LIMIT_S = 900.0
APART = {"placement": {"compute": "gpu", "measure": "cpu"}, "engine": "job"}
Object = dict[str, Any]


@dataclass
class World:
    """Jobs and pods in memory, in the place of `JobCluster`."""

    operator: str = "here"
    made: list[Object] = field(default_factory=list)
    all_pods: list[Object] = field(default_factory=list)
    workloads: list[Object] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    refusal: Exception | None = None
    pod_refusal: str = ""
    now: datetime = NOW

    async def jobs(self, key: str, namespace: str | None) -> list[Object]:
        return [job for job in self.made if key_of(job) == key]

    async def all_jobs(self) -> list[Object]:
        return self.made

    async def create(self, job: Object) -> None:
        if self.refusal is not None:
            raise self.refusal
        uid = f"uid-{len(self.made)}-{len(self.deleted)}"
        metadata = {**job["metadata"], "uid": uid, "creationTimestamp": write_time(self.now)}
        self.made.append({**job, "metadata": metadata, "status": {}})

    async def delete(self, job: Object) -> None:
        self.deleted.append(job["metadata"]["name"])
        self.made = [each for each in self.made if each is not job]

    async def pods(self, key: str, namespace: str, job: Object | None = None) -> list[Object]:
        return self.all_pods

    async def why_no_pod(self, job: Object) -> str:
        return self.pod_refusal

    async def workload(self, job: Object) -> Object | None:
        return next(iter(self.workloads), None)

    # --- what happens

    def say(self, kind: str, reason: str = "", message: str = "", **status: Any) -> None:
        """Give the newest Job a condition."""
        condition = {"type": kind, "status": "True", "reason": reason, "message": message}
        self.made[-1]["status"] = {"conditions": [condition], **status}

    def pod(self, phase: str, *conditions: Object, **state: Any) -> None:
        """Let there be one pod."""
        due = state.pop("due", None)
        metadata = {"name": "p", **({"deletionTimestamp": due} if due else {})}
        containers = [{"name": "pipeline", "state": state}]
        status = {"phase": phase, "conditions": conditions, "containerStatuses": containers}
        self.all_pods = [{"metadata": metadata, "spec": {"nodeName": "n"}, "status": status}]


class Case:
    """One run at an engine over a `World`."""

    def __init__(self, store: Store, behaviour: str, **changes: Any) -> None:
        self.world, self.store, self.clock_s = World(), store, 0.0
        self.plan = stand_in_plan(behaviour, **changes).model_copy(update={"namespace": "team-a"})
        self.pools: dict[str, Pool] = {"gpu": Pool(accelerator_count=1), "cpu": Pool(cpu="1")}
        self.engine = JobEngine(
            store,
            JobEngineSettings(enabled=True, image="i", start_limit_s=START_LIMIT_S),
            cast("Mapping[str, Pool]", self.pools),
            cast("JobCluster", self.world),
            now=lambda: self.world.now,
            clock=lambda: self.clock_s,
        )
        self.handle = asyncio.run(self.engine.submit(self.plan.run, self.plan))

    def status(self) -> RunStatus:
        return asyncio.run(self.engine.status(self.handle))

    def cancel(self) -> None:
        asyncio.run(self.engine.cancel(self.handle))

    def work(self, part: Any = "all") -> None:
        stand_in.work(self.store, self.plan, part)

    def pass_s(self, seconds: float) -> None:
        self.clock_s += seconds
        self.world.now += timedelta(seconds=seconds)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(str(tmp_path))


def terminated(code: int, reason: str = "Error", message: str = "") -> Object:
    return {"exitCode": code, "reason": reason, "message": message}


DISRUPTED: Object = {
    "type": "DisruptionTarget",
    "status": "True",
    "reason": "EvictionByEvictionAPI",
}
WORDS = LastWords("infrastructure", "NotRun", "s3://b: no answer")
USER, INFRASTRUCTURE = EXIT_CODES["user"], EXIT_CODES["infrastructure"]


@dataclass(frozen=True)
class End:
    """How a Job failed: what the stand-in left in the store, and what the pod shows."""

    behaviour: str
    state: Object
    reason: str
    failure_class: FailureClass
    conditions: tuple[Object, ...] = ()


ENDS = {
    "stage says that the user is wrong": End("fail", terminated(USER), "StageFailed", "user"),
    "the user is wrong, and the pod is disrupted too": End(
        "fail", terminated(USER), "StageFailed", "user", (DISRUPTED,)
    ),
    "drained, and a stage failed too": End(
        "fail", terminated(INFRASTRUCTURE), "EvictionByEvictionAPI", "infrastructure", (DISRUPTED,)
    ),
    "out of memory": End(
        "no-evidence", terminated(137, "OOMKilled"), "OOMKilled", "infrastructure"
    ),
    "a stage's process out of memory": End(
        "broken", terminated(INFRASTRUCTURE, "OOMKilled"), "OOMKilled", "infrastructure"
    ),
    "the disk is full": End("broken", terminated(INFRASTRUCTURE), "StageFailed", "infrastructure"),
    "nothing in the store": End(
        "no-evidence", terminated(NO_EVIDENCE), "NoEvidence", "infrastructure"
    ),
    "evidence of another plan": End(
        "other-plan", terminated(NO_EVIDENCE), "NoEvidence", "infrastructure"
    ),
    "the store was not reached": End(
        "no-evidence",
        terminated(INFRASTRUCTURE, message=WORDS.as_text()),
        "NotRun",
        "infrastructure",
    ),
    "killed": End("no-evidence", terminated(137), "Killed", "infrastructure"),
    "an image that is not ours": End("no-evidence", terminated(1), "PodFailed", "internal"),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_failed_job(store: Store, end: End) -> None:
    case = Case(store, end.behaviour)
    case.work()
    case.world.say("Failed", "PodFailurePolicy")
    case.world.pod("Failed", *end.conditions, terminated=end.state)
    status = case.status()
    assert (status.state, status.reason, status.failure_class) == (
        "Failed",
        end.reason,
        end.failure_class,
    )
    assert status.message


def test_evidence_is_a_success_even_if_the_job_failed(store: Store) -> None:
    case = Case(store, "succeed")
    case.work()
    case.world.say("Failed", "PodFailurePolicy")
    case.world.pod("Failed", DISRUPTED, terminated=terminated(INFRASTRUCTURE))
    assert case.status() == RunStatus("Succeeded")


def test_job_over_its_deadline(store: Store) -> None:
    case = Case(store, "hang")
    case.work()
    case.world.say("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
    status = case.status()
    assert (status.state, status.reason, status.failure_class) == (
        "Failed",
        "DeadlineExceeded",
        "deadline",
    )


def test_deadline_goes_before_the_pod_that_is_ended_for_it(store: Store) -> None:
    case = Case(store, "hang")
    case.world.pod("Running", running={}, due=write_time(NOW))
    case.status()
    case.world.say("Failed", "DeadlineExceeded")
    assert case.status().failure_class == "deadline"


def test_deleted_pod_is_reported(store: Store) -> None:
    case = Case(store, "hang")
    case.world.pod("Running", running={}, due=write_time(NOW))
    case.status()
    case.world.all_pods = []
    case.world.say("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    status = case.status()
    assert (status.reason, status.failure_class) == ("PodDeleted", "infrastructure")


def test_disruption_is_reported_after_the_pod_is_gone(store: Store) -> None:
    case = Case(store, "hang")
    case.world.pod("Running", DISRUPTED, running={}, due=write_time(NOW))
    assert case.status().reason == "Terminating"
    case.world.all_pods = []
    case.world.say("Failed", "PodFailurePolicy", "Pod x has condition DisruptionTarget matching")
    assert case.status().reason == "EvictionByEvictionAPI"


@pytest.mark.parametrize(
    ("waiting", "failure_class"),
    [
        pytest.param("CreateContainerConfigError", "user", id="secret missing"),
        pytest.param("ImagePullBackOff", "infrastructure", id="image missing"),
    ],
)
def test_pod_that_cannot_start_is_given_up_after_a_while(
    store: Store, waiting: str, failure_class: str
) -> None:
    case = Case(store, "hang")
    case.world.pod("Pending", waiting={"reason": waiting, "message": "not found"})
    assert (case.status().state, case.status().reason) == ("Pending", waiting)
    case.pass_s(START_LIMIT_S - 1)
    assert case.status().state == "Pending"
    case.pass_s(1)
    assert case.status().reason == "Stopping"
    assert len(case.world.deleted) == 1
    assert case.status().reason == "Stopping"  # its pod is there still
    case.world.all_pods = []
    status = case.status()
    assert (status.state, status.reason, status.failure_class) == ("Failed", waiting, failure_class)
    assert "not found" in status.message


def test_trouble_that_passes_starts_no_clock(store: Store) -> None:
    case = Case(store, "hang")
    case.world.pod("Pending", waiting={"reason": "ErrImagePull"})
    case.status()
    case.pass_s(START_LIMIT_S / 2)
    case.world.pod("Running", running={})
    case.world.made[-1]["status"] = {"ready": 1}
    assert case.status() == RunStatus("Running")
    case.world.made[-1]["status"] = {"ready": 0}
    case.world.pod("Pending", waiting={"reason": "ErrImagePull"})
    case.pass_s(START_LIMIT_S / 2)
    assert case.status().state == "Pending"


def test_pod_that_waits_for_a_node_is_waited_for_as_long_as_it_takes(store: Store) -> None:
    case = Case(store, "hang")
    unscheduled = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}
    case.world.pod("Pending", {**unscheduled, "reason": "Unschedulable"})
    case.pass_s(100 * START_LIMIT_S)
    status = case.status()
    assert (status.state, status.reason) == ("Pending", "Unschedulable")
    assert case.world.deleted == []


def test_pod_on_a_lost_node_is_given_up_and_not_waited_for(store: Store) -> None:
    case = Case(store, "hang")
    case.world.pod("Running", running={}, due=write_time(NOW))
    case.pass_s(59)
    assert case.status().state == "Running"
    case.pass_s(2)
    assert case.status().reason == "Stopping"
    status = case.status()
    assert (status.state, status.reason, status.failure_class) == (
        "Failed",
        "NodeLost",
        "infrastructure",
    )


@pytest.mark.parametrize(
    ("age_s", "status", "reason"),
    [
        pytest.param(5, {}, "", id="it takes a moment"),
        pytest.param(11, {}, "NoPod", id="something forbids it"),
        pytest.param(11, {"active": 1}, "", id="it may not be seen"),
        pytest.param(
            11, {"startTime": write_time(NOW + timedelta(seconds=5))}, "", id="was in a queue"
        ),
    ],
)
def test_job_without_a_pod(store: Store, age_s: float, status: Object, reason: str) -> None:
    case = Case(store, "hang")
    case.world.made[-1]["status"] = status
    case.pass_s(age_s)
    assert (case.status().state, case.status().reason) == ("Pending", reason)


@pytest.mark.parametrize("why", ["exceeded quota: gpus", ""])
def test_job_without_a_pod_says_why_as_far_as_it_may_be_seen(store: Store, why: str) -> None:
    case = Case(store, "hang")
    case.world.pod_refusal = why
    case.pass_s(11)
    assert (why or "kubectl -n team-a describe job") in case.status().message


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        ("succeed", ("Succeeded", "")),
        ("hang", ("Failed", "JobDeleted")),
        ("fail", ("Failed", "StageFailed")),
    ],
)
def test_state_after_the_job_is_deleted(
    store: Store, behaviour: str, expected: tuple[str, str]
) -> None:
    case = Case(store, behaviour)
    case.work()
    case.world.made = []
    assert (case.status().state, case.status().reason) == expected
    assert asyncio.run(case.engine.find(case.plan.run)) == (case.handle,)


def test_job_that_the_api_server_refuses_is_the_users_affair(store: Store) -> None:
    case = Case(store, "hang")
    asyncio.run(case.engine.cancel(case.handle))
    case.world.all_pods = []
    asyncio.run(case.engine.forget(case.handle))
    case.world.refusal = Invalid("422 Invalid: no GPUs in this namespace", where="create jobs")
    handle = asyncio.run(case.engine.submit(case.plan.run, case.plan))
    status = asyncio.run(case.engine.status(handle))
    assert (status.state, status.reason, status.failure_class) == ("Failed", "JobRefused", "user")
    assert "no GPUs in this namespace" in status.message


def test_server_that_does_not_answer_is_asked_again(store: Store) -> None:
    case = Case(store, "hang")
    other = stand_in_plan("succeed").model_copy(update={"namespace": "team-a"})
    case.world.refusal = InfrastructureError("503")
    with pytest.raises(InfrastructureError):
        asyncio.run(case.engine.submit(other.run, other))
    case.world.refusal = None
    asyncio.run(case.engine.submit(other.run, other))
    assert [key_of(job) for job in case.world.made] == [case.plan.run, other.run]


class TestTwoParts:
    """Runs that compute on one pool and measure on another."""

    def parts(self, case: Case) -> list[str]:
        return [job["metadata"]["labels"][PART_LABEL] for job in case.world.made]

    def test_second_job_is_made_once_after_the_first(self, store: Store) -> None:
        case = Case(store, "succeed", **APART)
        assert self.parts(case) == ["compute"]
        case.work("compute")
        case.world.say("Complete")
        assert case.status().reason == "Measuring"
        assert self.parts(case) == ["compute", "measure"]
        assert case.status().state == "Pending"
        assert self.parts(case) == ["compute", "measure"]
        case.work("measure")
        case.world.say("Complete")
        assert case.status() == RunStatus("Succeeded")

    def test_nothing_is_measured_where_evidence_is_missing(self, store: Store) -> None:
        case = Case(store, "succeed", **APART)
        case.world.say("Complete")
        status = case.status()
        assert (status.state, status.reason) == ("Failed", "NoEvidence")
        assert "evaluate" in status.message
        assert self.parts(case) == ["compute"]

    def test_cancelled_in_between_stays_cancelled(self, store: Store) -> None:
        case = Case(store, "succeed", **APART)
        case.work("compute")
        case.cancel()
        assert case.world.made == []
        assert case.status().state == "Cancelled"

    def test_cancelled_before_its_job_is_gone_does_not_measure(self, store: Store) -> None:
        case = Case(store, "succeed", **APART)
        (job,) = case.world.made
        case.cancel()
        case.world.made = [job]  # as where the operator died before it deleted it
        case.work("compute")
        case.world.say("Complete")
        assert case.status().state == "Cancelled"
        assert self.parts(case) == ["compute"]

    @pytest.mark.parametrize("how", ["pool gone", "refused"])
    def test_second_job_that_cannot_be_made_ends_the_run_for_good(
        self, store: Store, how: str
    ) -> None:
        case = Case(store, "succeed", **APART)
        case.work("compute")
        case.world.say("Complete")
        cpu = case.pools["cpu"]
        if how == "pool gone":
            del case.pools["cpu"]
        else:
            case.world.refusal = Invalid("422", where="create jobs")
        status = case.status()
        assert (status.state, status.reason, status.failure_class) == (
            "Failed",
            "JobRefused",
            "user",
        )
        case.pools["cpu"], case.world.refusal = cpu, None
        assert case.status() == status
        assert self.parts(case) == ["compute"]

    def test_second_job_that_is_given_up_is_not_made_again(self, store: Store) -> None:
        case = Case(store, "succeed", **APART)
        case.work("compute")
        case.world.say("Complete")
        case.status()
        case.world.pod("Pending", waiting={"reason": "InvalidImageName"})
        case.status()
        case.pass_s(START_LIMIT_S)
        case.status()
        case.world.all_pods = []
        assert self.parts(case) == ["compute"]
        assert (case.status().state, case.status().reason) == ("Failed", "InvalidImageName")
        assert self.parts(case) == ["compute"]


def test_run_of_several_jobs_is_listed_once(store: Store) -> None:
    case = Case(store, "succeed", **APART)
    case.work("compute")
    case.world.say("Complete")
    case.status()
    assert asyncio.run(case.engine.runs()) == (case.handle,)
    assert case.handle.reference.startswith("team-a/succeed-1-")


def test_what_is_remembered_goes_with_the_jobs(store: Store) -> None:
    case = Case(store, "hang")
    case.world.pod("Pending", waiting={"reason": "ErrImagePull"})
    case.status()
    asyncio.run(case.engine.runs())
    assert (len(case.engine._follower._seen), len(case.engine._namespaces)) == (1, 1)
    case.world.made = []
    assert asyncio.run(case.engine.runs()) == ()
    assert (len(case.engine._follower._seen), len(case.engine._namespaces)) == (0, 0)


def test_unknown_run_has_no_status(store: Store) -> None:
    case = Case(store, "hang")
    assert asyncio.run(case.engine.status(RunHandle("x-000000000000-1", "n/x"))).state == "Unknown"
