"""Entry point of KFP components: run stages under supervision and fill in the UI's artifacts.

Each stage works in a separate process, so that model or data code which hangs, exits, or takes all
memory is distinguished from a result: here its deadline is kept, its output is logged, and an end
without valid evidence is a failure, for every exit code. This process never imports torch.

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
from pydantic import ValidationError

from fulcrum_components.stages.broker import BROKER, Broker
from fulcrum_components.stages.output import WorkerOutput
from fulcrum_components.stages.recording import conclude, record, recorded, write_log
from fulcrum_components.stages.ui import fill_artifacts
from fulcrum_pipelines.compiled import stages_of_task
from fulcrum_pipelines.contract import NEW_RUN, Plan
from fulcrum_pipelines.errors import CorruptError, FailureClass, FulcrumError, UserError
from fulcrum_pipelines.evidence import StageEvidence, StageName
from fulcrum_pipelines.runner.isolation import (
    UNTOUCHABLE,
    adopting_orphans,
    hide_process,
    without_secrets,
)
from fulcrum_pipelines.states import StageState
from fulcrum_pipelines.storage.store import Store, parse_record, patient_store, state_path
from fulcrum_pipelines.texts import reason, to_message

LAST_LINES = 12
FAILURE_FILE = "failure.json"
FAILURE_BYTES = 1 << 16
EVIDENCE_FILE = "evidence.json"
EVIDENCE_BYTES = 1 << 26
KFP_MODULE = "ephemeral_component.py"
"""Which kfp writes to a folder that users' code can write to, and puts on the path of modules."""
KILL_S = 5.0
ROUNDS = 20
"""Maximum rounds of looking for leftovers of a worker, if each round finds new processes."""


class StageFailedError(RuntimeError):
    """A stage failed; its message is what kfp prints."""


@dataclass(frozen=True)
class Failure:
    """Why a stage failed, in the words that the user reads."""

    failure_class: FailureClass
    message: str


def run_stages(
    task: str,
    store_url: str,
    run: str,
    plan_digest: str,
    use_cache: bool,
    execution: str,
    model: Any,
    metrics: Any,
    confusion: Any | None,
    summary: Any,
) -> None:
    """Run the stages of a task of the pipeline, in order, and fill in the KFP artifacts.

    Args:
        task: Its name: a stage's, or that of several in one pod.
        store_url: URL of the store of plan, artifacts and evidence.
        run: Key of the plan's run, or `new` for a new run, which no job owns.
        plan_digest: Digest of the plan in the store.
        use_cache: Take the result of an earlier stage with the same inputs.
        execution: Id of the Kubeflow run that this is a task of.
        model: KFP Model artifact.
        metrics: KFP Metrics artifact.
        confusion: KFP ClassificationMetrics artifact, if the task has one.
        summary: KFP HTML artifact.

    Raises:
        StageFailedError: With the class and the message of the failure, which are in the store too.
        UserError: The plan is another run's, or has no such stage.
    """
    hide_process()
    store = patient_store(store_url)
    plan, plan_digest = plan_of(store, plan_digest, run, execution)
    stages = stages_of_task(plan, task)
    if not stages:
        message = (
            f"the plan of {plan.run} has no stage {task}; give the plan that this version of the "
            "pipeline was made for, or take another version"
        )
        raise UserError(message, where="parameter plan")
    _import_nothing_that_stages_leave()
    if len(stages) > 1:
        os.environ.update(UNTOUCHABLE)
    records = []
    for stage in stages:
        print(f"stage {stage} of {plan.run}", flush=True)
        evidence = recorded(store, plan, plan_digest, stage)
        if evidence is None:
            evidence = _execute(store, plan, plan_digest, stage, use_cache=use_cache)
        else:
            print(
                "an earlier execution of this stage has left its result, which counts", flush=True
            )
        conclude(store, plan, evidence)
        records.append(evidence)
    try:
        fill_artifacts(records, store, model, metrics, confusion, summary)
    except Exception as error:  # evidence may say what cannot be shown; it counts all the same
        print(f"the UI does not show all of it: {reason(error)}", flush=True)


def plan_of(store: Store, digest: str, run: str, execution: str) -> tuple[Plan, str]:
    """Return the plan of a run, and its digest.

    A recurring run of Kubeflow has the same parameters each time, so with the key of a job's run it
    would find that job's results, and do nothing. With `new`, each run has a plan that names it,
    and separate evidence.

    Args:
        store: Has the plan.
        digest: Of the plan that was given.
        run: Its key, or `new`.
        execution: Id of the Kubeflow run.

    Raises:
        UserError: The plan is another run's, or Kubeflow did not give the id.
    """
    plan = store.plan(digest)
    if run == plan.run:
        return plan, digest
    if run != NEW_RUN:
        message = f"is '{run}', and the plan's is '{plan.run}'; give that, or '{NEW_RUN}'"
        raise UserError(message, where="parameter run")
    try:
        plan = Plan.model_validate({**plan.model_dump(), "occurrence": execution})
    except ValidationError as error:
        message = f"'{execution}' is no id of a run; Kubeflow gives it"
        raise UserError(message, where="parameter execution") from error
    digest = store.put_record(plan)
    store.write_record(f"runs/{plan.run}/plan.json", plan)
    return plan, digest


def _import_nothing_that_stages_leave() -> None:
    """Keep this process, which imports modules when it needs them, from a stage's own.

    `python -m` puts the working directory on the path, and kfp the folder that it wrote to.
    """
    sys.path[:] = [
        entry
        for entry in sys.path
        if entry and Path(entry) != Path.cwd() and not (Path(entry) / KFP_MODULE).exists()
    ]


def _execute(
    store: Store, plan: Plan, plan_digest: str, stage: StageName, *, use_cache: bool
) -> StageEvidence:
    """Run a stage's worker, and return what is on record of the stage then.

    Raises:
        StageFailedError: It failed, and no other execution of the stage has a result.
    """
    started_at = timestamp()
    with _scratch(stage) as scratch, contextlib.closing(Broker(plan, stage, store.url)) as broker:
        command = [
            *(sys.executable, "-m", "fulcrum_components.stages.worker"),
            *("--stage", stage, "--store", store.url, "--plan", plan_digest),
            *("--work-dir", scratch),
            *(() if use_cache else ("--no-cache",)),
        ]
        evidence: StageEvidence | None
        failure: Failure | None
        try:
            exit_code, lines, timed_out = _supervise(
                command, _deadline_s(plan, stage), scratch, broker.fd
            )
            evidence, failure = _outcome(Path(scratch), plan, stage, exit_code, timed_out)
        except UserError as error:
            evidence, failure, lines = None, Failure("user", str(error)), []
    if evidence is not None and evidence.plan != plan_digest:
        evidence, failure = None, Failure("user", "it left evidence of another plan as its own")
    if evidence is not None:
        try:
            return record(store, plan, evidence, lines)
        except CorruptError as error:  # a model's code can reach a local store
            failure = Failure("user", str(error))
    assert failure is not None
    # Another execution may succeed at any moment. It puts its evidence on record before its state,
    # and this one looks for evidence after its state, so that a failure never stays.
    found = recorded(store, plan, plan_digest, stage)
    if found is None:
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
        write_log(store, plan, stage, lines)
        store.write_record(state_path(plan.run, stage), state)
        found = recorded(store, plan, plan_digest, stage)
    if found is None:
        raise StageFailedError(f"stage {stage} failed ({failure.failure_class}): {failure.message}")
    print(f"this execution failed: {failure.message}; another one's result counts", flush=True)
    return found


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

    No process that it started is left, not even one in a new session.

    Raises:
        UserError: Something is.
    """
    changes = {"TMPDIR": scratch, "PYTHONUNBUFFERED": "1"}
    if broker_fd is not None:
        changes[BROKER] = str(broker_fd)
    if not Path.home().is_dir():  # in a pod, the supervisor has no home that could be tampered with
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
        output = WorkerOutput()
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
    """Kill all that descends from this process except for `but`, and what they start meanwhile.

    Raises:
        UserError: Some are left, which could meddle with what comes next.
    """
    for _ in range(ROUNDS):
        family = set(psutil.Process().children(recursive=True)) - but
        if not family:
            return
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=KILL_S)
    message = (
        "it left processes that could not be ended; model or data code must not start others "
        "without end"
    )
    raise UserError(message)


@contextlib.contextmanager
def _scratch(stage: StageName) -> Iterator[str]:
    """Make a directory for one stage, and remove it with all that users' code left in it."""
    path = tempfile.mkdtemp(prefix=f"fulcrum-{stage}-")
    try:
        yield path
    finally:
        try:
            shutil.rmtree(path)
        except (OSError, RecursionError):  # folders without rights, or deeper than Python calls
            for command in (("chmod", "-R", "u+rwx"), ("rm", "-rf")):
                subprocess.run([*command, path], stderr=subprocess.DEVNULL, check=False)


def _left(scratch: Path, name: str, limit_bytes: int) -> bytes | None:
    """Return what the worker left in a file, or None where there is something else, or nothing."""
    try:
        # It may be a pipe without a writer, or a link to a file that only this process may read.
        fd = os.open(scratch / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            return file.read(limit_bytes) if stat.S_ISREG(os.fstat(fd).st_mode) else None
    except OSError:
        return None


def _reported_failure(scratch: Path) -> Failure | None:
    """Return what the worker says of its failure, or None where users' code left something else."""
    try:
        found = json.loads(_left(scratch, FAILURE_FILE, FAILURE_BYTES) or b"")
        failure = Failure(found["failure_class"], to_message(str(found["message"])))
    except (ValueError, TypeError, LookupError, RecursionError):
        return None  # also where it was half written when the process was killed
    return failure if failure.failure_class in get_args(FailureClass) else None


def _outcome(
    scratch: Path, plan: Plan, stage: StageName, exit_code: int, timed_out: bool
) -> tuple[StageEvidence | None, Failure | None]:
    """Return the result or the failure in `scratch`; exactly one of both."""
    if timed_out:
        limit_s = _deadline_s(plan, stage)
        field = f"spec.stageDeadlineSeconds.{stage}"
        message = (
            f"ran longer than {limit_s:g} s and was stopped; raise {field}, or make it smaller"
        )
        return None, Failure("deadline", message)
    if (reported := _reported_failure(scratch)) is not None:
        return None, reported
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = "; most likely it ran out of memory" if exit_code == -signal.SIGKILL else ""
        return None, Failure("infrastructure", f"its process was killed by {name}{hint}")
    left = _left(scratch, EVIDENCE_FILE, EVIDENCE_BYTES) if exit_code == 0 else None
    try:
        evidence = None if left is None else parse_record(left, StageEvidence, where=EVIDENCE_FILE)
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
