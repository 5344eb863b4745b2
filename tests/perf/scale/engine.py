"""An engine whose runs take a given time and leave real evidence, without any work.

It is in the operator's own process, so its processor time is measured separately.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from builders.details import make_validate
from builders.evidence import make_evidence, make_stage
from builders.figures import make_comparison

from fulcrum_operator.engines.protocol import RunActiveError
from fulcrum_pipelines.contract import Plan, digest_of, to_json
from fulcrum_pipelines.evidence import StageName
from fulcrum_pipelines.states import RunHandle, RunStatus, StageState
from fulcrum_pipelines.storage.store import Store, stage_path, state_path

RUN = "the-run"
TIME = "2026-11-24T09:30:00Z"


@dataclass(frozen=True)
class _Run:
    plan: Plan
    ends_s: float


class InstantEngine:
    """Runs that are going for `hold_s` seconds and then have succeeded.

    Args:
        root: Directory of the store.
        hold_s: How long a run takes; with 0 it has ended when it is submitted.
        submitted: Called with the key of every run at its submission.
    """

    def __init__(self, root: Path, hold_s: float, submitted: Callable[[str], None]) -> None:
        self.cpu_s = 0.0
        self._root = root
        self._hold_s = hold_s
        self._submitted = submitted
        self._runs: dict[str, _Run] = {}
        self._ended: set[str] = set()
        self._files: dict[tuple[StageName, ...], Mapping[str, bytes]] = {}

    async def submit(self, key: str, plan: Plan) -> RunHandle:
        """Take note of a run."""
        if key not in self._runs:
            self._runs[key] = _Run(plan, time.monotonic() + self._hold_s)
            self._submitted(key)
        return RunHandle(key, f"instant-{key}")

    async def find(self, key: str) -> tuple[RunHandle, ...]:
        """Return the run under `key`."""
        return (RunHandle(key, f"instant-{key}"),) if key in self._runs else ()

    async def runs(self) -> tuple[RunHandle, ...]:
        """Return all of them."""
        return tuple(RunHandle(key, f"instant-{key}") for key in self._runs)

    async def status(self, handle: RunHandle) -> RunStatus:
        """Return how it goes; who first sees that its time is over does what it would have done."""
        run = self._runs.get(handle.key)
        if run is None:
            return RunStatus("Unknown", "NotFound")
        if time.monotonic() < run.ends_s:
            return RunStatus("Running")
        if handle.key not in self._ended:
            await asyncio.to_thread(self._leave_evidence, run.plan)
            self._ended.add(handle.key)
        return RunStatus("Succeeded")

    async def cancel(self, handle: RunHandle) -> None:
        """Let it end now."""
        if (run := self._runs.get(handle.key)) is not None:
            self._runs[handle.key] = _Run(run.plan, 0.0)

    async def set_deadline(self, handle: RunHandle, seconds: int | None) -> None:
        """Do nothing: its runs have none."""

    async def forget(self, handle: RunHandle) -> None:
        """Free its key."""
        if (await self.status(handle)).state == "Running":
            raise RunActiveError("it is still going", where=f"run {handle.key}")
        self._runs.pop(handle.key, None)
        self._ended.discard(handle.key)

    def _leave_evidence(self, plan: Plan) -> None:
        started_s = time.thread_time()
        digest = digest_of(to_json(plan))
        if plan.stages not in self._files:
            self._files[plan.stages] = _evidence_files(self._root, plan.stages)
        for path, content in self._files[plan.stages].items():
            target = self._root / path.replace(RUN, plan.run)
            os.makedirs(target.parent, exist_ok=True)
            text = content.replace(RUN.encode(), plan.run.encode())
            target.write_bytes(text.replace(_PLAN.encode(), digest.encode()))
        self.cpu_s += time.thread_time() - started_s


_PLAN = digest_of(b"the plan")


def _evidence_files(root: Path, stages: tuple[StageName, ...]) -> Mapping[str, bytes]:
    """Return by path what a run leaves in the store, about a run and a plan that are no one's."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "candidate"
        source.write_bytes(b"candidate" * 1000)
        model = Store(str(root)).put(source, "candidate.onnx", "application/vnd.onnx")
        store = Store(scratch)
        validate = make_validate(candidate_model=model.digest, comparisons=(make_comparison(),))
        changes = {"quantize": {"outputs": (model,)}, "validate": {"details": validate}}
        records = tuple(
            make_stage(stage, run=RUN, plan=_PLAN, **changes.get(stage, {})) for stage in stages
        )
        for record in records:
            state = StageState(
                stage=record.stage, state="Succeeded", started_at=TIME, finished_at=TIME
            )
            store.write_record(state_path(RUN, record.stage), state)
            store.write_record(stage_path(RUN, record.stage), record)
        evidence = make_evidence(run=RUN, plan=_PLAN, records=records)
        store.write_record(f"runs/{RUN}/evidence.json", evidence)
        found = (path for path in (Path(scratch) / "runs").rglob("*") if path.is_file())
        return {str(path.relative_to(scratch)): path.read_bytes() for path in found}
