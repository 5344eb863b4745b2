"""Records of an engine's runs, in the store beside their results.

A cluster forgets runs, and never knew some of what we did with them. Facts that must outlive that,
and a crash of ours, are written here before the action.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from fulcrum_pipelines.errors import CorruptError, InfrastructureError
from fulcrum_pipelines.evidence import Record
from fulcrum_pipelines.storage.store import Store


class RunRecord(Record):
    """One run under one key.

    Attributes:
        key: The write-ahead key.
        plan: Digest of the plan.
    """

    key: str
    plan: str


R = TypeVar("R", bound=RunRecord)


class RunFiles(Generic[R]):
    """The files of all runs of one engine.

    Args:
        store: Holds them.
        record: Type of their content.
        name: Of the file in the run's folder.
        trace: What of a run has to be gone before its file may be removed; `{key}` is its key.
    """

    def __init__(self, store: Store, record: type[R], name: str, trace: str) -> None:
        self._store = store
        self._record = record
        self._name = name
        self._trace = trace

    def read(self, key: str) -> R | None:
        """Return what is on file under `key`.

        Raises:
            InfrastructureError: It cannot be read, so nothing is known.
        """
        path = self._path(key)
        try:
            return self._store.read_record(path, self._record)
        except CorruptError as error:
            trace = self._trace.format(key=key)
            message = f"cannot be read: {error}; remove it once {trace}"
            raise InfrastructureError(message, where=self._store.locate(path)) from error

    def write(self, record: R) -> None:
        """Put `record` on file."""
        self._store.write_record(self._path(record.key), record)

    def remove(self, key: str) -> None:
        """Forget what is on file under `key`."""
        self._store.delete(self._path(key))

    def _path(self, key: str) -> str:
        return f"runs/{key}/{self._name}"
