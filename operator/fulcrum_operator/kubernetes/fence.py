"""Keeps a deposed leader from writing.

A leader knows that the lease is its own only for a time after it renewed it; a process that was
paused for longer wakes up believing what is no longer so. Before every write the client asks the
fence, which looks at the local clock alone: others may take over once they have seen no renewal
for the whole lease, and the fence closes a margin earlier. The fence cannot see writes
that already left; for these the call's time-out is cut to the remaining time, and compare-and-set
by `resourceVersion` does the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from fulcrum_operator.kubernetes.errors import NotLeader

Clock = Callable[[], float]


def boot_s() -> float:
    """Return seconds on a clock that never jumps and that goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Fence:
    """Open while this process is surely the leader.

    Args:
        clock: Seconds, monotonic; the wall clock must not be used, since it is set by people.
    """

    def __init__(self, clock: Clock = boot_s) -> None:
        self._clock = clock
        self._open_until_s = float("-inf")

    @property
    def left_s(self) -> float:
        """Seconds until it closes; zero or less where it is closed."""
        return self._open_until_s - self._clock()

    def check(self) -> float:
        """Return the seconds that are left for a write.

        Raises:
            NotLeader: It is closed.
        """
        left_s = self.left_s
        if left_s <= 0:
            raise NotLeader("this process does not hold the lease, so it writes nothing")
        return left_s

    def open_until(self, moment_s: float) -> None:
        """Open it, or keep it open, until `moment_s` of its clock; never for shorter than it is."""
        self._open_until_s = max(self._open_until_s, moment_s)

    def close(self) -> None:
        """Close it now."""
        self._open_until_s = float("-inf")
