"""The work behind `fulcrum run`: from a file to an exit code."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import signal
import sys
from collections.abc import Callable
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
from fulcrum_operator.embedded import Watcher, run_job
from fulcrum_operator.engines.process import ProcessEngine
from fulcrum_operator.manifests import load_job, needs_cluster, unsupported
from fulcrum_operator.planning import make_plan, missing_files
from fulcrum_operator.ports import Engine, RunStatus
from fulcrum_operator.publishing import publish
from fulcrum_operator.resources.names import asks_to_remeasure
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import InfrastructureError, UserError
from fulcrum_pipelines.evidence import EvaluateDetails, StageName
from fulcrum_pipelines.remote import UnreachableError
from fulcrum_pipelines.runner.results import stage_states
from fulcrum_pipelines.store import Store

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
    check_environment()
    store = open_store(store_url)
    engine = ProcessEngine(store, work_directory(work_root, store), use_cache=use_cache)
    result = run_plan(engine, store, plan, choose_display(quiet=quiet))
    if as_json:
        print_json(document(result))
    if result.published is None:
        print("\n".join(failure_lines(store, result)), file=sys.stderr)
    elif not as_json:
        print_success(result.published)
    return result.exit_code


def plan_of(manifest: Path) -> tuple[Plan | None, list[str]]:
    """Return the plan of the job in `manifest`, or else all that keeps it from being run."""
    try:
        job = load_job(manifest)
    except UserError as error:
        return None, [str(error)]
    refused = [*unsupported(job.spec), *needs_cluster(job.spec)]
    if refused:
        return None, [f"{manifest}: {problem}" for problem in refused]
    plan = make_plan(job.name, job.spec, job.directory)
    plan = plan.model_copy(update={"remeasure": asks_to_remeasure(job.annotations)})
    problems = [
        f"{manifest}: {field}: no file or directory '{path}'"
        for field, path in missing_files(plan.spec)
    ]
    return (None, problems) if problems else (plan, [])


class Progress:
    """Passes what the store says on to a display, and warnings once."""

    def __init__(self, store: Store, display: Display) -> None:
        self._store = store
        self._display = display
        self._warned: set[tuple[str, StageName]] = set()
        self._silent = False
        self.plan: Plan | None = None

    def started(self, plan: Plan, joined: bool) -> None:
        """Say that a run that is going already is watched instead of started."""
        self.plan = plan
        if joined:
            self._display.note(f"run {plan.run} is going already: joining it; Ctrl-C stops it")
        else:
            self._display.show(plan, ())

    def polled(self, plan: Plan) -> None:
        """Show the stages, and the warnings of those that ended.

        A store that does not answer now is no reason to give the run up: its stages wait for it.
        """
        try:
            self._show(plan)
            self._silent = False
        except UnreachableError as error:
            if not self._silent:
                self._display.note(f"warning: {error}; the run goes on")
            self._silent = True

    def _show(self, plan: Plan) -> None:
        states = stage_states(self._store, plan)
        for state in states:
            if state.state == "Succeeded" and (plan.run, state.stage) not in self._warned:
                self._warned.add((plan.run, state.stage))
                for warning in self._warnings(plan, state.stage):
                    self._display.note(f"warning: {state.stage}: {warning}")
        self._display.show(plan, states)

    def retrying(self, plan: Plan, status: RunStatus) -> None:
        """Say why there is another attempt."""
        count = f"attempt {plan.attempt + 1} of {plan.spec.backoff_limit + 1}"
        self._display.note(f"warning: {status.message}; {count} follows")

    def _warnings(self, plan: Plan, stage: StageName) -> tuple[str, ...]:
        evidence = self._store.stage_evidence(plan.run, stage)
        if evidence is None:
            return ()
        details = evidence.details
        advice = details.advice if isinstance(details, EvaluateDetails) else ()
        return (*advice, *evidence.warnings)


def run_plan(engine: Engine, store: Store, plan: Plan, display: Display) -> RunResult:
    """Run `plan` to its end and publish its results; a signal ends it as cancelled."""
    progress = Progress(store, display)
    watcher = Watcher(progress.started, progress.polled, progress.retrying)
    with display:
        try:
            last, status = asyncio.run(_interruptible(engine, plan, watcher, display.note))
        except asyncio.CancelledError:
            last, status = progress.plan or plan, RunStatus("Cancelled", "Interrupted")
    published = publish(store, last) if status.state == "Succeeded" else None
    log = engine.log_path(last.run) if isinstance(engine, ProcessEngine) else ""
    return RunResult(last, status, stage_states(store, last), published, str(log))


async def _interruptible(
    engine: Engine, plan: Plan, watcher: Watcher, note: Callable[[str], None]
) -> tuple[Plan, RunStatus]:
    """Run the job; the first signal cancels it, and more of them do not hurry the clean-up."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(run_job(engine, plan, watcher))

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
