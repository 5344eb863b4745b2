"""Events for people, once each: `kubectl describe` shows the history of an object by them.

The name of an Event follows from its content, so that recording it again after a crash finds it
and adds none. An Event is a courtesy: a failure to write one never fails the work that it is about.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from fulcrum_operator.kubernetes.api import Kube
from fulcrum_operator.kubernetes.errors import AlreadyExists, ApiError
from fulcrum_operator.kubernetes.requests import Object
from fulcrum_operator.resources.names import EVENT, EventReason
from fulcrum_pipelines.errors import FulcrumError

log = logging.getLogger(__name__)

CONTROLLER = "fulcrum.dev/operator"
LONGEST_MESSAGE_BYTES = 1024
"""The API server's limit."""
LONGEST_NAME = 253


@dataclass(frozen=True)
class Happening:
    """Something that happened to an object.

    Attributes:
        reason: One word of the enumerated list.
        message: A sentence.
        transition: Distinguishes repetitions of a reason, such as the attempt or the stage; the
            same reason and transition of one object is the same Event.
        type: `Warning` if a person should look.
    """

    reason: EventReason
    message: str
    transition: str = ""
    type: Literal["Normal", "Warning"] = "Normal"


def event_for(subject: Object, happening: Happening, *, instance: str, now: datetime) -> Object:
    """Return the Event.

    Args:
        subject: The object that it is about, as read from the server.
        happening: Content of the Event.
        instance: Identity of this process.
        now: The time that it gets, in UTC.
    """
    metadata = subject["metadata"]
    namespace = metadata.get("namespace") or "default"
    time = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"name": _name(metadata, happening), "namespace": namespace},
        "involvedObject": {
            "apiVersion": subject["apiVersion"],
            "kind": subject["kind"],
            **{
                field: metadata[field]
                for field in ("name", "namespace", "uid", "resourceVersion")
                if field in metadata
            },
        },
        "type": happening.type,
        "reason": happening.reason,
        "message": cut(happening.message, LONGEST_MESSAGE_BYTES),
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
        "source": {"component": CONTROLLER},
        "reportingComponent": CONTROLLER,
        "reportingInstance": instance[:128],
    }


def cut(text: str, longest_bytes: int) -> str:
    """Return `text`, cut with an ellipsis if it is too long."""
    encoded = text.encode()
    if len(encoded) <= longest_bytes:
        return text
    ellipsis = "…"
    kept = encoded[: longest_bytes - len(ellipsis.encode())]
    return kept.decode(errors="ignore") + ellipsis


class Events:
    """Writes them.

    Args:
        kube: Its calls.
        instance: Identity of this process.
        on_result: Called after each with `written`, `known` from before, or `failed`.
    """

    def __init__(
        self, kube: Kube, instance: str, on_result: Callable[[str], None] = lambda result: None
    ) -> None:
        self._kube = kube
        self._instance = instance
        self._on_result = on_result

    async def record(self, subject: Object, happening: Happening) -> None:
        """Write an Event about `subject` unless it is there already; raises nothing of the API."""
        event = event_for(subject, happening, instance=self._instance, now=datetime.now(UTC))
        try:
            await self._kube.create(EVENT, event)
            self._on_result("written")
        except AlreadyExists:
            self._on_result("known")
        except FulcrumError as error:
            self._on_result("failed")
            expected = isinstance(error, ApiError) and error.namespace_is_terminating
            level = logging.DEBUG if expected else logging.WARNING
            log.log(level, "the event %s was not written: %s", happening.reason, error)


def _name(metadata: Object, happening: Happening) -> str:
    content = "\n".join((metadata["uid"], happening.reason, happening.transition))
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return f"{metadata['name'][: LONGEST_NAME - len(digest) - 1]}.{digest}"
