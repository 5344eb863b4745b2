"""What a KFP component calls: run one stage under supervision and fill in the UI's artifacts.

The stage works in a process of its own, so that model or data code which hangs, exits, or takes all
memory is told apart from a result: here its deadline is kept, its output is logged, and an end
without valid evidence is a failure, whatever the exit code. This process never imports torch.

It also has what that code must not have: the credentials of stores stay here, behind the broker.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import psutil

from fulcrum_components.stages.broker import BROKER, Broker
from fulcrum_components.stages.output import Output
from fulcrum_components.stages.ui import fill_artifacts
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import FailureClass, FulcrumError
from fulcrum_pipelines.evidence import StageEvidence, StageName
from fulcrum_pipelines.isolation import adopting_orphans, hide_process, without_secrets
from fulcrum_pipelines.store import (
    StageState,
    Store,
    log_path,
    patient_store,
    stage_path,
    state_path,
)
from fulcrum_pipelines.texts import told

LAST_LINES = 12
FAILURE_FILE = "failure.json"
FAILURE_BYTES = 1 << 16
ROUNDS = 20
"""How often what a worker left is looked for again, where each round finds new processes."""


class StageFailedError(RuntimeError):
    """A stage failed; its message is what kfp prints."""


@dataclass(frozen=True)
class Failure:
    """Why a stage failed, in the words that the user reads."""

    failure_class: FailureClass
    message: str


def run_stage(
    stage: StageName,
    store_url: str,
    run: str,
    plan_digest: str,
    use_cache: bool,
    resources: str,
    model: Any,
    metrics: Any,
    confusion: Any | None,
    summary: Any,
) -> None:
    """Run `stage` of `run` and fill in the KFP artifacts.

    Args:
        stage: Its name.
        store_url: Where plan, artifacts and evidence are.
        run: Key of the run.
        plan_digest: Digest of the plan in the store.
        use_cache: Take the result of an earlier stage with the same inputs.
        resources: What the pod was given, for the log.
        model: KFP Model artifact.
        metrics: KFP Metrics artifact.
        confusion: KFP ClassificationMetrics artifact, where the stage has one.
        summary: KFP HTML artifact.

    Raises:
        StageFailedError: With the class and the message of the failure, which are in the store too.
    """
    hide_process()
    print(f"stage {stage} of {run}; {resources}", flush=True)
    store = patient_store(store_url)
    plan = store.plan(plan_digest)
    started_at = timestamp()
    clear_stage(store, run, stage)
    with _scratch(stage) as scratch, contextlib.closing(Broker(plan, stage, store_url)) as broker:
        command = [
            *(sys.executable, "-m", "fulcrum_components.stages.worker"),
            *("--stage", stage, "--store", store_url, "--plan", plan_digest),
            *("--work-dir", scratch),
            *(() if use_cache else ("--no-cache",)),
        ]
        exit_code, lines, timed_out = _supervise(
            command, _deadline_s(plan, stage), scratch, broker.fd
        )
        reported = _reported_failure(Path(scratch))
    store.write(log_path(run, stage), "\n".join(lines).encode() + b"\n")
    evidence, failure = _outcome(store, plan, stage, exit_code, timed_out, reported)
    if evidence is None:
        assert failure is not None
        last_lines = tuple(line for line in lines if line.strip())[-LAST_LINES:]
        state = StageState(
            stage=stage,
            state="Failed",
            started_at=started_at,
            finished_at=timestamp(),
            message=failure.message,
            failure_class=failure.failure_class,
            last_lines=last_lines,
        )
        store.write_record(state_path(run, stage), state)
        raise StageFailedError(f"stage {stage} failed ({failure.failure_class}): {failure.message}")
    fill_artifacts(evidence, store, model, metrics, confusion, summary)


def clear_stage(store: Store, run: str, stage: StageName) -> None:
    """Remove what an earlier execution of `stage` left, so that it cannot pass for a new result."""
    for path in (stage_path(run, stage), state_path(run, stage), log_path(run, stage)):
        store.delete(path)


def timestamp() -> str:
    """Return the time now as RFC 3339 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _deadline_s(plan: Plan, stage: StageName) -> float | None:
    deadlines = plan.spec.stage_deadline_seconds
    if deadlines is None:
        return None
    value: int | None = getattr(deadlines, "validate_" if stage == "validate" else stage)
    return value


def _supervise(
    command: list[str], deadline_s: float | None, scratch: str, broker_fd: int | None = None
) -> tuple[int, list[str], bool]:
    """Run `command`; return its exit code, what it printed, and whether its time ran out.

    Nothing that it started is left, also where that had put itself into a session of its own.
    """
    changes = {"TMPDIR": scratch, "PYTHONUNBUFFERED": "1"}
    if broker_fd is not None:
        changes[BROKER] = str(broker_fd)
    if (
        not Path.home().is_dir()
    ):  # in a pod, where the supervisor has none that could be tampered with
        changes["HOME"] = scratch
    before = set(psutil.Process().children(recursive=True))
    with adopting_orphans():
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=without_secrets(os.environ) | changes,
            pass_fds=() if broker_fd is None else (broker_fd,),
        )
        output = Output()
        reader = threading.Thread(target=output.copy, args=(process.stdout,), daemon=True)
        reader.start()
        timed_out = False
        try:
            process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            process.kill()
            exit_code = process.wait()
            kill_descendants(before)
    reader.join(timeout=5)  # it ends with the pipe
    return exit_code, output.lines, timed_out


def kill_descendants(but: set[psutil.Process]) -> None:
    """Kill all that descends from this process except for `but`, and what they start meanwhile."""
    for _ in range(ROUNDS):
        family = set(psutil.Process().children(recursive=True)) - but
        if not family:
            return
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=5)


@contextlib.contextmanager
def _scratch(stage: StageName) -> Iterator[str]:
    """Make a directory for one stage, and remove it whatever users' code left in it."""
    path = tempfile.mkdtemp(prefix=f"fulcrum-{stage}-")
    try:
        yield path
    finally:
        try:
            shutil.rmtree(path)
        except (OSError, RecursionError):  # folders without rights, or deeper than Python calls
            for command in (("chmod", "-R", "u+rwx"), ("rm", "-rf")):
                subprocess.run([*command, path], stderr=subprocess.DEVNULL, check=False)


def _reported_failure(scratch: Path) -> Failure | None:
    """Return what the worker says of its failure, or None where users' code left something else."""
    try:
        # It may be a pipe that nobody writes to, or a link to what only this process may read.
        fd = os.open(scratch / FAILURE_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return None
            found = json.loads(file.read(FAILURE_BYTES))
        failure = Failure(found["failure_class"], told(str(found["message"])))
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None  # also where it was half written when the process was killed
    return failure if failure.failure_class in get_args(FailureClass) else None


def _outcome(
    store: Store,
    plan: Plan,
    stage: StageName,
    exit_code: int,
    timed_out: bool,
    reported: Failure | None,
) -> tuple[StageEvidence | None, Failure | None]:
    """Tell a result from a failure; exactly one of both is returned."""
    if timed_out:
        limit_s = _deadline_s(plan, stage)
        field = f"spec.stageDeadlineSeconds.{stage}"
        message = (
            f"ran longer than {limit_s:g} s and was stopped; raise {field}, or make it smaller"
        )
        return None, Failure("deadline", message)
    if reported is not None:
        return None, reported
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = "; most likely it ran out of memory" if exit_code == -signal.SIGKILL else ""
        return None, Failure("infrastructure", f"its process was killed by {name}{hint}")
    try:
        evidence = store.stage_evidence(plan.run, stage) if exit_code == 0 else None
    except FulcrumError as error:
        return None, Failure("user", f"it left evidence that cannot be read: {error}")
    if evidence is not None and (evidence.run, evidence.stage) != (plan.run, stage):
        message = f"it left evidence of stage {evidence.stage} of {evidence.run} as its own"
        return None, Failure("user", message)
    if evidence is None:
        message = (
            f"its process ended with exit code {exit_code} and left no evidence; "
            "model or data code must not end the process"
        )
        return None, Failure("user", message)
    return evidence, None
