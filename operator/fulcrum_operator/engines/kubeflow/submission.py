"""What is on file about a run that was asked for, in the store beside its results.

The API has no idempotency, and no place for what it does not show: whether we asked for a run,
whether it was we who stopped it. Both must survive a crash, so both are written before the call.
"""

from __future__ import annotations

from fulcrum_pipelines.errors import CorruptError, InfrastructureError
from fulcrum_pipelines.evidence import Record
from fulcrum_pipelines.store import Store


class Submission(Record):
    """One run under one key.

    Attributes:
        key: The write-ahead key.
        plan: Digest of the plan.
        namespace: The profile in which the run is; empty in a single-user installation.
        posted_at: When the server was asked for it; None while that has not happened, or was
            clearly refused.
        confirmed: Whether the server was ever seen to know it.
        cancelled: Whether we stopped it.
        gone: Whether nothing of it is left in the cluster, whatever the server says.
        refused: Why the server would not have it, if it said so.
    """

    key: str
    plan: str
    namespace: str = ""
    posted_at: str | None = None
    confirmed: bool = False
    cancelled: bool = False
    gone: bool = False
    refused: str = ""


class Submissions:
    """The files of all runs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, key: str) -> Submission | None:
        """Return what is on file under `key`.

        Raises:
            InfrastructureError: It cannot be read, so nothing is known.
        """
        try:
            return self._store.read_record(_path(key), Submission)
        except CorruptError as error:
            message = f"cannot be read: {error}; remove it once no run {key} is left in Kubeflow"
            raise InfrastructureError(message, where=self._store.locate(_path(key))) from error

    def write(self, submission: Submission) -> None:
        """Put `submission` on file."""
        self._store.write_record(_path(submission.key), submission)

    def remove(self, key: str) -> None:
        """Forget what is on file under `key`."""
        self._store.delete(_path(key))


def _path(key: str) -> str:
    return f"runs/{key}/kubeflow.json"
