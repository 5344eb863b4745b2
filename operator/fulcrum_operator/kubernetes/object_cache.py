"""Cache of the watches: the newest known form of every object that still matters.

A finished job matters no more, so only its phase and its time to live are kept; ten thousand of
them take a few megabytes. Answers of our own writes are learned too, since the watch comes later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fulcrum_operator.resources.names import SCHEDULE_LABEL, Kind

Body = Mapping[str, Any]
Key = tuple[str, str]
"""Namespace and name; the namespace of cluster-scoped objects is empty."""


def key_of(body: Body) -> Key:
    """Return the key of the object `body`."""
    metadata = body["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def version_of(body: Body) -> int:
    """Return the version of `body`; within one kind later ones are larger (KEP-5504)."""
    return int(body["metadata"]["resourceVersion"])


@dataclass
class Objects:
    """The objects of one kind.

    Attributes:
        kind: Which.
        keep: What of a body is kept; the whole by default.
        group: The key of the object that a body belongs to, for `at`; None if it is none's.
        warm: Whether the first list is through.
    """

    kind: Kind
    keep: Callable[[Body], Body] = lambda body: body
    group: Callable[[Body], Key | None] = lambda body: None
    warm: bool = False
    _bodies: dict[Key, Body] = field(default_factory=dict)
    _groups: dict[Key, dict[Key, None]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._bodies)

    def __iter__(self) -> Iterator[Body]:
        """Iterate over all of them as they are now."""
        return iter(tuple(self._bodies.values()))

    def get(self, key: Key) -> Body | None:
        """Return the newest known form of the object at `key`."""
        return self._bodies.get(key)

    def within(self, namespace: str) -> Iterator[Body]:
        """Iterate over those in a namespace, or over all if it is empty."""
        return (
            body for (where, _), body in tuple(self._bodies.items()) if namespace in ("", where)
        )

    def at(self, owner: Key) -> Iterator[Body]:
        """Iterate over those that belong to the object at `owner`."""
        return (self._bodies[key] for key in tuple(self._groups.get(owner, ())))

    def learn(self, body: Body) -> bool:
        """Take `body` for the newest form unless a newer one is known; return whether it is new."""
        key = key_of(body)
        known = self._bodies.get(key)
        if known is not None and version_of(known) >= version_of(body):
            return False
        self._leave(key)
        self._bodies[key] = self.keep(body)
        if (owner := self.group(body)) is not None:
            self._groups.setdefault(owner, {})[key] = None
        return True

    def drop(self, body: Body) -> None:
        """Forget an object that was deleted, unless a namesake has taken its place."""
        key = key_of(body)
        known = self._bodies.get(key)
        if known is not None and known["metadata"]["uid"] == body["metadata"]["uid"]:
            self._leave(key)
            del self._bodies[key]

    def _leave(self, key: Key) -> None:
        """Take the object at `key` out of its group."""
        known = self._bodies.get(key)
        owner = None if known is None else self.group(known)
        if owner is not None and (members := self._groups.get(owner)) is not None:
            members.pop(key, None)
            if not members:
                del self._groups[owner]


def schedule_of(job: Body) -> Key | None:
    """Return the key of the schedule that a job is of, or None if it is of none."""
    metadata = job["metadata"]
    name = (metadata.get("labels") or {}).get(SCHEDULE_LABEL)
    return (metadata.get("namespace", ""), name) if name else None


def keep_job(body: Body) -> Body:
    """Return what is kept of a job: all of it, or the little that matters of a finished one.

    The managers of fields are as large as the fields, and not needed here.
    """
    status = body.get("status") or {}
    metadata = body["metadata"]
    if "completionTime" not in status or metadata.get("finalizers"):
        others = {name: value for name, value in metadata.items() if name != "managedFields"}
        return {**body, "metadata": others}
    kept = ["name", "namespace", "uid", "resourceVersion", "deletionTimestamp"]
    if schedule_of(body) is not None:
        kept += ["labels", "annotations"]
    ttl = body["spec"].get("ttlSecondsAfterFinished")
    return {
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": {} if ttl is None else {"ttlSecondsAfterFinished": ttl},
        "status": {
            name: status[name] for name in ("phase", "completionTime", "verdict") if name in status
        },
    }


def is_finished(body: Body) -> bool:
    """Return whether a job has ended for good."""
    return "completionTime" in (body.get("status") or {})


def phases(jobs: Objects) -> Counter[str]:
    """Return how many jobs are in each phase."""
    return Counter((body.get("status") or {}).get("phase") or "Pending" for body in jobs)


def needs_a_look(job: Body) -> bool:
    """Return whether anything may be left to do for a job."""
    if not is_finished(job):
        return True
    metadata, spec = job["metadata"], job["spec"]
    held = bool(metadata.get("finalizers"))
    return held or (
        spec.get("ttlSecondsAfterFinished") is not None and not metadata.get("deletionTimestamp")
    )
