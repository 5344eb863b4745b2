"""Start processes that outlive their starter, and stop exactly those.

A process id alone proves nothing, since ids are used again, and a starter may be killed before it
has put one on file. So the start time is kept beside the id, and every process carries a mark in
its environment that names this folder, which all that it starts inherits.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from cluster.errors import ClusterError, PortTakenError

MARK = "FULCRUM_CLUSTER_PROCESS"
OWNER = "FULCRUM_CLUSTER_OWNER"
START_TOLERANCE_S = 1.0  # the clock that start times are computed with is set now and then
KILL_TIMEOUT_S = 10.0
TAIL_LINES = 15


@dataclass(frozen=True)
class Record:
    """The record of a process; its log before `log_offset` belongs to earlier ones."""

    pid: int
    started_s: float
    log_offset: int

    def process(self) -> psutil.Process | None:
        """Return the process if it still runs; a zombie does not."""
        return _if_same(self.pid, self.started_s)


class Processes:
    """The named processes whose files are in `directory`.

    With an `owner`, which `this_process` returns, they count as abandoned once it has ended.
    """

    def __init__(self, directory: Path, owner: str = "") -> None:
        self.directory = directory.resolve()
        self._owner = owner

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start `command` in a new session, with nothing but `environment`."""
        log = self.log(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        self._record(name).parent.mkdir(parents=True, exist_ok=True)
        offset = log.stat().st_size if log.exists() else 0
        marked = {**environment, MARK: self._mark(name), OWNER: self._owner}
        pid = _spawn(command, marked, log)
        started_s = psutil.Process(pid).create_time()
        self._record(name).write_text(json.dumps([pid, started_s, offset]))

    def stop(self, names: Sequence[str], grace_s: float) -> None:
        """End the processes `names` and what they started; killed if not gone after `grace_s`."""
        marks = {self._mark(name) for name in names}
        _end(lambda: self._family(names, marks), grace_s)
        for name in names:
            self._record(name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Return the names of all that is on file or carries this folder's mark."""
        prefix = self._mark("")
        marked = {mark.removeprefix(prefix) for mark in _marks(MARK) if mark.startswith(prefix)}
        return sorted(marked | {path.stem for path in self.directory.glob("run/*.json")})

    def running(self, name: str) -> psutil.Process | None:
        """Return the process `name` if it was started and has not ended."""
        record = self._load(name)
        return record.process() if record else None

    def check(self, name: str) -> None:
        """Raise with the end of its log if `name` has ended."""
        record = self._load(name)
        if record and not record.process():
            tail = self.log_tail(name)
            taken = "address already in use" in tail
            message = f"{name} ended; the end of {self.log(name)}:\n{tail}"
            raise PortTakenError(message) if taken else ClusterError(message)

    def log(self, name: str) -> Path:
        """Return the file that `name` writes to."""
        return self.directory / "logs" / f"{name}.log"

    def log_tail(self, name: str) -> str:
        """Return the last lines that the present `name` wrote."""
        record = self._load(name)
        written = self.log(name).read_bytes()[record.log_offset if record else 0 :]
        return "\n".join(written.decode(errors="replace").splitlines()[-TAIL_LINES:])

    def _mark(self, name: str) -> str:
        return f"{self.directory}:{name}"

    def _record(self, name: str) -> Path:
        return self.directory / "run" / f"{name}.json"

    def _load(self, name: str) -> Record | None:
        try:
            return Record(*json.loads(self._record(name).read_text()))
        except (FileNotFoundError, json.JSONDecodeError):  # killed before or while writing it
            return None

    def _family(self, names: Sequence[str], marks: set[str]) -> set[psutil.Process]:
        recorded = {process for name in names if (process := self.running(name))}
        return recorded | {process for mark in marks for process in _marks(MARK).get(mark, ())}


def this_process() -> str:
    """Return this process as an owner."""
    return f"{os.getpid()}:{psutil.Process().create_time()}"


def has_ended(owner: str) -> bool:
    """Return whether the owner existed and has ended."""
    pid, _, started_s = owner.partition(":")
    return bool(pid) and _if_same(int(pid), float(started_s)) is None


def stop_abandoned() -> None:
    """End the processes whose owner was killed before it could."""
    for owner, orphans in _marks(OWNER).items():
        if has_ended(owner):
            _end(partial(_living, orphans), grace_s=0)


def _spawn(command: Sequence[str], environment: Mapping[str, str], log: Path) -> int:
    write = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        return os.posix_spawn(
            command[0],
            list(command),
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), write, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigdef=[signal.SIGPIPE, signal.SIGINT],  # Python ignores the first, nohup the other
        )
    except OSError as error:
        message = f"{command[0]} could not be started: {error}"
        raise ClusterError(message) from error


def _end(find: Callable[[], set[psutil.Process]], grace_s: float) -> None:
    """End what `find` returns: asked first, killed later, what appears in the meantime too."""
    members = find()
    _send(members, signal.SIGTERM)
    _wait(members, grace_s)
    deadline_s = time.monotonic() + KILL_TIMEOUT_S
    while members := _living(members) | find():
        if time.monotonic() > deadline_s:
            ids = sorted(process.pid for process in members)
            message = f"not ended {KILL_TIMEOUT_S:.0f} s after SIGKILL: {ids}"
            raise ClusterError(message)
        _send(members, signal.SIGKILL)
        _wait(members, KILL_TIMEOUT_S)


def _wait(processes: set[psutil.Process], timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    while _living(processes) and time.monotonic() < deadline_s:
        time.sleep(0.02)


def _living(processes: set[psutil.Process]) -> set[psutil.Process]:
    return {process for process in processes if _alive(process)}


def _send(processes: set[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):  # gone, or its id is used again
            process.send_signal(number)


def _if_same(pid: int, started_s: float) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started_s) < START_TOLERANCE_S
    except psutil.Error:
        return None
    return process if same and _alive(process) else None


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)  # ours would stay a zombie otherwise
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _marks(variable: str) -> dict[str, set[psutil.Process]]:
    """Return the running processes that have `variable`, by its value."""
    found: dict[str, set[psutil.Process]] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # gone, or not ours to look at
            mark = process.environ().get(variable)
            if mark and _alive(process):
                found.setdefault(mark, set()).add(process)
    return found
