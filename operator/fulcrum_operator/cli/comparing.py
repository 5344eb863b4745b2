"""The work behind `fulcrum compare`: options become a job, and the job runs as any other."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fulcrum_operator.cli.compare import ComparisonFormat
from fulcrum_operator.cli.junit import refusal_to_junit, to_junit
from fulcrum_operator.cli.local_run import plan_of_job, run_here
from fulcrum_operator.cli.printing import (
    USAGE,
    RunResult,
    document,
    failure_lines,
    print_json,
    print_problems,
    print_success,
)
from fulcrum_operator.cli.saying import say
from fulcrum_pipelines.catalog import MAIN_METRICS, METRICS, TASKS
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import ValidateDetails
from fulcrum_pipelines.manifests import load_gates, make_job
from fulcrum_pipelines.report.files import fetch_report, save_report
from fulcrum_pipelines.report.reading import details
from fulcrum_pipelines.runner.results import failed_stage

NAME = "compare"
SHARE_MARGIN = 0.01
"""Margin of metrics between 0 and 1 if none is given; that of others depends on their unit."""

OPTIONS = {
    "spec.model": "BASELINE",
    "spec.candidate": "CANDIDATE",
    "spec.data.task": "--task",
    "spec.data.train": "--train",
    "spec.data.test.inputs": "--input",
    "spec.data.test.target": "--target",
    "spec.data.test": "--data",
    "spec.gates[0].metric": "--metric",
    "spec.gates[0].margin": "--margin",
    "spec.gates": "--metric",
    "spec.measure.batchSizes": "--batch-size",
}
"""The option or argument that each field of the job comes from; the first that fits counts."""

SAME = "Both files hold the same model: there is no difference."


@dataclass(frozen=True)
class Question:
    """A comparison as it is asked on the command line; empty texts were not given."""

    baseline: str
    candidate: str
    data: str
    task: str
    gates: Path | None = None
    metric: str = ""
    margin: float | None = None
    target: str = "y"
    inputs: tuple[str, ...] = ()
    train: str = ""
    batch_sizes: tuple[int, ...] = ()


def run_comparison(
    question: Question,
    *,
    output: ComparisonFormat,
    report: Path | None,
    store_url: str,
    work_root: Path,
    use_cache: bool,
    quiet: bool,
) -> int:
    """Compare as `question` asks, print the result, and return the exit code.

    Raises:
        UserError: The report cannot be written.
        InfrastructureError: The store or this environment does not allow it.
    """
    suite = f"fulcrum compare: {question.candidate}"
    try:
        plan, problems = plan_for(question)
    except UserError as error:
        plan, problems = None, [str(error)]
    if plan is None:
        print_problems(problems, as_json=output is ComparisonFormat.JSON)
        if output is ComparisonFormat.JUNIT:
            say(refusal_to_junit("; ".join(problems), suite, "user"))
        return USAGE
    store, result = run_here(
        plan, store_url=store_url, work_root=work_root, use_cache=use_cache, quiet=quiet
    )
    code, same = exit_code(result), is_same(result)
    match output:
        case ComparisonFormat.JSON:
            print_json({**document(result), "exit_code": code, "same_model": same})
        case ComparisonFormat.JUNIT:
            say(to_junit(result, suite))
        case ComparisonFormat.TABLE if result.published is not None:
            print_success(result.published)
            if same:
                say(SAME)
    if result.published is None:
        say("\n".join(failure_lines(store, result)), sys.stderr)
    elif report is not None:
        save_report(fetch_report(store, result.plan.run), report)
    return code


def plan_for(question: Question) -> tuple[Plan | None, list[str]]:
    """Return the plan of a comparison, or else all that is wrong with the options.

    Raises:
        UserError: An option cannot be read.
    """
    problems, job = make_job(NAME, specification(question), Path.cwd())
    if job is None:
        return None, list(_as_options(map(str, problems), question))
    plan, missing = plan_of_job(job)
    return plan, list(_as_options(missing, question))


def specification(question: Question) -> dict[str, Any]:
    """Return the specification of a job that makes the comparison.

    Raises:
        UserError: An option cannot be read.
    """
    gates = _gates(question)
    inputs = dict(_pair(text) for text in question.inputs)
    reading = {"target": question.target, **({"inputs": inputs} if inputs else {})}
    asked = {gate["batch"] for gate in gates if gate.get("batch") is not None}
    data = {
        name: {"uri": _address(uri), **reading}
        for name, uri in (("train", question.train), ("test", question.data))
        if uri
    }
    return {
        "model": {"uri": _address(question.baseline)},
        "candidate": {"uri": _address(question.candidate)},
        "data": {"task": question.task, **data},
        "gates": gates,
        "measure": {"batchSizes": sorted(asked.union(question.batch_sizes or (1,)))},
    }


def exit_code(result: RunResult) -> int:
    """Return the exit code of `fulcrum run`, or that of wrong usage for a wrong model or data."""
    failed = failed_stage(result.states)
    wrong = result.published is None and failed is not None and failed.failure_class == "user"
    return USAGE if wrong else result.exit_code


def is_same(result: RunResult) -> bool | None:
    """Return whether both files hold the same model; None if that was not found out."""
    if result.published is None:
        return None
    validate = details(result.published.assessment.evidence, ValidateDetails)
    return None if validate is None else validate.identical_models


def _gates(question: Question) -> list[dict[str, Any]]:
    if question.gates is not None:
        if question.metric or question.margin is not None:
            raise UserError("--gates has metrics and margins; leave out --metric and --margin")
        found = load_gates(question.gates)
        return [gate.model_dump(mode="json", by_alias=True, exclude_none=True) for gate in found]
    task = TASKS.get(question.task)  # of an unknown one, only that is wrong
    metric = question.metric or (MAIN_METRICS[0] if task is None else task.main)
    known, margin = METRICS.get(metric), question.margin
    if margin is None:
        if known is not None and not known.share:
            message = f"is needed for {metric}: how much worse it may be, in the metric's unit"
            raise UserError(message, where="--margin")
        margin = SHARE_MARGIN
    name = known.name.lower() if known is not None else "quality"
    return [{"name": name, "kind": "nonInferiority", "metric": metric, "margin": margin}]


def _pair(text: str) -> tuple[str, str]:
    name, equals, column = text.partition("=")
    if not (name and equals and column):
        message = f"is '{text}'; expected NAME=COLUMN, the model's input and what feeds it"
        raise UserError(message, where="--input")
    return name, column


def _address(text: str) -> str:
    """Return a URL as it is, and a path as one that means the same from any directory."""
    return text if "://" in text else f"file://{os.path.abspath(text)}"


def _as_options(problems: Iterable[str], question: Question) -> Iterable[str]:
    """Yield problems with the options that they are about in the place of a job's fields."""
    for problem in problems:
        field = next((each for each in OPTIONS if problem.startswith(each)), None)
        if field is None:
            yield problem
            continue
        option = OPTIONS[field]
        if field.startswith("spec.gates"):  # its gates, or the one that the other options make
            option = "--gates" if question.gates is not None else option
        _, _, text = problem.partition(": ")
        yield f"{option}: {text}"
