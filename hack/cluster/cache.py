"""The cache of built binaries, and a lock for concurrent builders."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_directory() -> Path:
    """Return the folder that all checkouts of one user share."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fulcrum" / "control-plane"


@contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Hold the lock of `directory`; wait for its owner. The kernel frees it when a process ends."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_name(f"{directory.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
