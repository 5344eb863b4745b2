"""Translate states of Jobs, pods and Workloads from the API into what users read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fulcrum_operator.engines.job import states
from fulcrum_operator.engines.protocol import Trouble
from fulcrum_operator.resources.times import write_time
from fulcrum_pipelines.errors import FailureClass
from fulcrum_pipelines.runner.exit_codes import LastWords, last_words

NOW = datetime(2026, 11, 25, 17, 0, tzinfo=UTC)


def condition(kind: str, reason: str = "", message: str = "", status: str = "True") -> Any:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def pod(
    phase: str = "Pending",
    *conditions: Any,
    waiting: Any = None,
    terminated: Any = None,
    due_s: float | None = None,
    **status: Any,
) -> dict[str, Any]:
    metadata = {"name": "p"}
    if due_s is not None:
        metadata["deletionTimestamp"] = write_time(NOW + timedelta(seconds=due_s))
    state = {"waiting": waiting} if waiting else {"terminated": terminated} if terminated else {}
    containers = [{"name": "pipeline", "state": state}]
    fields = {"phase": phase, "conditions": list(conditions), "containerStatuses": containers}
    return {"metadata": metadata, "spec": {"nodeName": "gpu-1"}, "status": {**fields, **status}}


def job(*conditions: Any, suspend: bool = False, queue: str = "", **status: Any) -> dict[str, Any]:
    labels = {"kueue.x-k8s.io/queue-name": queue} if queue else {}
    return {
        "metadata": {"name": "j", "labels": labels},
        "spec": {"suspend": suspend},
        "status": {"conditions": list(conditions), **status},
    }


UNSCHEDULABLE = "0/3 nodes are available: 1 Insufficient nvidia.com/gpu."
NO_SECRET = 'secret "fulcrum-store" not found'
BACK_OFF = 'Back-off pulling image "localhost/x:1"'


@pytest.mark.parametrize(
    ("given", "reason", "says", "failure_class"),
    [
        pytest.param(
            pod("Pending", condition("PodScheduled", "Unschedulable", UNSCHEDULABLE, "False")),
            "Unschedulable",
            f"waits for a node: {UNSCHEDULABLE}",
            None,
            id="no room",
        ),
        pytest.param(
            pod(waiting={"reason": "ImagePullBackOff", "message": BACK_OFF}),
            "ImagePullBackOff",
            f"pod p does not start: its image cannot be pulled: {BACK_OFF}",
            "infrastructure",
            id="image",
        ),
        pytest.param(
            pod(waiting={"reason": "CreateContainerConfigError", "message": NO_SECRET}),
            "CreateContainerConfigError",
            f"pod p does not start: a source of its container's settings is missing: {NO_SECRET}",
            "user",
            id="secret is missing",
        ),
        pytest.param(
            pod(waiting={"reason": "InvalidImageName"}),
            "InvalidImageName",
            "pod p does not start: its image has no valid name: InvalidImageName",
            "user",
            id="no such name",
        ),
        pytest.param(
            pod("Running", condition("Ready", status="False")),
            "PodNotReady",
            "pod p is not heard of; node gpu-1 may be lost",
            None,
            id="node does not answer",
        ),
        pytest.param(
            pod("Running", due_s=5), "Terminating", "pod p is being ended", None, id="leaving"
        ),
    ],
)
def test_why_a_pod_does_not_work(
    given: dict[str, Any], reason: str, says: str, failure_class: FailureClass | None
) -> None:
    assert states.waiting([given]) == Trouble(reason, says, failure_class)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(pod("Running", condition("Ready")), id="works"),
        pytest.param(pod(waiting={"reason": "ContainerCreating"}), id="is being made"),
        pytest.param(pod("Failed", due_s=-5), id="has ended"),
        pytest.param(pod("Succeeded"), id="has succeeded"),
    ],
)
def test_pod_with_nothing_wrong_waits_for_nothing(given: dict[str, Any]) -> None:
    assert states.waiting([given]) is None


SCRATCH = 'Usage of EmptyDir volume "scratch" exceeds the limit "20Gi".'


@pytest.mark.parametrize(
    ("given", "reason", "says"),
    [
        pytest.param(
            pod("Failed", terminated={"exitCode": 137, "reason": "OOMKilled"}),
            "OOMKilled",
            "needs more memory than its pool gives",
            id="memory",
        ),
        pytest.param(
            pod(
                "Failed",
                condition("DisruptionTarget", "TerminationByKubelet"),
                reason="Evicted",
                message=SCRATCH,
            ),
            "Evicted",
            SCRATCH,
            id="scratch space",
        ),
        pytest.param(
            pod("Failed", condition("DisruptionTarget", "EvictionByEvictionAPI", "evicted")),
            "EvictionByEvictionAPI",
            "it was evicted, as when a node is drained",
            id="drained",
        ),
        pytest.param(
            pod("Failed", condition("DisruptionTarget", "PreemptionByScheduler")),
            "PreemptionByScheduler",
            "it made room for a pod of higher priority",
            id="preempted",
        ),
        pytest.param(
            pod("Failed", condition("DisruptionTarget", "DeletionByTaintManager")),
            "DeletionByTaintManager",
            "its node was lost",
            id="node lost",
        ),
        pytest.param(
            pod("Failed", condition("DisruptionTarget", "NewReason", "in new words")),
            "NewReason",
            "in new words",
            id="a reason that is not known here",
        ),
    ],
)
def test_end_from_outside_is_infrastructure(given: dict[str, Any], reason: str, says: str) -> None:
    trouble = states.ended_from_outside([given])
    assert trouble is not None
    assert trouble.reason == reason
    assert says in trouble.message
    assert trouble.failure_class == "infrastructure"


@pytest.mark.parametrize("code", [0, 1, 64, 75])
def test_own_exit_is_not_a_kill_from_outside(code: int) -> None:
    given = pod("Failed" if code else "Succeeded", terminated={"exitCode": code, "reason": "Error"})
    assert states.ended_from_outside([given]) is None


@pytest.mark.parametrize(
    ("due_s", "is_lost", "is_left"),
    [
        pytest.param(None, False, True, id="stays"),
        pytest.param(20.0, False, True, id="has time"),
        pytest.param(-50.0, False, True, id="late"),
        pytest.param(-61.0, True, False, id="its node is lost"),
    ],
)
def test_pod_that_should_be_gone_for_long_is_not_waited_for(
    due_s: float | None, is_lost: bool, is_left: bool
) -> None:
    pods = [pod("Running", due_s=due_s)]
    assert (states.lost(pods, NOW, 60.0) is not None) is is_lost
    assert states.left(pods, NOW, 60.0) is is_left


def test_pod_that_has_ended_is_neither_left_nor_lost() -> None:
    pods = [pod("Failed", due_s=-600), pod("Succeeded")]
    assert states.lost(pods, NOW, 60.0) is None
    assert not states.left(pods, NOW, 60.0)


@pytest.mark.parametrize(
    ("given", "course"),
    [
        pytest.param(job(), "Active", id="new"),
        pytest.param(job(ready=1), "Active", id="works"),
        pytest.param(
            job(condition("FailureTarget", "PodFailurePolicy")), "Active", id="is failing"
        ),
        pytest.param(job(condition("SuccessCriteriaMet")), "Active", id="is completing"),
        pytest.param(job(condition("Complete")), "Complete", id="complete"),
        pytest.param(job(condition("Failed", "BackoffLimitExceeded")), "Failed", id="failed"),
        pytest.param(job(suspend=True), "Suspended", id="waits"),
        pytest.param(job(condition("Suspended", status="False")), "Active", id="goes on"),
    ],
)
def test_course_of_a_job(given: dict[str, Any], course: str) -> None:
    assert states.course_of(given) == course


@pytest.mark.parametrize(
    ("status", "ready"),
    [
        ({}, False),
        ({"ready": 1}, True),
        ({"ready": 0}, False),
        ({"ready": 1, "terminating": 1}, False),
    ],
)
def test_ready_job_need_not_be_looked_into(status: dict[str, int], ready: bool) -> None:
    assert states.is_ready(job(**status)) is ready


PENDING = "couldn't assign flavors to pod set main: insufficient unused quota for nvidia.com/gpu"


@pytest.mark.parametrize(
    ("queue", "workload", "expected"),
    [
        pytest.param(
            "",
            None,
            Trouble("Suspended", "the Job was suspended; resume it with kubectl"),
            id="by hand",
        ),
        pytest.param(
            "gpu",
            None,
            Trouble(
                "Suspended",
                "queue gpu: waits until Kueue admits it, which has said nothing of it "
                "(is it installed?)",
            ),
            id="Kueue is silent",
        ),
        pytest.param(
            "gpu",
            {"status": {"conditions": [condition("QuotaReserved", "Pending", PENDING, "False")]}},
            Trouble("QuotaNotReserved", f"waits in queue gpu: {PENDING}"),
            id="quota",
        ),
        pytest.param(
            "gpu",
            {
                "status": {
                    "conditions": [
                        condition("QuotaReserved", "QuotaReserved", "in gpu"),
                        condition("Admitted", "NoReservation", "checks are not ready", "False"),
                    ]
                }
            },
            Trouble("NotAdmitted", "waits in queue gpu: checks are not ready"),
            id="admission checks",
        ),
        pytest.param(
            "gpu",
            {"status": {"conditions": [condition("Evicted", "Preempted", "by a job of team-b")]}},
            Trouble(
                "Evicted", "was evicted (Preempted) and waits in queue gpu: by a job of team-b"
            ),
            id="preempted by Kueue",
        ),
        pytest.param(
            "gpu",
            {
                "status": {
                    "conditions": [
                        condition("QuotaReserved", "Pending", PENDING, "False"),
                        condition("Evicted", "Preempted", "by a job of team-b"),
                    ]
                }
            },
            Trouble(
                "QuotaNotReserved", f"was evicted (Preempted) and waits in queue gpu: {PENDING}"
            ),
            id="preempted by Kueue, and no room since",
        ),
        pytest.param(
            "gpu", {"status": {}}, Trouble("Suspended", "waits in queue gpu"), id="nothing yet"
        ),
    ],
)
def test_why_a_suspended_job_waits(
    queue: str, workload: dict[str, Any] | None, expected: Trouble
) -> None:
    assert states.queued(job(suspend=True, queue=queue), workload) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(job(), None, id="no queue"),
        pytest.param(job(suspend=True), None, id="no queue, suspended by a user"),
        pytest.param(job(suspend=True, queue="gpu"), False, id="waits"),
        pytest.param(job(queue="gpu"), True, id="let in"),
        pytest.param(job(condition("Complete"), queue="gpu"), True, id="done"),
    ],
)
def test_whether_a_queue_has_let_a_job_start(given: Any, expected: bool | None) -> None:
    assert states.quota_reserved(given) is expected


POLICY = (
    "Container pipeline for pod team-a/p failed with exit code 75 matching FailJob rule at index 5"
)
DISRUPTED = "Pod team-a/p has condition DisruptionTarget matching FailJob rule at index 0"


@pytest.mark.parametrize(
    ("given", "reason", "failure_class"),
    [
        pytest.param(
            job(condition("Failed", "PodFailurePolicy", POLICY)),
            "PodFailed",
            "infrastructure",
            id="the code survives in the Job",
        ),
        pytest.param(
            job(condition("Failed", "PodFailurePolicy", POLICY.replace("75", "64"))),
            "PodFailed",
            "user",
            id="another code",
        ),
        pytest.param(
            job(condition("Failed", "PodFailurePolicy", DISRUPTED)),
            "DisruptionTarget",
            "infrastructure",
            id="disruption survives in the Job",
        ),
        pytest.param(
            job(condition("Failed", "DeadlineExceeded", "Job was active longer than specified")),
            "DeadlineExceeded",
            "deadline",
            id="deadline",
        ),
        pytest.param(
            job(condition("Failed", "BackoffLimitExceeded", "Job has reached the limit")),
            "PodFailed",
            "infrastructure",
            id="nothing is known",
        ),
    ],
)
def test_job_without_a_pod_still_gives_the_class(
    given: dict[str, Any], reason: str, failure_class: str
) -> None:
    trouble = states.job_failure(given, states.exit_code_of(given, []))
    assert (trouble.reason, trouble.failure_class) == (reason, failure_class)


@pytest.mark.parametrize(
    ("code", "reason", "failure_class"),
    [
        pytest.param(1, "PodFailed", "internal", id="the image has no such program"),
        pytest.param(137, "Killed", "infrastructure", id="SIGKILL"),
        pytest.param(66, "PodFailed", "deadline", id="a stage's deadline"),
    ],
)
def test_exit_code_of_the_pod_gives_the_class(code: int, reason: str, failure_class: str) -> None:
    pods = [pod("Failed", terminated={"exitCode": code})]
    given = job(condition("Failed", "PodFailurePolicy", "…"))
    assert states.exit_code_of(given, pods) == code
    trouble = states.job_failure(given, code)
    assert (trouble.reason, trouble.failure_class) == (reason, failure_class)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LastWords("user", "NotRun", "no").as_text(), LastWords("user", "NotRun", "no")),
        ("", None),
        ("Traceback (most recent call last)", None),
        ("[1]", None),
        ('{"failure_class": "a word of another program"}', None),
    ],
)
def test_last_words_are_believed_only_in_their_form(text: str, expected: LastWords | None) -> None:
    given = pod("Failed", terminated={"exitCode": 64, "message": text})
    assert states.words_of([given]) == expected


@pytest.mark.parametrize("letter", ["a", "ä", "\n", '"', "🦀"])
def test_last_words_fit_where_kubernetes_keeps_them(letter: str) -> None:
    text = LastWords("internal", "StageFailed", letter * 5000).as_text()
    assert len(text.encode()) < 4096
    assert last_words(text) is not None
