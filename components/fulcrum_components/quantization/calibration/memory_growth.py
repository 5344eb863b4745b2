"""How much resident memory grows, because a calibrator that keeps activations fails by memory."""

from __future__ import annotations

import resource
from pathlib import Path

STATM = Path("/proc/self/statm")


class MemoryGrowth:
    """Peak growth of this process's resident memory since it was made.

    Attributes:
        peak_bytes: The most seen by `sample`; None if the system does not report it.
    """

    def __init__(self) -> None:
        self._start = _resident_bytes()
        self.peak_bytes = None if self._start is None else 0

    def sample(self) -> None:
        """Look once."""
        now = _resident_bytes()
        if now is not None and self._start is not None and self.peak_bytes is not None:
            self.peak_bytes = max(self.peak_bytes, now - self._start)


def _resident_bytes() -> int | None:
    if not STATM.is_file():
        return None
    return int(STATM.read_text().split()[1]) * resource.getpagesize()
