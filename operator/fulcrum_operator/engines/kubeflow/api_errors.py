"""Errors of the Kubeflow Pipelines API, and whether it may have acted all the same.

That second question decides everything here: a run is asked for once, so an answer that leaves it
open is never followed by a second try. The client's own exceptions say no more than a status, and
carry stack traces of the server, which users should not see.
"""

from __future__ import annotations

import json
from typing import Any

from fulcrum_pipelines.errors import InfrastructureError

LONGEST_TEXT = 500
"""Characters of an answer that are quoted, so that a proxy's error page floods no log."""


class KubeflowError(InfrastructureError):
    """The server refused a call, or did not answer.

    Attributes:
        status: HTTP status; 0 where no answer came.
        acted: Whether it may have done what was asked.
        text: What it said.
    """

    def __init__(self, text: str, *, where: str, status: int = 0, acted: bool = False) -> None:
        self.status = status
        self.acted = acted
        self.text = text
        super().__init__(f"{status} {text}" if status else text, where=where)

    @property
    def is_missing(self) -> bool:
        """Whether the server knows no such object; a gateway's 404 says nothing about that."""
        return self.status == 404 and "ResourceNotFoundError" in self.text

    @property
    def pipeline_is_missing(self) -> bool:
        """Whether a run was refused before anything was made, since its pipeline was deleted.

        The server says so with a 500, as it says everything that is wrong with a pipeline.
        """
        return self.status == 500 and "error fetching manifest" in self.text

    @property
    def workflow_is_missing(self) -> bool:
        """Whether a run could not be stopped since there is nothing of it left to stop."""
        return (
            self.status == 500
            and "workflows.argoproj.io" in self.text
            and ("not found" in self.text)
        )


def error_of(status: int, body: str, *, where: str) -> KubeflowError:
    """Return the error of an answer; with 5xx nothing is known of what was done before it.

    Args:
        status: HTTP status.
        body: gRPC's `message`, or `error_message` of uploads, whose details are a stack trace.
        where: Which call.
    """
    return KubeflowError(_text(body), where=where, status=status, acted=status >= 500)


def _text(body: str) -> str:
    try:
        answer: Any = json.loads(body)
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        body = str(answer.get("message") or answer.get("error_message") or "no message")
    text = " ".join(body.split())
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..."
