"""How stages and runs go. Pure: what decides from these reaches no store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator

from fulcrum_pipelines.errors import FailureClass
from fulcrum_pipelines.evidence import Record, StageName
from fulcrum_pipelines.texts import to_message

Message = Annotated[str, AfterValidator(to_message)]
"""A message in a record."""


@dataclass(frozen=True)
class RunHandle:
    """One run at an engine.

    Attributes:
        key: The write-ahead key, `Plan.run`.
        reference: The engine's own name of the run: a process id, a Job's name, a run id. For
            people and for the engine; no other code parses it.
        url: Page of the run in the engine's user interface; empty without one.
    """

    key: str
    reference: str
    url: str = ""


RunState = Literal["Pending", "Running", "Succeeded", "Failed", "Cancelled", "Unknown"]
"""Unknown: the engine does not answer, or no longer knows the run; ask again, never resubmit."""

FINISHED: tuple[RunState, ...] = ("Succeeded", "Failed", "Cancelled")


@dataclass(frozen=True)
class RunStatus:
    """How a run goes.

    Attributes:
        state: One word.
        reason: Why, as one CamelCase word from the engine; empty if there is nothing to say.
        message: Why, in a sentence for the user.
        failure_class: For Failed, what decides whether another attempt may help.
        quota_reserved: Whether a queue of the cluster has let the run start; None where it is in
            none. While it has not, the state is Pending, and reason and message are the queue's.
        deadline_s: After how many seconds the engine ends the run by itself, for the time that the
            operator is away; None if it does not.
    """

    state: RunState
    reason: str = ""
    message: str = ""
    failure_class: FailureClass | None = None
    quota_reserved: bool | None = None
    deadline_s: int | None = None

    @property
    def finished(self) -> bool:
        """Whether the state is final."""
        return self.state in FINISHED


class StageState(Record):
    """How a stage is going: written at a bounded rate by the stage, read by all that watch it."""

    stage: StageName
    state: Literal["Running", "Succeeded", "Failed"]
    started_at: str
    finished_at: str | None = None
    message: Message = ""
    fraction: float | None = None  # done, 0..1, if it is known
    cached: bool = False
    failure_class: FailureClass | None = None
    last_lines: tuple[Message, ...] = ()
