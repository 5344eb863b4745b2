"""How many runs an engine takes at a time, and who is next.

In memory only: after a start it is filled again from the jobs' statuses, which record who holds a
place. An engine that queues by itself has no limit here.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from datetime import datetime

from fulcrum_operator.engines.protocol import Engine
from fulcrum_operator.kubernetes.object_cache import Key


@dataclass
class Slots:
    """Places at one engine, given in the order in which the jobs were created.

    Attributes:
        limit: How many; None if the engine queues by itself.
    """

    limit: int | None = None
    _holders: set[str] = field(default_factory=set)
    _waiting: dict[str, tuple[datetime, Key]] = field(default_factory=dict)

    def hold(self, uid: str) -> None:
        """Note that the job `uid` has a run."""
        self._holders.add(uid)
        self._waiting.pop(uid, None)

    def take(self, uid: str, created_at: datetime, key: Key) -> bool:
        """Return whether the job may start; otherwise it waits in line."""
        if self.limit is None or uid in self._holders:
            return True
        self._waiting[uid] = (created_at, key)
        first = heapq.nsmallest(self._free, ((*place, who) for who, place in self._waiting.items()))
        if uid not in {who for *_, who in first}:
            return False
        self.hold(uid)
        return True

    def release(self, uid: str) -> tuple[Key, ...]:
        """Note that the job has no run; return all that may start now.

        An earlier call may have returned these already if they had no turn since, and a job that
        gives up while it waits may have been returned too.
        """
        self._waiting.pop(uid, None)
        self._holders.discard(uid)
        return tuple(key for _, key in heapq.nsmallest(self._free, self._waiting.values()))

    @property
    def _free(self) -> int:
        return len(self._waiting) if self.limit is None else max(self.limit - len(self._holders), 0)


@dataclass(frozen=True)
class EngineDesk:
    """An engine and its places."""

    engine: Engine
    slots: Slots
