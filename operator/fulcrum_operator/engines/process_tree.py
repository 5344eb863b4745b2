"""Find and stop all processes of a run, also those that left its process group.

A process id alone proves nothing, since ids are used again. So every run gets a random mark in its
environment, which all that it starts inherits, detached daemons included; and the start time of its
first process is kept, because the environment cannot be read while a process becomes another.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass

import psutil

MARK = "FULCRUM_RUN_MARK"
START_TOLERANCE_S = 1.0  # the clock that start times are computed with is set now and then
KILL_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Leader:
    """The first process of a run; its id is also that of its process group."""

    pid: int
    mark: str
    started_at_s: float

    def is_alive(self) -> bool:
        """Return whether it still runs; a zombie does not."""
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            if abs(process.create_time() - self.started_at_s) < START_TOLERANCE_S:
                return True
            return _mark_of(process) == self.mark
        except psutil.Error:
            return False


def family(leader: Leader) -> set[psutil.Process]:
    """Return what runs of `leader`: its descendants, its group, and all with its mark."""
    found = set()
    leads = leader.is_alive()
    if leads:
        with contextlib.suppress(psutil.Error):
            found.update(psutil.Process(leader.pid).children(recursive=True))
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            process = psutil.Process(pid)
            # Only while its leader lives is the group's id surely the run's.
            if (leads and os.getpgid(pid) == leader.pid) or _mark_of(process) == leader.mark:
                found.add(process)
    return _running(found)


def stop(leader: Leader, grace_s: float) -> None:
    """End the family of `leader`: asked first, killed `grace_s` seconds later.

    New processes of the family are killed too. A process that the kernel does not let go within
    half a minute is left to it.
    """
    members = family(leader)
    _send(members, signal.SIGTERM)
    psutil.wait_procs(list(members), timeout=grace_s)
    give_up_at_s = time.monotonic() + KILL_TIMEOUT_S
    while (members := _running(members) | family(leader)) and time.monotonic() < give_up_at_s:
        _send(members, signal.SIGKILL)
        psutil.wait_procs(list(members), timeout=1)


def _send(processes: set[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):  # gone, or its id is used again
            process.send_signal(number)


def _running(processes: set[psutil.Process]) -> set[psutil.Process]:
    running = set()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                running.add(process)
    return running


def _mark_of(process: psutil.Process) -> str | None:
    mark: str | None = process.environ().get(MARK)
    return mark
