"""The record of a run, in the store beside its results.

A Job may be deleted, by us or by others, and is removed some time after its end. Whether
we stopped it, and why, must outlive it, so that is written before it is done.
"""

from __future__ import annotations

from fulcrum_operator.engines.run_record import RunFiles, RunRecord
from fulcrum_pipelines.errors import FailureClass
from fulcrum_pipelines.evidence import Record
from fulcrum_pipelines.states import RunStatus
from fulcrum_pipelines.storage.store import Store


class GivenUp(Record):
    """Why we ended a run that would not have ended by itself."""

    reason: str
    message: str
    failure_class: FailureClass

    def as_status(self) -> RunStatus:
        """Return it as the end of the run."""
        return RunStatus("Failed", self.reason, self.message, self.failure_class)


class JobRecord(RunRecord):
    """One run under one key.

    Attributes:
        namespace: Of its Jobs.
        cancelled: Whether we were asked to stop it.
        given_up: Why we ended it, if we did without being asked.
    """

    namespace: str
    cancelled: bool = False
    given_up: GivenUp | None = None


class JobRecords(RunFiles[JobRecord]):
    """The files of all runs."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, JobRecord, "job.json", "no Job of the run {key} is left")
