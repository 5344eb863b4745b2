"""Traps that users' code can leave to make its supervisor wait, fail, or believe it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from builders.evidence import make_stage
from builders.plans import make_plan

from fulcrum_components.stages import component
from fulcrum_components.stages.component import EVIDENCE_FILE, FAILURE_FILE, StageFailedError
from fulcrum_components.stages.output import WorkerOutput
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.states import StageState
from fulcrum_pipelines.storage.store import Store, record_bytes, state_path

EXECUTABLE = sys.executable
FAILURE = json.dumps({"failure_class": "quality", "message": "too bad"})


def reported(content: str) -> Callable[[Path], None]:
    """Return what writes `content` as the worker's failure."""
    content_bytes = content.encode(errors="surrogateescape")
    return lambda directory: (directory / FAILURE_FILE).write_bytes(content_bytes) and None


def linked(directory: Path) -> None:
    (directory / "elsewhere").write_text(FAILURE)
    (directory / FAILURE_FILE).symlink_to(directory / "elsewhere")


@dataclass(frozen=True)
class Report:
    """A `failure.json`, and the class of failure that it is taken for."""

    name: str
    leave: Callable[[Path], None]
    expected_class: str | None = None


REPORTS = (
    Report("ours", reported(FAILURE), "quality"),
    Report("nothing", lambda directory: None),
    Report("half of it", reported(FAILURE[:-5])),
    Report("a list", reported("[1, 2]")),
    Report("a number", reported("1")),
    Report("an unknown class", reported('{"failure_class": "pass", "message": ""}')),
    Report("a class that is a list", reported('{"failure_class": [], "message": ""}')),
    Report("no message", reported('{"failure_class": "user"}')),
    Report("nested without end", reported("[" * 60_000)),
    Report("longer than any", reported(" " * (1 << 20) + FAILURE)),
    Report(
        "no text", lambda directory: (directory / FAILURE_FILE).write_bytes(b"\xff\xfe") and None
    ),
    Report("a pipe without a writer", lambda directory: os.mkfifo(directory / FAILURE_FILE)),
    Report("a link", linked),
    Report("a directory", lambda directory: (directory / FAILURE_FILE).mkdir()),
    Report(
        "a link to the supervisor's environment",
        lambda directory: (directory / FAILURE_FILE).symlink_to("/proc/self/environ"),
    ),
)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("case", REPORTS, ids=lambda case: case.name)
def test_what_a_worker_says_of_its_failure_is_read_with_care(case: Report, tmp_path: Path) -> None:
    case.leave(tmp_path)
    failure = component._reported_failure(tmp_path)
    assert (failure and failure.failure_class) == case.expected_class


def test_a_failures_message_is_printable(tmp_path: Path) -> None:
    reported(json.dumps({"failure_class": "user", "message": "\x1b[2J" + "x" * 20_000}))(tmp_path)
    failure = component._reported_failure(tmp_path)
    assert failure is not None
    assert failure.message.startswith(r"\x1b[2Jxx")
    assert len(failure.message) < 10_000


def valid(plan: Plan) -> bytes:
    return make_stage("evaluate", run=plan.run).model_dump_json().encode()


@dataclass(frozen=True)
class Evidence:
    """Evidence that users' code leaves for the stage, and the error about it."""

    name: str
    make: Callable[[Plan], bytes]
    words: str


def changed(**changes: object) -> Callable[[Plan], bytes]:
    return lambda plan: json.dumps({**json.loads(valid(plan)), **changes}).encode()


EVIDENCE = (
    Evidence("nothing in it", lambda plan: b"", "cannot be read"),
    Evidence("no JSON", lambda plan: b"Pass", "cannot be read"),
    Evidence("nested without end", lambda plan: b'{"details":' * 60_000, "cannot be read"),
    Evidence("no text", lambda plan: b"\xff\xfe\x00", "cannot be read"),
    Evidence("a verdict, which is none of a stage's", changed(verdict="Pass"), "cannot be read"),
    Evidence("no number", changed(seconds=float("nan")), "cannot be read"),
    Evidence("infinite", changed(seconds=float("inf")), "cannot be read"),
    Evidence("a digest that is none", changed(plan="sha256:0"), "cannot be read"),
    Evidence(
        "another run's",
        lambda plan: make_stage("evaluate", run="other-1").model_dump_json().encode(),
        "of other-1 as its own",
    ),
    Evidence(
        "another stage's",
        lambda plan: make_stage("prune", run=plan.run).model_dump_json().encode(),
        "of stage prune",
    ),
)


@pytest.mark.parametrize("case", EVIDENCE, ids=lambda case: case.name)
def test_evidence_that_is_none_is_the_users_failure(case: Evidence, tmp_path: Path) -> None:
    plan = make_plan()
    (tmp_path / EVIDENCE_FILE).write_bytes(case.make(plan))
    evidence, failure = component._outcome(tmp_path, plan, "evaluate", 0, False)
    assert evidence is None
    assert failure is not None
    assert failure.failure_class == "user"
    assert case.words in failure.message


def supervise(code: str, scratch: Path) -> tuple[int, list[str], bool]:
    return component._supervise([EXECUTABLE, "-c", code], 60, str(scratch))


def test_a_line_without_end_takes_bounded_memory(tmp_path: Path) -> None:
    code = "import sys\nfor _ in range(300): sys.stdout.write('x' * (1 << 20))"
    before = psutil.Process().memory_info().rss
    exit_code, lines, _ = supervise(code, tmp_path)
    assert exit_code == 0
    assert max(map(len, lines)) <= 1 << 14
    assert psutil.Process().memory_info().rss - before < 150 << 20


def test_the_end_of_the_output_is_what_is_kept(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("".join(f"{number}\n" for number in range(1000)))
    output = WorkerOutput(kept_characters=30)
    output.copy((tmp_path / "log").open())
    assert output.lines == [str(number) for number in range(993, 1000)]


def test_escape_sequences_of_users_code_are_escaped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = r"print('\x1b[2J\x1b]0;owned\x07 \u202egnp.exe \r overwritten')"
    _, lines, _ = supervise(code, tmp_path)
    escaped = r"\x1b[2J\x1b]0;owned\x07 \u202egnp.exe "
    assert lines[0] == escaped
    assert not {"\x1b", "\x07", "\u202e", "\r"} & set(capsys.readouterr().out)


def test_messages_in_the_store_are_harmless(tmp_path: Path) -> None:
    """Users' code can write its own stage's state; `kubectl` and Events show it."""
    plan, store = make_plan(), Store(str(tmp_path))
    record = {
        "stage": "prune",
        "state": "Failed",
        "started_at": "2026-01-01T00:00:00Z",
        "message": "\x1b[31m" + "x" * 100_000,
        "last_lines": ["\u2066hidden"],
    }
    store.write(state_path(plan.run, "prune"), json.dumps(record).encode())
    state = store.stage_state(plan.run, "prune")
    assert state is not None
    assert state.message.startswith(r"\x1b[31mxxx")
    assert len(state.message) < 10_000
    assert state.last_lines == (r"\u2066hidden",)


def test_process_in_a_separate_session_does_not_outlive_the_stage(tmp_path: Path) -> None:
    code = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork(): os._exit(0)\n"
        f"    open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "    time.sleep(600)\n"
        f"while not os.path.exists({str(tmp_path / 'pid')!r}): time.sleep(0.01)\n"
        "time.sleep(0.2)\n"
    )
    started_s = time.monotonic()
    exit_code, _, _ = supervise(code, tmp_path)
    assert exit_code == 0
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))
    assert time.monotonic() - started_s < 30


def test_stage_that_leaves_a_process_has_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would run beside the next stage of the pod, and could write that one's evidence."""
    store, plan = Store(str(tmp_path / "store")), make_plan()
    digest = store.put_record(plan)
    evidence = record_bytes(make_stage("evaluate", run=plan.run, plan=digest, outputs=()))
    code = (
        "import os, pathlib, time\n"
        f"pathlib.Path(os.environ['TMPDIR'], 'evidence.json').write_bytes({evidence!r})\n"
        "if os.fork() == 0: time.sleep(600)\n"
        "os._exit(0)\n"
    )
    real, kill = component._supervise, psutil.Process.kill

    def supervise_code(_: list[str], *others: Any) -> tuple[int, list[str], bool]:
        return real([EXECUTABLE, "-c", code], *others)

    monkeypatch.setattr(component, "_supervise", supervise_code)
    monkeypatch.setattr(component, "KILL_S", 0.1)
    monkeypatch.setattr(component, "ROUNDS", 2)
    monkeypatch.setattr(psutil.Process, "kill", lambda process: None)  # as one that is faster
    before = set(psutil.Process().children())
    try:
        with pytest.raises(StageFailedError, match="left processes that could not be ended"):
            component._execute(store, plan, digest, "evaluate", use_cache=True)
    finally:
        for left in set(psutil.Process().children()) - before:
            kill(left)
    state = store.stage_state(plan.run, "evaluate")
    assert state is not None
    assert (state.state, state.failure_class) == ("Failed", "user")
    assert store.stage_evidence(plan.run, "evaluate") is None


def test_processes_that_were_there_before_are_left_alone(tmp_path: Path) -> None:
    with psutil.Popen([EXECUTABLE, "-c", "import time; time.sleep(600)"]) as other:
        supervise("pass", tmp_path)
        assert other.is_running()
        other.kill()


@dataclass(frozen=True)
class Litter:
    """Files that users' code leaves in the stage's directory."""

    name: str
    code: str


LITTER = (
    Litter("a folder without rights", "import os; os.makedirs('a/b'); os.chmod('a', 0)"),
    Litter(
        "folders without end",
        "import os\nfor _ in range(3000):\n    os.mkdir('d'); os.chdir('d')",
    ),
)


@pytest.mark.parametrize("case", LITTER, ids=lambda case: case.name)
def test_all_files_left_behind_are_removed(
    case: Litter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(component.tempfile, "tempdir", str(tmp_path))
    with component._scratch("evaluate") as scratch:
        code = f"import os; os.chdir({scratch!r})\n{case.code}"
        assert supervise(code, tmp_path)[0] == 0
    assert list(tmp_path.iterdir()) == []


def test_a_state_of_ours_is_as_it_was() -> None:
    state = StageState(stage="prune", state="Running", started_at="now", message="ünï 95 % ×2")
    assert state.message == "ünï 95 % ×2"
