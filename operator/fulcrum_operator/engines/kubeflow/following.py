"""How a run goes, from three sources that each know a part.

The server knows whether it is going, the pods what it waits for or what ended it, and the store
how it ended. If they differ, the store decides on success and the cluster on whether anything
is left: the server never stops saying RUNNING of a run whose Workflow was deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from fulcrum_operator.engines.kubeflow.cluster import ClusterView
from fulcrum_operator.engines.kubeflow.pods import ended, launcher_failure, waiting
from fulcrum_operator.engines.kubeflow.runs import Run
from fulcrum_operator.engines.kubeflow.submission import Submission
from fulcrum_operator.engines.protocol import Trouble
from fulcrum_operator.resources.times import seconds_since
from fulcrum_operator.settings import Kubeflow
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.runner.results import ended_status, stage_states
from fulcrum_pipelines.states import RunState, RunStatus
from fulcrum_pipelines.storage.store import Store


@dataclass
class _Seen:
    """The last observation of a run in the cluster."""

    at_s: float
    trouble: Trouble | None = None
    missing_since_s: float | None = None


@dataclass
class Follower:
    """Follows runs.

    Attributes:
        store: Has the evidence.
        settings: How often the cluster is looked at.
        cluster: None without access to a cluster.
        now: The time of day.
        clock: Seconds that only go forward.
    """

    store: Store
    settings: Kubeflow
    cluster: ClusterView | None
    now: Callable[[], datetime]
    clock: Callable[[], float]
    _looks: dict[str, _Seen] = field(default_factory=dict)

    async def status(
        self, run: Run, on_file: Submission | None, namespace: str
    ) -> tuple[RunStatus, bool]:
        """Return how a run goes that the server knows, and whether nothing of it is left.

        Args:
            run: As the server has it.
            on_file: What we have of it.
            namespace: Of its pods.
        """
        if run.course == "Unknown":
            message = f"Kubeflow says {run.state or 'nothing'} of it, which is no state known here"
            return RunStatus("Unknown", "UnknownState", message), False
        gone = on_file is not None and on_file.gone
        if run.course != "Ended" and not gone:
            look = await self._look(run, namespace)
            since_s = look.missing_since_s
            gone = since_s is not None and self.clock() - since_s >= self.settings.confirm_s
            if not gone:
                return _going(run, look.trouble), False
        return await self._ended(run, on_file, namespace, gone=gone), gone

    async def without_run(self, on_file: Submission, run_id: str) -> RunStatus:
        """Return the state of a run that we asked for and the server does not know."""
        if on_file.refused:
            message = f"Kubeflow refused the run: {on_file.refused}"
            return RunStatus("Failed", "SubmissionRefused", message, "infrastructure")
        if on_file.confirmed:
            return await self._deleted(on_file)
        assert on_file.posted_at is not None
        if seconds_since(on_file.posted_at, self.now()) >= self.settings.confirm_s:
            namespace = on_file.namespace or self.settings.pod_namespace
            if self.cluster and await self.cluster.remove_strays(run_id, namespace, keep=0):
                message = "Kubeflow never confirmed the run, and nothing of it is left"
                return RunStatus("Failed", "SubmissionLost", message, "infrastructure")
        message = "Kubeflow was asked for the run and gave no clear answer; it may yet turn up"
        return RunStatus("Unknown", "NotConfirmed", message)

    def forget(self, run_id: str) -> None:
        """Drop what is remembered of a run."""
        self._looks.pop(run_id, None)

    async def _deleted(self, on_file: Submission) -> RunStatus:
        """Judge a run that was deleted in Kubeflow by its results in the store."""
        plan = await asyncio.to_thread(self.store.plan, on_file.plan)
        found = await asyncio.to_thread(
            ended_status, self.store, plan, on_file.plan, cancelled=on_file.cancelled
        )
        if found.state == "Failed" and found.reason == "NoEvidence":
            message = "the run was deleted in Kubeflow before it had a result"
            return RunStatus("Failed", "RunDeleted", message, "infrastructure")
        return found

    async def _look(self, run: Run, namespace: str) -> _Seen:
        before = self._looks.get(run.run_id)
        if before is not None and self.clock() - before.at_s < self.settings.look_s:
            return before
        look = _Seen(self.clock())
        if self.cluster is not None:
            pods = await self.cluster.pods(run.run_id, namespace)
            look.trouble = waiting(pods or ())
            if not pods and await self.cluster.workflows(run.run_id, namespace) == []:
                earlier = None if before is None else before.missing_since_s
                look.missing_since_s = look.at_s if earlier is None else earlier
        self._looks[run.run_id] = look
        return look

    async def _ended(
        self, run: Run, on_file: Submission | None, namespace: str, *, gone: bool
    ) -> RunStatus:
        digest = on_file.plan if on_file is not None else run.plan
        if on_file is None:
            cancelled = await self._was_stopped(run, namespace)
        elif on_file.cancelled:
            cancelled = on_file.terminated or gone or await self._was_stopped(run, namespace)
        else:
            cancelled = False
        plan = await asyncio.to_thread(self.store.plan, digest)
        status = await asyncio.to_thread(
            ended_status, self.store, plan, digest, cancelled=cancelled
        )
        if status.reason != "NoEvidence":
            return status
        return await self._unexplained(run, plan, namespace, status, gone=gone)

    async def _was_stopped(self, run: Run, namespace: str) -> bool:
        """Return whether a run is known to have been stopped."""
        if run.was_terminated or self.cluster is None:
            return run.was_terminated
        return await self.cluster.was_stopped(run.run_id, namespace)

    async def _unexplained(
        self, run: Run, plan: Plan, namespace: str, status: RunStatus, *, gone: bool
    ) -> RunStatus:
        """A run that left no evidence may have been ended from outside, which is no fault of it."""
        if await self._was_stopped(run, namespace):
            message = "the run was stopped in Kubeflow; to stop it, suspend or delete the job"
            return RunStatus("Failed", "Terminated", message, "infrastructure")
        if gone:
            message = "the run's Workflow is gone, though Kubeflow says that it is running"
            return RunStatus("Failed", "WorkflowGone", message, "infrastructure")
        pods = await self.cluster.pods(run.run_id, namespace) if self.cluster else None
        states = await asyncio.to_thread(stage_states, self.store, plan)
        succeeded = [state.stage for state in states if state.state == "Succeeded"]
        trouble = ended(pods or ()) or launcher_failure(pods or (), plan, succeeded)
        if trouble is not None:
            message = f"{status.message}: {trouble.message}"
            return RunStatus("Failed", trouble.reason, message, "infrastructure")
        if run.state == "SUCCEEDED":
            return status
        why = f": {run.error}" if run.error else " without a reason"
        return replace(status, message=f"{status.message}; Kubeflow says {run.state}{why}")


def _going(run: Run, trouble: Trouble | None) -> RunStatus:
    state: RunState = "Pending" if run.course == "Pending" else "Running"
    if run.state == "CANCELING":
        return RunStatus("Running", "Canceling", "it is being stopped")
    if run.state == "PAUSED":
        return RunStatus("Running", "Paused", "the run is paused in Kubeflow")
    if trouble is not None:
        return RunStatus(state, trouble.reason, trouble.message)
    return RunStatus(state)
