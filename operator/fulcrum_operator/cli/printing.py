"""What `fulcrum run` says at the end: to a person, or as one JSON document to a program."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from fulcrum_operator.cli.displays import duration, elapsed_s
from fulcrum_operator.cli.saying import say, say_json
from fulcrum_operator.cli.terminal import print_result
from fulcrum_operator.controllers.publisher import Published, to_document
from fulcrum_operator.resources.compressionjob import Outcome
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.report.formatting import byte_size
from fulcrum_pipelines.runner.results import failed_stage
from fulcrum_pipelines.states import StageState
from fulcrum_pipelines.storage.store import Store, log_path

PASSED, FAILED, USAGE, REJECTED, INCONCLUSIVE, INTERRUPTED = 0, 1, 2, 3, 4, 130
EXIT_CODES = {"Pass": PASSED, "Fail": REJECTED, "Inconclusive": INCONCLUSIVE}
EXIT_CODES["Anomalous"] = INCONCLUSIVE
SHOWN_LINES = 8


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        plan: Its last attempt.
        end: How it ended, as in the status of a job; None if it was interrupted.
        states: How its stages ended.
        published: Its results, if it has a verdict.
        engine_log: Address of what the engine printed.
    """

    plan: Plan
    end: Outcome | None
    states: tuple[StageState, ...]
    published: Published | None
    engine_log: str

    @property
    def outcome(self) -> str:
        """The verdict if there is one, else Failed or Cancelled."""
        if self.published is not None:
            return self.published.verdict.outcome
        return "Cancelled" if self.end is None else self.end.phase

    @property
    def exit_code(self) -> int:
        """The exit code of `fulcrum run`."""
        if self.end is None:
            return INTERRUPTED
        return EXIT_CODES.get(self.outcome, FAILED)

    @property
    def reason(self) -> str:
        """Why it ended so, in a sentence."""
        if self.published is not None:
            return "; ".join(self.published.verdict.reasons)
        return "it was cancelled" if self.end is None else self.end.message


def document(result: RunResult) -> dict[str, Any]:
    """Return the result as one JSON document."""
    published = result.published
    empty = dict.fromkeys(("verdict", "evidence", "report", "candidate", "peak_memory_bytes"))
    return {
        "run": result.plan.run,
        "outcome": result.outcome,
        "exit_code": result.exit_code,
        "reason": result.reason,
        **(to_document(published) if published else empty),
        "stages": [
            {
                "stage": state.stage,
                "state": state.state,
                "cached": state.cached,
                "seconds": round(elapsed_s(state), 3),
                "message": state.message,
                "failure_class": state.failure_class,
            }
            for state in result.states
        ],
    }


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON document on standard output."""
    say_json(json.dumps(value, indent=1, ensure_ascii=False))


def print_problems(problems: list[str], *, as_json: bool) -> None:
    """Print why nothing was run."""
    for problem in problems:
        say(f"error: {problem}", sys.stderr)
    if as_json:
        problem_document = {"run": None, "outcome": "Invalid", "exit_code": USAGE}
        print_json({**problem_document, "reason": "; ".join(problems), "problems": problems})


def print_success(published: Published) -> None:
    """Print the results and the paths of the files."""
    found = published.assessment
    print_result(Console(), found.evidence, found.verdict, report_path=published.report_path)
    size, memory = byte_size(found.candidate_bytes), byte_size(published.peak_memory_bytes)
    for line in (
        f"Model: {published.candidate_path} ({size})",
        f"Evidence: {found.evidence_uri}",
        f"Peak memory: {memory}, of the largest stage",
    ):
        say(line)


def failure_lines(store: Store, result: RunResult) -> list[str]:
    """Return what a person needs to know about a run without a verdict."""
    failed = failed_stage(result.states)
    if result.end is None:
        return [f"run {result.plan.run} was cancelled; stages that finished need not run again"]
    if failed is None:
        return [
            f"run {result.plan.run} failed ({result.end.reason}): {result.reason}",
            f"log: {result.engine_log}",
        ]
    took = duration(elapsed_s(failed))
    return [
        f"stage {failed.stage} failed after {took} ({failed.failure_class}): {failed.message}",
        *(f"  | {line}" for line in useful_lines(failed)),
        f"log: {store.locate(log_path(result.plan.run, failed.stage))}",
    ]


def useful_lines(state: StageState) -> list[str]:
    """Return the last lines of a failed stage that add something to its message.

    A defect of ours leaves a stack trace, which is for its log only.
    """
    if state.failure_class == "internal":
        return []
    lines = [line for line in state.last_lines if state.message not in line]
    return lines[-SHOWN_LINES:]
