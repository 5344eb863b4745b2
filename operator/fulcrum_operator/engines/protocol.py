"""The interface between Fulcrum and the systems that execute pipelines.

An engine is idempotent by key: the key is written down before the first submission, so after any
crash `find` shows whether a run exists, and a second `submit` never starts another. Engines only
say how a run goes; what it found is read from the store (`runner.results`). All engines, fakes
included, pass the suite in `tests/engine_suite.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import FailureClass, FulcrumError
from fulcrum_pipelines.states import RunHandle, RunStatus


class RunActiveError(FulcrumError):
    """The request is not possible while the run is going."""


@dataclass(frozen=True)
class Trouble:
    """Why a run does not get on, or what ended it.

    Attributes:
        reason: One CamelCase word, the cluster's own.
        message: What a user reads.
        failure_class: What it comes to where it ends the run; None if waiting is all right.
    """

    reason: str
    message: str
    failure_class: FailureClass | None = None


class Engine(Protocol):
    """Executes plans. Every method may raise InfrastructureError if the engine fails."""

    async def submit(self, key: str, plan: Plan) -> RunHandle:
        """Start `plan` under `key`, or return the run that already has this key, however it went.

        Args:
            key: Equal to `plan.run`.
            plan: Stored by its digest before it starts.
        """

    async def find(self, key: str) -> tuple[RunHandle, ...]:
        """Return the runs under `key`, the oldest first; more than one is a fault to repair."""

    async def runs(self) -> tuple[RunHandle, ...]:
        """Return all runs that it knows of, to find those whose job is gone."""

    async def status(self, handle: RunHandle) -> RunStatus:
        """Return how the run goes; Succeeded only if its evidence is complete in the store."""

    async def cancel(self, handle: RunHandle) -> None:
        """Stop the run and all that it started; nothing happens to one that has finished."""

    async def set_deadline(self, handle: RunHandle, seconds: int | None) -> None:
        """Change `RunStatus.deadline_s` of a run that has one; None takes it away."""

    async def forget(self, handle: RunHandle) -> None:
        """Drop what the engine keeps of a finished run, so that its key is free; twice is fine.

        Artifacts and records in the store stay.

        Raises:
            RunActiveError: It is still going.
        """
