"""Translate states of Jobs, pods and Kueue's Workloads into a word and a sentence for the user.

Pure. A Job only knows whether its pod failed; the pod says why it waits or what ended it, and the
Workload what Kueue decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Literal

from fulcrum_operator.engines.job.naming import PART_LABEL, QUEUE_LABEL
from fulcrum_operator.engines.protocol import Trouble
from fulcrum_operator.kubernetes.object_cache import Body
from fulcrum_operator.resources.times import seconds_since
from fulcrum_pipelines.compiled import Part
from fulcrum_pipelines.errors import FailureClass
from fulcrum_pipelines.runner.exit_codes import CLASSES, LastWords, last_words

JobCourse = Literal["Suspended", "Active", "Complete", "Failed"]

DISRUPTION = "DisruptionTarget"
DISRUPTIONS = {
    "PreemptionByScheduler": "it made room for a pod of higher priority",
    "EvictionByEvictionAPI": "it was evicted, as when a node is drained",
    "DeletionByTaintManager": "its node was lost, or got a taint that its pool does not tolerate",
    "DeletionByPodGC": "its node is gone",
    "TerminationByKubelet": "its node ended it to save itself",
}
"""Reasons of a pod's condition DisruptionTarget."""
CANNOT_START: dict[str, tuple[str, FailureClass]] = {
    "ErrImagePull": ("its image cannot be pulled", "infrastructure"),
    "ImagePullBackOff": ("its image cannot be pulled", "infrastructure"),
    "ErrImageNeverPull": ("its image is not on the node, and is never pulled", "infrastructure"),
    "InvalidImageName": ("its image has no valid name", "user"),
    "CreateContainerConfigError": ("a source of its container's settings is missing", "user"),
    "CreateContainerError": ("its container cannot be made", "infrastructure"),
    "RunContainerError": ("its container cannot be started", "infrastructure"),
}
"""Reasons for waiting containers that do not pass by themselves: message, and class if the reason
stays. `user` means that another attempt cannot help, even if an administrator has to fix it."""
EXIT_CODE = re.compile(r"exit code (?P<code>[0-9]+)")
"""In the message of a Job whose failure policy matched; all that is left once the pod is gone."""


def course_of(job: Body) -> JobCourse:
    """Return the state of a Job; its end counts once its pods have ended too."""
    status = job.get("status") or {}
    for ended in ("Complete", "Failed"):
        if _condition(status, ended) is not None:
            return "Complete" if ended == "Complete" else "Failed"
    return "Suspended" if job["spec"].get("suspend") else "Active"


def part_in(job: Body) -> Part:
    """Return which part of its plan a Job runs."""
    found: Part = job["metadata"]["labels"].get(PART_LABEL, "all")
    return found


def is_ready(job: Body) -> bool:
    """Return whether the Job's pod works, so that it needs no further look."""
    status = job.get("status") or {}
    return bool(status.get("ready")) and not status.get("terminating")


def has_pod(job: Body) -> bool:
    """Whether the Job has a pod that has not ended, seen or not."""
    status = job.get("status") or {}
    return bool(status.get("active") or status.get("terminating"))


def quota_reserved(job: Body) -> bool | None:
    """Return whether a Job's queue has let it start; None for a Job that is in none."""
    queue = job["metadata"]["labels"].get(QUEUE_LABEL)
    return None if queue is None else course_of(job) != "Suspended"


def queued(job: Body, workload: Body | None) -> Trouble:
    """Return why a suspended Job waits."""
    queue = job["metadata"]["labels"].get(QUEUE_LABEL)
    if queue is None:
        return Trouble("Suspended", "the Job was suspended; resume it with kubectl")
    if workload is None:
        message = "waits until Kueue admits it, which has said nothing of it (is it installed?)"
        return Trouble("Suspended", f"queue {queue}: {message}")
    status = workload.get("status") or {}
    evicted = _condition(status, "Evicted")
    waits = f"waits in queue {queue}"
    if evicted is not None:
        waits = f"was evicted ({evicted.get('reason') or 'Evicted'}) and {waits}"
    for kind, wanted, name in (
        ("QuotaReserved", "False", "QuotaNotReserved"),
        ("Admitted", "False", "NotAdmitted"),
        ("Evicted", "True", "Evicted"),
    ):
        condition = _condition(status, kind, wanted)
        if condition is not None:
            why = condition.get("message") or condition.get("reason") or kind
            return Trouble(name, f"{waits}: {why}")
    return Trouble("Suspended", waits)


def waiting(pods: Iterable[Body]) -> Trouble | None:
    """Return why a pod does not work, if one does not."""
    found = [trouble for pod in pods if (trouble := _waits(pod)) is not None]
    return found[0] if found else None


def lost(pods: Iterable[Body], now: datetime, after_s: float) -> Trouble | None:
    """Return the word for pods that should have been gone for long: their nodes do not answer."""
    for pod in pods:
        if is_left(pod) and _overdue(pod, now, after_s):
            name, node = pod["metadata"]["name"], pod["spec"].get("nodeName", "?")
            message = f"pod {name} cannot be ended: its node {node} does not answer"
            return Trouble("NodeLost", message, "infrastructure")
    return None


def left(pods: Iterable[Body], now: datetime, after_s: float) -> bool:
    """Whether a pod may still work; one on a node that is lost can be waited for in vain."""
    return any(is_left(pod) and not _overdue(pod, now, after_s) for pod in pods)


def is_left(pod: Body) -> bool:
    """Whether a pod has not ended."""
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def ended_from_outside(pods: Iterable[Body]) -> Trouble | None:
    """Return what ended a pod from outside: memory, eviction, a lost node."""
    for pod in pods:
        name, status = pod["metadata"]["name"], pod.get("status") or {}
        if status.get("phase") == "Failed" and (reason := status.get("reason")):
            why = status.get("message") or reason
            return Trouble(reason, f"pod {name} was ended: {why}", "infrastructure")
        for state in _terminated(pod):
            if state.get("reason") == "OOMKilled":
                message = f"pod {name} was killed: it needs more memory than its pool gives"
                return Trouble("OOMKilled", message, "infrastructure")
        if (trouble := disrupted(pod)) is not None:
            return trouble
    return None


def disrupted(pod: Body) -> Trouble | None:
    """Return why the cluster ends a pod, or has ended it, if it does."""
    condition = _condition(pod.get("status") or {}, DISRUPTION)
    if condition is None:
        return None
    reason = condition.get("reason") or DISRUPTION
    why = DISRUPTIONS.get(reason) or condition.get("message") or reason
    message = f"pod {pod['metadata']['name']} was ended: {why}"
    return Trouble(reason, message, "infrastructure")


def taken(pod: Body) -> Trouble | None:
    """Return why a working pod is being removed, or None if it is not."""
    if "deletionTimestamp" not in pod["metadata"]:
        return disrupted(pod)
    message = f"pod {pod['metadata']['name']} was asked to stop: it was deleted"
    return disrupted(pod) or Trouble("PodDeleted", message, "infrastructure")


def exit_code_of(job: Body, pods: Iterable[Body]) -> int | None:
    """Return what the Job's pod ended with, as the pod has it or the Job remembers it."""
    for pod in pods:
        for state in _terminated(pod):
            return int(state["exitCode"])
    condition = _condition(job.get("status") or {}, "Failed") or {}
    found = EXIT_CODE.search(condition.get("message") or "")
    return int(found["code"]) if found else None


def words_of(pods: Iterable[Body]) -> LastWords | None:
    """Return what a pod left as its last words."""
    texts = (state.get("message", "") for pod in pods for state in _terminated(pod))
    return next((words for text in texts if (words := last_words(text)) is not None), None)


def job_failure(job: Body, code: int | None) -> Trouble:
    """Return why a Job failed whose pod said nothing of use."""
    condition = _condition(job.get("status") or {}, "Failed") or {}
    reason, message = condition.get("reason", "JobFailed"), condition.get("message", "")
    name = job["metadata"]["name"]
    if reason == "DeadlineExceeded":
        text = f"Job {name} ran longer than spec.activeDeadlineSeconds and was stopped"
        return Trouble(reason, text, "deadline")
    if DISRUPTION in message:  # all that is left of it once the pod is gone
        text = "its pod was ended by the cluster: a node drained or lost, or room made for others"
        return Trouble(DISRUPTION, text, "infrastructure")
    if code in CLASSES:
        text = f"its pod ended with exit code {code}, which is that of class {CLASSES[code]}"
        return Trouble("PodFailed", text, CLASSES[code])
    if code is not None and code > 128:
        return Trouble("Killed", f"its pod was killed by signal {code - 128}", "infrastructure")
    if code:
        text = f"its pod's program ended with exit code {code}; the image is not fit for it"
        return Trouble("PodFailed", text, "internal")
    if reason == "BackoffLimitExceeded":
        text = "its pod was asked to stop or taken away; Kubernetes kept no reason"
        return Trouble("PodFailed", text, "infrastructure")
    return Trouble(reason, f"Job {name} failed: {message or reason}", "infrastructure")


def _waits(pod: Body) -> Trouble | None:
    if not is_left(pod):
        return None
    status, name = pod.get("status") or {}, pod["metadata"]["name"]
    if "deletionTimestamp" in pod["metadata"]:
        return Trouble("Terminating", f"pod {name} is being ended")
    condition = _condition(status, "PodScheduled", "False")
    if condition is not None:
        reason = condition.get("reason") or "Unschedulable"
        return Trouble(reason, f"waits for a node: {condition.get('message') or reason}")
    for container in _containers(status):
        state = (container.get("state") or {}).get("waiting") or {}
        if (reason := state.get("reason")) in CANNOT_START:
            what, kind = CANNOT_START[reason]
            why = state.get("message") or reason
            return Trouble(reason, f"pod {name} does not start: {what}: {why}", kind)
    if status.get("phase") == "Running" and _condition(status, "Ready", "False") is not None:
        node = pod["spec"].get("nodeName", "?")
        return Trouble("PodNotReady", f"pod {name} is not heard of; node {node} may be lost")
    return None


def _overdue(pod: Body, now: datetime, after_s: float) -> bool:
    """The time in a pod's metadata is that at which it should be gone, grace and all."""
    due = pod["metadata"].get("deletionTimestamp")
    return due is not None and seconds_since(due, now) > after_s


def _condition(status: Body, kind: str, wanted: str = "True") -> Body | None:
    for condition in status.get("conditions") or ():
        if condition.get("type") == kind and condition.get("status") == wanted:
            found: Body = condition
            return found
    return None


def _containers(status: Body) -> list[Body]:
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _terminated(pod: Body) -> Iterator[Body]:
    for container in _containers(pod.get("status") or {}):
        if (state := (container.get("state") or {}).get("terminated")) is not None:
            yield state
