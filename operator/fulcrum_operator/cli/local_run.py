"""The work behind `fulcrum run`: from a file to an exit code."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path

from fulcrum_operator.cli.displays import Display, choose_display
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
from fulcrum_operator.controllers.embedded import LIMITS, Ended, Watcher, run_job
from fulcrum_operator.controllers.planner import make_plan, missing_files
from fulcrum_operator.controllers.publisher import publish
from fulcrum_operator.engines.process import ProcessEngine
from fulcrum_operator.engines.protocol import Engine
from fulcrum_operator.lifecycle import Limits
from fulcrum_operator.resources.names import asks_to_remeasure
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import InfrastructureError, UserError
from fulcrum_pipelines.evidence import EvaluateDetails, StageName
from fulcrum_pipelines.manifests import JobManifest, load_job, needs_cluster, unsupported
from fulcrum_pipelines.states import StageState
from fulcrum_pipelines.storage.store import Store
from fulcrum_pipelines.validation.problem import Problem

STOPPING = (signal.SIGINT, signal.SIGTERM)
NEEDED = {"fulcrum_components": "fulcrum-components", "kfp": "fulcrum-pipelines[local]"}


def run_manifest(
    manifest: Path,
    *,
    store_url: str,
    work_root: Path,
    use_cache: bool,
    remeasure: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Run the job in the file `manifest`, print how it ended, and return the exit code.

    Raises:
        InfrastructureError: The store or this environment does not allow it.
    """
    plan, problems = plan_of(manifest)
    if plan is None:
        print_problems(problems, as_json=as_json)
        return USAGE
    if remeasure:
        plan = plan.model_copy(update={"remeasure": True})
    store, result = run_here(
        plan, store_url=store_url, work_root=work_root, use_cache=use_cache, quiet=quiet
    )
    if as_json:
        print_json(document(result))
    if result.published is None:
        say("\n".join(failure_lines(store, result)), sys.stderr)
    elif not as_json:
        print_success(result.published)
    return result.exit_code


def run_here(
    plan: Plan, *, store_url: str, work_root: Path, use_cache: bool, quiet: bool
) -> tuple[Store, RunResult]:
    """Run `plan` on this machine with progress on standard error; return its store and its end.

    Raises:
        InfrastructureError: The store or this environment does not allow it.
    """
    check_environment()
    store = open_store(store_url)
    engine = ProcessEngine(store, work_directory(work_root, store), use_cache=use_cache)
    return store, run_plan(engine, store, plan, choose_display(quiet=quiet))


def plan_of(manifest: Path) -> tuple[Plan | None, list[str]]:
    """Return the plan of the job in `manifest`, or else all that keeps it from being run."""
    try:
        job = load_job(manifest)
    except UserError as error:
        return None, [str(error)]
    plan, problems = plan_of_job(job)
    return plan, [f"{manifest}: {problem}" for problem in problems]


def plan_of_job(job: JobManifest) -> tuple[Plan | None, list[str]]:
    """Return the plan of `job`, or else all that keeps it from being run here."""
    refused = [*unsupported(job.spec), *needs_cluster(job.spec)]
    if refused:
        return None, [str(problem) for problem in refused]
    plan = make_plan(job.name, job.spec, job.directory)
    plan = plan.model_copy(update={"remeasure": asks_to_remeasure(job.annotations)})
    problems = [
        str(Problem(field, f"no file or directory '{path}'"))
        for field, path in missing_files(plan.spec)
    ]
    return (None, problems) if problems else (plan, [])


class Progress:
    """Passes what is seen of a job on to a display, and warnings of its stages once.

    Attributes:
        plan: The attempt that was started or joined last.
        states: Its stages, as they were seen last.
    """

    def __init__(self, store: Store, display: Display, plan: Plan) -> None:
        self._store = store
        self._display = display
        self._warned: set[tuple[str, StageName]] = set()
        self.plan = plan
        self.states: tuple[StageState, ...] = ()

    def started(self, plan: Plan, joined: bool) -> None:
        """Say that a run that is going already is watched instead of started."""
        self.plan, self.states = plan, ()
        if joined:
            self._display.note(f"run {plan.run} is going already: joining it; Ctrl-C stops it")
        else:
            self._display.show(plan, ())

    def polled(self, plan: Plan, states: tuple[StageState, ...]) -> None:
        """Show the stages, and the warnings of those that ended."""
        self.states = states
        for state in states:
            if state.state == "Succeeded" and (plan.run, state.stage) not in self._warned:
                self._warn(plan, state.stage)
        self._display.show(plan, states)

    def noted(self, text: str) -> None:
        """Show what needs attention."""
        self._display.note(f"warning: {text}")

    def _warn(self, plan: Plan, stage: StageName) -> None:
        try:
            evidence = self._store.stage_evidence(plan.run, stage)
        except InfrastructureError:  # of warnings no more than that; what decides is read again
            return
        self._warned.add((plan.run, stage))
        if evidence is None:
            return
        details = evidence.details
        advice = details.advice if isinstance(details, EvaluateDetails) else ()
        for warning in (*advice, *evidence.warnings):
            self._display.note(f"warning: {stage}: {warning}")


def run_plan(
    engine: Engine, store: Store, plan: Plan, display: Display, limits: Limits = LIMITS
) -> RunResult:
    """Run `plan` to its end and publish its results; a signal ends it as cancelled."""
    progress = Progress(store, display, plan)
    watcher = Watcher(progress.started, progress.polled, progress.noted)
    ended = None
    with display, contextlib.suppress(asyncio.CancelledError):
        job = run_job(engine, store, plan, watcher, limits)
        ended = asyncio.run(_interruptible(job, display.note))
    last = ended.plan if ended else progress.plan
    assessment = ended.assessment if ended else None
    return RunResult(
        plan=last,
        end=ended.status.outcome if ended else None,
        states=progress.states,
        published=publish(store, last, assessment) if assessment else None,
        engine_log=str(engine.log_path(last.run)) if isinstance(engine, ProcessEngine) else "",
    )


async def _interruptible(job: Coroutine[None, None, Ended], note: Callable[[str], None]) -> Ended:
    """Run the job; the first signal cancels it, and more of them do not hurry the clean-up."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(job)

    def stop() -> None:
        if not stop_requested.is_set():
            stop_requested.set()
            note("interrupted: stopping the run and cleaning up")
            task.cancel()

    stop_requested = asyncio.Event()
    for number in STOPPING:
        loop.add_signal_handler(number, stop)
    try:
        return await task
    finally:
        for number in STOPPING:
            loop.remove_signal_handler(number)


def work_directory(root: Path, store: Store) -> Path:
    """Return where runs of `store` are on file: the same job in another store is another run."""
    return root / hashlib.sha256(store.url.encode()).hexdigest()[:12]


def check_environment() -> None:
    """Make sure that what the stages need is installed beside this command.

    Raises:
        InfrastructureError: Something is missing.
    """
    missing = [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        message = f"running a job on this machine needs {' and '.join(missing)}; install it"
        raise InfrastructureError(message, where="this environment")


def open_store(url: str) -> Store:
    """Return the store at `url`; a path means the same from every working directory."""
    return Store(url if "://" in url else str(Path(url).absolute()))
