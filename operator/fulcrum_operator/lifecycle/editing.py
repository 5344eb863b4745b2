"""Changes of a status, as new values; the conditions follow Kubernetes' API conventions."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from fulcrum_operator.observed import Job
from fulcrum_operator.resources.compressionjob import CompressionJobStatus
from fulcrum_operator.resources.condition import Condition
from fulcrum_operator.times import write_time

State = Literal["True", "False", "Unknown"]
MESSAGE_LIMIT = 4096
"""Characters; longer texts are cut, since an object must stay small."""


def cut(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Return `text`, or its beginning where it is too long."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


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
        """Tell in one word and one sentence how it is going."""
        return self.set(phase=phase, message=cut(message))

    def condition(self, kind: str, state: State, reason: str, message: str = "") -> Editor:
        """Set a condition; the moment of its last transition changes with its state only."""
        before = self._status.conditions
        old = next((each for each in before if each.type == kind), None)
        same = old is not None and old.status == state
        new = Condition(
            type=kind,
            status=state,
            reason=reason,
            message=cut(message),
            last_transition_time=old.last_transition_time if old and same else self._now,
            observed_generation=self._generation,
        )
        others = tuple(each for each in before if each.type != kind)
        position = before.index(old) if old is not None else len(others)
        return self.set(conditions=(*others[:position], new, *others[position:]))

    @property
    def now(self) -> str:
        """The moment of the change, as it is written."""
        return self._now

    @property
    def status(self) -> CompressionJobStatus:
        """What came of it."""
        return self._status


def condition_is(status: CompressionJobStatus, kind: str, state: State) -> bool:
    """Return whether the condition `kind` stands at `state`."""
    return any(each.type == kind and each.status == state for each in status.conditions)
