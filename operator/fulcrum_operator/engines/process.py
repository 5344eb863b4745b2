"""Runs a plan on this machine, in processes that outlive their starter.

Everything that must survive the starter is in one small file per run, so that another process can
find, watch and cancel it. A lock that the kernel frees when its holder dies keeps two starters
apart, and a run's first process waits at a gate until it is on file: without a record,
nothing runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from fulcrum_operator.engines.process_tree import MARK, Leader, stop
from fulcrum_operator.engines.protocol import RunActiveError
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import CorruptError, InfrastructureError
from fulcrum_pipelines.runner.pod import LOCAL_RUNNER
from fulcrum_pipelines.runner.results import ended_status, unreadable
from fulcrum_pipelines.states import RunHandle, RunStatus
from fulcrum_pipelines.storage.store import Store

GATE = ("/bin/sh", "-c", 'read -r go && exec "$@" </dev/null', "fulcrum-gate")
"""Becomes the command after a line on stdin; ends by itself if its starter died before."""


@dataclass(frozen=True)
class ProcessRecord:
    """The record of a run.

    Attributes:
        key: The write-ahead key.
        plan: Digest of the plan.
        leader: Its first process.
        scratch: Directory for temporary files; removed after the end.
        cancelled: Whether it was asked to stop.
    """

    key: str
    plan: str
    leader: Leader
    scratch: str
    cancelled: bool = False


class ProcessEngine:
    """The engine `process`.

    Args:
        store: Holds plans, records and artifacts.
        work_root: Local directory for what is on file about runs and for their logs.
        use_cache: Let stages take results of earlier ones with the same inputs.
        command: What to run; `--store`, `--plan`, `--work-dir` and `--no-cache` are appended.
        grace_s: Seconds between asking a cancelled run to stop and killing it.
    """

    def __init__(
        self,
        store: Store,
        work_root: Path,
        *,
        use_cache: bool = True,
        command: Sequence[str] = LOCAL_RUNNER,
        grace_s: float = 5.0,
    ) -> None:
        self._store = store
        self._work_root = work_root.absolute()
        self._use_cache = use_cache
        self._command = tuple(command)
        self._grace_s = grace_s
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def log_path(self, key: str) -> Path:
        """Return the file with all that the run `key` prints."""
        return self._folder(key) / "run.log"

    # --- the port

    async def submit(self, key: str, plan: Plan) -> RunHandle:
        """Start `plan`; what an earlier run under this key left in the store is removed first."""
        return await asyncio.to_thread(self._submit, key, plan)

    async def find(self, key: str) -> tuple[RunHandle, ...]:
        """Return the run on file under `key`, if there is one."""
        record = await asyncio.to_thread(self._read, key)
        return () if record is None else (_handle(record),)

    async def runs(self) -> tuple[RunHandle, ...]:
        """Return all runs on file."""
        return await asyncio.to_thread(self._runs)

    async def status(self, handle: RunHandle) -> RunStatus:
        """Return how the run goes; temporary files of one that ended are removed."""
        return await asyncio.to_thread(self._status, handle)

    async def cancel(self, handle: RunHandle) -> None:
        """Stop all processes of the run."""
        await asyncio.to_thread(self._cancel, handle)

    async def set_deadline(self, handle: RunHandle, seconds: int | None) -> None:
        """Do nothing: processes have none, the operator keeps the time."""

    async def forget(self, handle: RunHandle) -> None:
        """Remove the run's file and log."""
        await asyncio.to_thread(self._forget, handle)

    # --- the work, in a thread

    def _submit(self, key: str, plan: Plan) -> RunHandle:
        if key != plan.run:
            message = f"key {key} is not that of the plan, {plan.run}"
            raise ValueError(message)
        with self._locked(key):
            record = self._read(key)
            if record is None:
                record = self._start(plan)
        return _handle(record)

    def _start(self, plan: Plan) -> ProcessRecord:
        key = plan.run
        self._store.delete(f"runs/{key}")
        digest = self._store.put_record(plan)
        self._store.write_record(f"runs/{key}/plan.json", plan)
        # Not in the work directory: some libraries put sockets there, whose paths must be short.
        scratch = tempfile.mkdtemp(prefix="fulcrum-")
        mark = secrets.token_hex(16)
        process = self._open_gate(key, digest, scratch, mark)
        self._children[process.pid] = process
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as gate:
            try:
                leader = Leader(process.pid, mark, psutil.Process(process.pid).create_time())
                record = ProcessRecord(key, digest, leader, scratch)
                self._write(record)
            except OSError as error:  # the gate closes, and with it the process ends
                shutil.rmtree(scratch, ignore_errors=True)
                message = f"the run cannot be put on file: {error}"
                raise InfrastructureError(message, where=str(self._folder(key))) from error
            gate.write(b"go\n")
        return record

    def _open_gate(
        self, key: str, plan_digest: str, scratch: str, mark: str
    ) -> subprocess.Popen[bytes]:
        command = [
            *(*GATE, *self._command),
            *("--store", self._store.url, "--plan", plan_digest),
            *("--work-dir", scratch),
            *(() if self._use_cache else ("--no-cache",)),
        ]
        environment = {**os.environ, "TMPDIR": scratch, MARK: mark}
        try:
            with self.log_path(key).open("wb") as log:
                return subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                )
        except OSError as error:
            shutil.rmtree(scratch, ignore_errors=True)
            message = f"cannot start the run: {error}"
            raise InfrastructureError(message, where="engine process") from error

    def _runs(self) -> tuple[RunHandle, ...]:
        try:
            keys = sorted(path.parent.name for path in self._work_root.glob("*/process.json"))
        except OSError as error:
            message = f"cannot be listed: {error}"
            raise InfrastructureError(message, where=str(self._work_root)) from error
        records = (self._read(key) for key in keys)
        return tuple(_handle(record) for record in records if record is not None)

    def _status(self, handle: RunHandle) -> RunStatus:
        record = self._read(handle.key)
        if record is None:
            return RunStatus("Unknown", "NotFound", f"no run {handle.key} is on file here")
        if self._is_alive(record):
            return RunStatus("Running")
        self._clean(record)
        try:
            plan = self._store.plan(record.plan)
        except CorruptError as error:  # the store was emptied since
            return unreadable(error)
        return ended_status(self._store, plan, record.plan, cancelled=record.cancelled)

    def _cancel(self, handle: RunHandle) -> None:
        with self._locked(handle.key):
            record = self._read(handle.key)
            if record is None:
                return
            if self._is_alive(record):
                self._write(replace(record, cancelled=True))
                stop(record.leader, self._grace_s)
                self._is_alive(record)  # reaps it
        self._clean(record)

    def _forget(self, handle: RunHandle) -> None:
        with self._locked(handle.key):
            record = self._read(handle.key)
            if record is None:
                return
            if self._is_alive(record):
                raise RunActiveError("it is still going", where=f"run {handle.key}")
            self._clean(record)
            shutil.rmtree(self._folder(handle.key))

    def _is_alive(self, record: ProcessRecord) -> bool:
        pid = record.leader.pid
        if (child := self._children.get(pid)) is not None and child.poll() is not None:
            del self._children[pid]  # reaped: a zombie would be neither alive nor gone
        return record.leader.is_alive()

    def _clean(self, record: ProcessRecord) -> None:
        """Stop what a run left behind and remove its temporary files."""
        if Path(record.scratch).exists():
            stop(record.leader, self._grace_s)
            shutil.rmtree(record.scratch, ignore_errors=True)

    # --- what is on file

    def _folder(self, key: str) -> Path:
        return self._work_root / key

    def _read(self, key: str) -> ProcessRecord | None:
        path = self._folder(key) / "process.json"
        try:
            fields = json.loads(path.read_bytes())
            return ProcessRecord(**{**fields, "leader": Leader(**fields["leader"])})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            message = f"cannot be read: {error}; remove it once no process of the run is left"
            raise InfrastructureError(message, where=str(path)) from error

    def _write(self, record: ProcessRecord) -> None:
        path = self._folder(record.key) / "process.json"
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(record), indent=1) + "\n")
        os.replace(partial, path)

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Keep all others out, in this process and in others; the folder exists inside."""
        try:
            self._folder(key).mkdir(parents=True, exist_ok=True)
            lock = (self._work_root / f"{key}.lock").open("wb")
        except OSError as error:
            message = f"cannot be written: {error}"
            raise InfrastructureError(message, where=str(self._work_root)) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._folder(key).mkdir(
                exist_ok=True
            )  # the last holder of the lock may have removed it
            yield


def _handle(record: ProcessRecord) -> RunHandle:
    return RunHandle(record.key, str(record.leader.pid))
