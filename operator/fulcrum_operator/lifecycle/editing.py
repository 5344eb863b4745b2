"""Changes of a status, as new values; the conditions follow Kubernetes' API conventions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fulcrum_operator.lifecycle.observation import Job
from fulcrum_operator.resources.compressionjob import CompressionJobStatus
from fulcrum_operator.resources.conditions import cut, with_condition
from fulcrum_operator.resources.names import ConditionStatus
from fulcrum_operator.resources.times import write_time


class Editor:
    """A status that is being changed.

    Args:
        job: Whose status it is.
        now: When.
    """

    def __init__(self, job: Job, now: datetime) -> None:
        self._generation = job.generation
        self._now = write_time(now)
        self._status = job.status.model_copy(update={"observed_generation": job.generation})

    def set(self, **fields: Any) -> Editor:
        """Replace fields; None removes one."""
        self._status = self._status.model_copy(update=fields)
        return self

    def say(self, phase: str, message: str) -> Editor:
        """Set the phase and a one-sentence message about the progress."""
        return self.set(phase=phase, message=cut(message))

    def condition(
        self, kind: str, state: ConditionStatus, reason: str, message: str = ""
    ) -> Editor:
        """Set a condition; the moment of its last transition changes with its state only."""
        return self.set(
            conditions=with_condition(
                self._status.conditions,
                kind,
                state,
                reason,
                message,
                generation=self._generation,
                now=self._now,
            )
        )

    @property
    def now(self) -> str:
        """The moment of the change, as it is written."""
        return self._now

    @property
    def status(self) -> CompressionJobStatus:
        """The edited status."""
        return self._status


def condition_is(status: CompressionJobStatus, kind: str, state: ConditionStatus) -> bool:
    """Return whether the condition `kind` has the status `state`."""
    return any(each.type == kind and each.status == state for each in status.conditions)
