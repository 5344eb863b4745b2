"""Actions for a job, as data: decisions return these, `controllers.executor` carries them out.

The order of a decision's actions is part of the decision: what must survive a crash is written down
before what rests on it. A transition is announced before it is written: a repeated announcement is
the same Event, but one after the write would be lost with a process that dies in between.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fulcrum_operator.resources.compressionjob import CompressionJobStatus
from fulcrum_operator.resources.names import EventReason
from fulcrum_pipelines.contract import Plan, ResolvedSpec
from fulcrum_pipelines.states import RunHandle


@dataclass(frozen=True)
class WriteStatus:
    """Replace the job's status, if the job was not written since it was read.

    Attributes:
        status: The whole of it.
        point: Names the effect, for tests that stop the operator right after it.
    """

    status: CompressionJobStatus
    point: str


@dataclass(frozen=True)
class AddFinalizer:
    """Keep the object while a run may exist."""


@dataclass(frozen=True)
class RemoveFinalizer:
    """Let the object go: no run of it exists any more."""


@dataclass(frozen=True)
class CreateSnapshot:
    """Put on file what the job starts with: its specification without references.

    Attributes:
        spec: With recipe and gates as they were named, and absolute addresses.
        sources: The origin of recipe and gates, for people.
    """

    spec: ResolvedSpec
    sources: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Submit:
    """Start `plan` at the engine; its key stands in status already."""

    plan: Plan


@dataclass(frozen=True)
class Cancel:
    """Stop a run."""

    handle: RunHandle


@dataclass(frozen=True)
class SetDeadline:
    """Let the engine end a run by itself after another time, or no longer where it is None."""

    handle: RunHandle
    seconds: int | None


@dataclass(frozen=True)
class CreatePromotion:
    """Ask for the channel to be moved; the same job always asks under the same name."""

    name: str
    spec: dict[str, Any]


@dataclass(frozen=True)
class DeleteJob:
    """Remove the job, which finished long enough ago."""


@dataclass(frozen=True)
class Announce:
    """Write an Event, once for a transition.

    Attributes:
        reason: One word of the enumerated list.
        message: A sentence for people.
        transition: Distinguishes it from others with the same reason, so that a crash repeats none.
        warning: Whether a person should look.
    """

    reason: EventReason
    message: str
    transition: str = ""
    warning: bool = False


Action = (
    WriteStatus
    | AddFinalizer
    | RemoveFinalizer
    | CreateSnapshot
    | Submit
    | Cancel
    | SetDeadline
    | CreatePromotion
    | DeleteJob
    | Announce
)


@dataclass(frozen=True)
class Decision:
    """The actions to do now, and when to look again at the latest.

    Attributes:
        actions: In this order; after them the job is looked at again at once.
        after_s: Seconds; None if only an event can change anything.
    """

    actions: tuple[Action, ...] = ()
    after_s: float | None = None
