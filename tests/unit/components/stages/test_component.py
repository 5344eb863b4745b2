"""The supervisor distinguishes a result from every way to end without one."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import pytest
from builders.evidence import make_stage
from builders.plans import make_plan

from fulcrum_components.stages import component
from fulcrum_components.stages.component import EVIDENCE_FILE, FAILURE_FILE, Failure
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.storage.store import record_bytes

DEADLINES = {"evaluate": 1}


@pytest.fixture
def plan() -> Plan:
    return make_plan(stageDeadlineSeconds=DEADLINES)


def supervise(
    code: str, scratch: Path, deadline_s: float | None = None
) -> tuple[int, list[str], bool]:
    return component._supervise([sys.executable, "-c", code], deadline_s, str(scratch))


def test_output_is_kept_line_by_line(tmp_path: Path) -> None:
    exit_code, lines, timed_out = supervise("print('one'); print('two')", tmp_path)
    assert (exit_code, lines, timed_out) == (0, ["one", "two"], False)


def test_hanging_worker_is_stopped_with_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pid_file)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    started_s = time.monotonic()
    _, _, timed_out = supervise(code, tmp_path, deadline_s=2)
    assert timed_out
    assert time.monotonic() - started_s < 60
    child = int(pid_file.read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie"


@dataclass(frozen=True)
class Ending:
    """How a worker ended, and the message for the user."""

    name: str
    exit_code: int
    expected_class: str
    expected_words: str
    timed_out: bool = False
    reported: Failure | None = None


ENDINGS = (
    Ending("exit 0 without evidence", 0, "user", "exit code 0 and left no evidence"),
    Ending("exit 7 without evidence", 7, "user", "exit code 7"),
    Ending("killed for memory", -9, "infrastructure", "SIGKILL; most likely it ran out of memory"),
    Ending("crashed", -11, "infrastructure", "SIGSEGV"),
    Ending("too slow", -9, "deadline", "spec.stageDeadlineSeconds.evaluate", timed_out=True),
    Ending("said so", 1, "quality", "not enough", reported=Failure("quality", "not enough")),
)


@pytest.mark.parametrize("case", ENDINGS, ids=lambda case: case.name)
def test_every_ending_without_evidence_is_a_failure(
    case: Ending, plan: Plan, tmp_path: Path
) -> None:
    if case.reported is not None:
        (tmp_path / FAILURE_FILE).write_text(json.dumps(asdict(case.reported)))
    evidence, failure = component._outcome(
        tmp_path, plan, "evaluate", case.exit_code, case.timed_out
    )
    assert evidence is None
    assert failure is not None
    assert failure.failure_class == case.expected_class
    assert case.expected_words in failure.message


def test_evidence_of_a_worker_that_then_crashed_does_not_count(plan: Plan, tmp_path: Path) -> None:
    leave(tmp_path, record_bytes(make_stage("evaluate", run=plan.run)))
    evidence, failure = component._outcome(tmp_path, plan, "evaluate", -11, False)
    assert evidence is None
    assert failure is not None


def test_garbage_evidence_is_the_users_failure(plan: Plan, tmp_path: Path) -> None:
    leave(tmp_path, b"[1, 2")
    evidence, failure = component._outcome(tmp_path, plan, "evaluate", 0, False)
    assert evidence is None
    assert failure is not None
    assert failure.failure_class == "user"
    assert "evidence that cannot be read" in failure.message


def test_valid_evidence_is_a_result(plan: Plan, tmp_path: Path) -> None:
    expected = make_stage("evaluate", run=plan.run)
    leave(tmp_path, record_bytes(expected))
    assert component._outcome(tmp_path, plan, "evaluate", 0, False) == (expected, None)


def leave(scratch: Path, evidence: bytes) -> None:
    """Leave what a worker would."""
    (scratch / EVIDENCE_FILE).write_bytes(evidence)
