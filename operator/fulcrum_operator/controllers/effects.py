"""Writes that several reconcilers make, and the probe that tests stop them by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fulcrum_operator.kubernetes.api import Kube
from fulcrum_operator.kubernetes.events import Events, Happening
from fulcrum_operator.kubernetes.object_cache import Body
from fulcrum_operator.lifecycle.actions import Announce
from fulcrum_operator.resources.base import Status
from fulcrum_operator.resources.names import Kind

EffectProbe = Callable[[str], None]
"""Called with the name of an effect after it happens, so that tests can stop the process there."""


def ignore_effect(effect: str) -> None:
    """No-op probe."""


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON merge patch (RFC 7386) that makes `old` into `new`."""
    patch: dict[str, Any] = {name: None for name in old if name not in new}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if inner := merge_patch(before, value):
                patch[name] = inner
        elif before != value or name not in old:
            patch[name] = value
    return patch


async def announce(events: Events, body: Body, announcements: Iterable[Announce]) -> None:
    """Write Events about the object `body`, each once."""
    for each in announcements:
        happening = Happening(
            each.reason, each.message, each.transition, "Warning" if each.warning else "Normal"
        )
        await events.record(dict(body), happening)


async def replace_status(kube: Kube, kind: Kind, body: Body, status: Status) -> Body:
    """Replace the status of an object if it is as in `body`, and return the object.

    Raises:
        Conflict: It was written since.
        NotFound: It was deleted.
        ApiError: The API server refuses or does not answer.
    """
    metadata = body["metadata"]
    new = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    return await kube.patch(
        kind,
        metadata["name"],
        metadata["namespace"],
        {"status": merge_patch(body.get("status") or {}, new)},
        subresource="status",
        resource_version=metadata["resourceVersion"],
    )
