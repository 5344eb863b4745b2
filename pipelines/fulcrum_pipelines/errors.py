"""The root of all errors that Fulcrum raises on purpose, and the report of a stage's failure.

The class of a failure decides what happens next: a user's error is never tried again, an
infrastructure fault may be.
"""

from __future__ import annotations

from typing import Literal

from fulcrum_pipelines.texts import one_line, shortened

FailureClass = Literal["user", "quality", "infrastructure", "deadline", "internal"]


class FulcrumError(Exception):
    """An error with a message written for the user.

    Args:
        message: What was wrong and what would be accepted. A library's report is cut to its first
            three lines. Ends of lines are shown as escapes, since they come from values of users
            and from libraries: the error is one line.
        where: The field path, file or stage that it is about; put in front of the message.
    """

    failure_class: FailureClass = "internal"

    def __init__(self, message: str, *, where: str = "") -> None:
        self.message = message = one_line(shortened(message))
        self.where = where = one_line(where)
        super().__init__(f"{where}: {message}" if where else message)


class UserError(FulcrumError):
    """The manifest, model or data is wrong; trying again cannot help."""

    failure_class: FailureClass = "user"


class RefusedError(PermissionError):
    """A stage's supervisor does not read or write this for it, even if its credentials allow it."""


class QualityError(FulcrumError):
    """The result differs from the requested value by more than the declared tolerance."""

    failure_class: FailureClass = "quality"


class InfrastructureError(FulcrumError):
    """Storage, memory or a process failed; another attempt may succeed."""

    failure_class: FailureClass = "infrastructure"


class CorruptError(InfrastructureError):
    """An object in the store is missing or does not match its digest; a retry cannot help."""


class DeadlineError(FulcrumError):
    """A stage or the job ran out of its time."""

    failure_class: FailureClass = "deadline"
