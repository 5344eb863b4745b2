"""The meaning of a run's states: pure, so that each of them has a row in a table and a test."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from fulcrum_pipelines.contract import NEW_RUN

RunCourse = Literal["Pending", "Running", "Ended", "Unknown"]
"""How a run goes. Whether it ended well is not the server's to say, but the store's."""

COURSES: dict[str, RunCourse] = {
    "": "Pending",  # the server leaves out the state of a Workflow that Argo has not looked at yet
    "PENDING": "Pending",
    "RUNNING": "Running",
    "PAUSED": "Running",
    "CANCELING": "Running",
    "SUCCEEDED": "Ended",
    "SKIPPED": "Ended",
    "FAILED": "Ended",
    "CANCELED": "Ended",
}
"""All others, such as RUNTIME_STATE_UNSPECIFIED or one of a later version, are Unknown."""


@dataclass(frozen=True)
class Run:
    """A run as the server knows it.

    Attributes:
        run_id: Its identity.
        name: Its display name, which for ours is the write-ahead key; not unique.
        state: As the server spells it; empty if it gives none.
        history: The states that it was in, the oldest first; lags behind by about a second.
        pipeline_id: Of what it was made from; empty for a run with its own pipeline.
        plan: Digest of the plan that it was given; empty for others' runs.
        key: The write-ahead key that it was given; empty for others' runs.
        recurring: Whether a recurring run made it.
        namespace: Its profile, if profiles exist and it is known.
        created_at: When it was asked for.
        error: The server's error message; empty in all runs observed so far.
    """

    run_id: str
    name: str
    state: str
    history: tuple[str, ...] = ()
    pipeline_id: str = ""
    plan: str = ""
    key: str = ""
    recurring: bool = False
    namespace: str = ""
    created_at: datetime | None = None
    error: str = ""

    @property
    def course(self) -> RunCourse:
        """How it goes."""
        return COURSES.get(self.state, "Unknown")

    @property
    def is_of_a_job(self) -> bool:
        """Whether an operator asked for it: others have another name, or no key."""
        return self.name == self.key != NEW_RUN and not self.recurring

    @property
    def was_terminated(self) -> bool:
        """Whether its history shows a stop since it was last retried.

        A sign when it is there, but none when it is missing: the state of a stopped run is FAILED,
        and a report of its Workflow may overwrite the CANCELING before it.
        """
        states = (*self.history, self.state)
        going = [at for at, state in enumerate(states) if state in ("", "PENDING", "RUNNING")]
        since = states[going[-1] + 1 :] if going else states
        return "CANCELING" in since or "CANCELED" in since
