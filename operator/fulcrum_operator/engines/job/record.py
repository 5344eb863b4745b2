"""What is on file about a run, in the store beside its results.

A Job may be deleted, by us or by others, and is removed some time after its end. What must not be
forgotten with it is whether it was we who stopped it, and why; that is written before it is done.
"""

from __future__ import annotations

from fulcrum_operator.ports import RunStatus
from fulcrum_pipelines.errors import CorruptError, FailureClass, InfrastructureError
from fulcrum_pipelines.evidence import Record
from fulcrum_pipelines.store import Store


class GivenUp(Record):
    """Why we ended a run that would not have ended by itself."""

    reason: str
    message: str
    failure_class: FailureClass

    def as_status(self) -> RunStatus:
        """Return it as the end of the run."""
        return RunStatus("Failed", self.reason, self.message, self.failure_class)


class JobRecord(Record):
    """One run under one key.

    Attributes:
        key: The write-ahead key.
        plan: Digest of the plan.
        namespace: Where its Jobs are.
        cancelled: Whether we were asked to stop it.
        given_up: Why we ended it, if we did without being asked.
    """

    key: str
    plan: str
    namespace: str
    cancelled: bool = False
    given_up: GivenUp | None = None


class JobRecords:
    """The files of all runs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, key: str) -> JobRecord | None:
        """Return what is on file under `key`.

        Raises:
            InfrastructureError: It cannot be read, so nothing is known.
        """
        try:
            return self._store.read_record(_path(key), JobRecord)
        except CorruptError as error:
            message = f"cannot be read: {error}; remove it once no Job of the run {key} is left"
            raise InfrastructureError(message, where=self._store.locate(_path(key))) from error

    def write(self, record: JobRecord) -> None:
        """Put `record` on file."""
        self._store.write_record(_path(record.key), record)

    def remove(self, key: str) -> None:
        """Forget what is on file under `key`."""
        self._store.delete(_path(key))


def _path(key: str) -> str:
    return f"runs/{key}/job.json"
