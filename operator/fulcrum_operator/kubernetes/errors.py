# ruff: noqa: N818 -- the classes are named as the reasons in the API server's own answers.
"""Refusals of the API server as types, so that callers decide by class and never by text.

FulcrumError
├── NotLeader          this process may not write now; it goes on as a standby
└── ApiError           the answer of the API server, or that none came
    ├── NotFound  Forbidden  Unauthorized  Invalid      the caller's or the user's affair
    ├── AlreadyExists  Conflict  Gone                   look again
    └── TooManyRequests  Unavailable                    try again; the client already did
"""

from __future__ import annotations

import json
from typing import Any

from fulcrum_pipelines.errors import FailureClass, FulcrumError

LONGEST_TEXT = 500
"""Characters of a body that is no Status, so that a proxy's error page floods no log."""


class NotLeader(FulcrumError):
    """The lease is not surely ours any more, so nothing may be written."""

    failure_class: FailureClass = "infrastructure"


class ApiError(FulcrumError):
    """The API server refused a call, or did not answer.

    Attributes:
        status: HTTP status; 0 where no answer came.
        reason: The server's word for it, such as `NotFound`.
        causes: The words of its details, such as `NamespaceTerminating` or `FieldValueInvalid`.
        retryable: Whether the same call may succeed later without anything being changed.
        retry_after_s: Seconds that the server asks to wait, if it does.
        continue_token: Of an expired list, from where it can go on; empty for other errors.
        tries: How often the call was made; after the first, an earlier one may have had effect.
    """

    failure_class: FailureClass = "infrastructure"
    retryable: bool = False
    tries: int = 1

    def __init__(
        self,
        message: str,
        *,
        where: str = "",
        status: int = 0,
        reason: str = "",
        causes: tuple[str, ...] = (),
        retry_after_s: float | None = None,
        continue_token: str = "",
    ) -> None:
        self.status = status
        self.reason = reason or type(self).__name__
        self.causes = causes
        self.retry_after_s = retry_after_s
        self.continue_token = continue_token
        super().__init__(" ".join(message.split()), where=where)

    @property
    def namespace_is_terminating(self) -> bool:
        """Whether it was refused only because the namespace is on its way out."""
        return "NamespaceTerminating" in self.causes


class NotFound(ApiError):
    """There is no such object, or no such kind."""


class AlreadyExists(ApiError):
    """An object of that name is there already."""


class Conflict(ApiError):
    """The object is not the one, or not in the version, that the call was meant for."""


class Gone(ApiError):
    """The version or the continuation that was asked for is too old."""


class Forbidden(ApiError):
    """This account may not do that."""

    failure_class: FailureClass = "user"


class Unauthorized(ApiError):
    """The server does not know these credentials."""

    failure_class: FailureClass = "user"


class Invalid(ApiError):
    """The server understood the object and refuses it: schema, rule or admission policy."""

    failure_class: FailureClass = "user"


class TooManyRequests(ApiError):
    """The server is busy and says when to come back."""

    retryable = True


class Unavailable(ApiError):
    """No answer, or one of the kind that passes: 5xx, a time-out, a lost connection."""

    retryable = True


_BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    410: Gone,
    413: Invalid,
    422: Invalid,
    429: TooManyRequests,
}


def error_from(status: int, body: bytes, *, call: str, retry_after: str = "") -> ApiError:
    """Return the typed error of an answer.

    Args:
        status: HTTP status, 400 or more.
        body: Usually a Kubernetes Status; any other answer of a proxy is quoted, cut.
        call: Verb and object, for the message.
        retry_after: The header, in seconds; the form with a date is ignored.
    """
    answer = _status_of(body)
    reason = str(answer.get("reason") or "")
    details = answer.get("details") or {}
    kind = _BY_STATUS.get(status, Unavailable if status >= 500 else ApiError)
    if reason == "AlreadyExists":
        kind = AlreadyExists
    text = answer.get("message") or body[:LONGEST_TEXT].decode(errors="replace").strip()
    return kind(
        f"{status} {reason or kind.__name__}: {text or 'no message'}",
        where=call,
        status=status,
        reason=reason,
        causes=tuple(str(cause.get("reason", "")) for cause in details.get("causes") or ()),
        retry_after_s=_seconds(retry_after, details.get("retryAfterSeconds")),
        continue_token=str((answer.get("metadata") or {}).get("continue") or ""),
    )


def _status_of(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) and answer.get("kind") == "Status" else {}


def _seconds(header: str, detail: object) -> float | None:
    if header.isdecimal():
        return float(header)
    return float(detail) if isinstance(detail, int) and detail > 0 else None
