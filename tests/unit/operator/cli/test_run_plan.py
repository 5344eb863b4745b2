"""What `fulcrum run` makes of each way in which a run can end, with an engine in memory."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest
from fake_engine import FakeEngine
from stand_in import stand_in_plan, work

from fulcrum_operator.cli.displays import duration
from fulcrum_operator.cli.displays.plain import PlainDisplay
from fulcrum_operator.cli.local_run import open_store, run_plan
from fulcrum_operator.cli.printing import RunResult, document, failure_lines, print_success
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.gates.verdict import Verdict
from fulcrum_pipelines.states import StageState
from fulcrum_pipelines.storage.store import Store


@dataclass
class Recorder:
    """A display that keeps what it was given."""

    notes: list[str] = field(default_factory=list)
    shown: list[tuple[StageState, ...]] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Nothing to start."""
        return self

    def __exit__(self, *details: object) -> None:
        """Nothing to end."""

    def show(self, plan: Plan, states: tuple[StageState, ...]) -> None:
        """Keep the states."""
        self.shown.append(states)

    def note(self, text: str) -> None:
        """Keep the text."""
        self.notes.append(text)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(str(tmp_path / "store"))


def run(store: Store, behaviour: str, **changes: object) -> tuple[RunResult, Recorder]:
    """Run the stand-in and return the result, and what was displayed."""
    recorder = Recorder()
    plan = stand_in_plan(behaviour, **changes)
    return run_plan(FakeEngine(store, work), store, plan, recorder), recorder


@pytest.mark.parametrize(
    ("behaviour", "outcome", "exit_code"),
    [
        pytest.param("succeed", "Pass", 0, id="pass"),
        pytest.param("worse", "Fail", 3, id="rejected"),
        pytest.param("undecided", "Inconclusive", 4, id="inconclusive"),
        pytest.param("fail", "Failed", 1, id="a stage failed"),
    ],
)
def test_exit_code_encodes_the_outcome(
    store: Store, behaviour: str, outcome: str, exit_code: int
) -> None:
    result, _ = run(store, behaviour)
    assert (result.outcome, result.exit_code) == (outcome, exit_code)
    written = document(result)
    assert json.loads(json.dumps(written)) == written
    assert written["run"] == result.plan.run
    assert written["outcome"] == outcome
    assert written["reason"]


def test_results_lie_beside_the_evidence(store: Store) -> None:
    result, recorder = run(store, "succeed")
    published = result.published
    assert published is not None
    folder = Path(published.assessment.evidence_uri).parent
    assert Verdict.model_validate_json((folder / "verdict.json").read_bytes()) == published.verdict
    assert (folder / "report.html").read_text().lstrip().startswith("<!doctype html>")
    assert Path(published.candidate_path).read_bytes()
    assert [len(states) for states in recorder.shown][-1] == 3


def test_edited_candidate_is_not_the_artifact(store: Store, tmp_path: Path) -> None:
    result, _ = run(store, "succeed")
    assert result.published is not None
    Path(result.published.candidate_path).write_bytes(b"edited")
    store.get(result.published.assessment.candidate_digest, tmp_path / "unchanged")


def test_candidate_in_a_remote_store_is_named_by_address(tmp_path: Path) -> None:
    result, _ = run(Store(f"memory://{tmp_path.name}"), "succeed")
    assert result.published is not None
    assert result.published.candidate_path.startswith(f"memory://{tmp_path.name}/objects/sha256/")


def test_success_message_names_the_paths(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    result, _ = run(store, "succeed")
    assert result.published is not None
    print_success(result.published)
    text = capsys.readouterr().out
    for part in ("Model: ", "candidate.onnx", "Report: ", "report.html", "Peak memory: "):
        assert part in text


def test_failed_stage_is_named_with_its_class_and_lines(store: Store) -> None:
    result, _ = run(store, "fail")
    first, *lines, log = failure_lines(store, result)
    assert first.startswith("stage evaluate failed after")
    assert first.endswith("(user): spec.data.test: nothing is at 'nowhere.npz'")
    assert lines == ["  | reading nowhere.npz"]
    assert log.endswith(f"runs/{result.plan.run}/logs/evaluate.log")


def test_stack_trace_of_a_defect_stays_in_the_log(store: Store) -> None:
    def defect(store: Store, plan: Plan) -> bool:
        state = StageState(
            stage="evaluate",
            state="Failed",
            started_at="2026-11-24T09:30:00Z",
            finished_at="2026-11-24T09:30:09Z",
            message="KeyError: 'x'; this is a defect, see the log",
            failure_class="internal",
            last_lines=("Traceback (most recent call last):", "KeyError: 'x'"),
        )
        store.write_record(f"runs/{plan.run}/state/evaluate.json", state)
        return True

    result = run_plan(FakeEngine(store, defect), store, stand_in_plan("defect"), Recorder())
    first, log = failure_lines(store, result)
    message = "KeyError: 'x'; this is a defect, see the log"
    assert first == f"stage evaluate failed after 9 s (internal): {message}"
    assert log.startswith("log: ")


def test_message_about_a_vanished_run_names_no_stage(store: Store) -> None:
    result, recorder = run(store, "no-evidence", backoffLimit=0)
    first, _ = failure_lines(store, result)
    assert "failed (StageFailed): the run ended" in first
    assert recorder.notes == []


def test_retry_is_announced(store: Store) -> None:
    _, recorder = run(store, "no-evidence", backoffLimit=1)
    (note,) = recorder.notes
    assert note.startswith("warning: attempt 1 failed and is tried again: the run ended")


def test_advice_of_evaluate_is_shown_once(store: Store) -> None:
    _, recorder = run(store, "small-test-set")
    assert recorder.notes == ["warning: evaluate: 620 examples would decide"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_cancels_the_run(store: Store, number: signal.Signals) -> None:
    recorder = Recorder()
    engine = FakeEngine(store, work)
    plan = stand_in_plan("hang")
    timer = threading.Timer(0.3, os.kill, (os.getpid(), number))
    timer.start()
    result = run_plan(engine, store, plan, recorder)
    timer.join()
    assert (result.outcome, result.exit_code) == ("Cancelled", 130)
    assert engine.cancelled == [plan.run]
    assert recorder.notes == ["interrupted: stopping the run and cleaning up"]
    assert "was cancelled" in failure_lines(store, result)[0]


def test_plain_display_prints_changes_only() -> None:
    stream = io.StringIO()
    display = PlainDisplay(stream)
    plan = stand_in_plan("succeed")
    going = StageState(
        stage="evaluate",
        state="Running",
        started_at="2026-11-24T09:30:00Z",
        message="measuring",
        fraction=0.5,
    )
    finish = {
        "state": "Succeeded",
        "finished_at": "2026-11-24T09:32:05Z",
        "message": "accuracy 0.9",
    }
    done = going.model_copy(update=finish)
    cached = done.model_copy(update={"stage": "quantize", "cached": True})
    for states in ((), (going,), (going,), (done,), (done, cached), (done, cached)):
        display.show(plan, states)
    assert stream.getvalue().splitlines() == [
        "evaluate running (50%): measuring",
        "evaluate succeeded in 2 min 5 s: accuracy 0.9",
        "quantize cached in 2 min 5 s: accuracy 0.9",
    ]


def test_live_display_draws_every_stage() -> None:
    from rich.console import Console

    from fulcrum_operator.cli.displays.live import LiveDisplay

    stream = io.StringIO()
    plan = stand_in_plan("succeed")
    failed = StageState(
        stage="evaluate",
        state="Failed",
        started_at="2026-11-24T09:30:00Z",
        finished_at="2026-11-24T09:30:07Z",
        message="[bold] is no markup",
    )
    console = Console(file=stream, force_terminal=True, width=80, color_system=None)
    with LiveDisplay(console) as display:
        display.note("a [note]")
        display.show(
            plan, (failed, failed.model_copy(update={"stage": "quantize", "state": "Running"}))
        )
    text = stream.getvalue()
    for part in ("a [note]", "✗ evaluate failed", "[bold] is no markup", "7 s", "· validate"):
        assert part in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_local_store_does_not_depend_on_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_store("a/store").url == str(tmp_path / "a" / "store")
    assert open_store("memory://a").url == "memory://a"
