"""The record of a requested run, in the store beside its results.

The API has no idempotency, and no place for what it does not show: whether we asked for a run,
whether it was we who stopped it. Both must survive a crash, so both are written before the call.
"""

from __future__ import annotations

from fulcrum_operator.engines.run_record import RunFiles, RunRecord
from fulcrum_pipelines.storage.store import Store


class Submission(RunRecord):
    """One run under one key.

    Attributes:
        run_id: Chosen at random before the server is asked, and never used again. Once a run was
            deleted its id is spent: ML Metadata keeps the first run's parameters under it, and the
            pods of a second run would get those.
        namespace: The profile in which the run is; empty in a single-user installation.
        posted_at: When the server was asked for it; None while that has not happened, or was
            clearly refused.
        confirmed: Whether the server was ever seen to know it.
        cancelled: Whether we want it stopped.
        terminated: Whether the server accepted that; its history does not always show it.
        gone: Whether nothing of it is left in the cluster, even if the server says RUNNING.
        refused: Why the server would not have it, if it said so.
    """

    run_id: str
    namespace: str = ""
    posted_at: str | None = None
    confirmed: bool = False
    cancelled: bool = False
    terminated: bool = False
    gone: bool = False
    refused: str = ""


class Submissions(RunFiles[Submission]):
    """The files of all runs."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, Submission, "kubeflow.json", "no run {key} is left in Kubeflow")
