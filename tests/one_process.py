"""`fulcrum run` with its stages in this process: what a user reads, without importing torch again.

For many small jobs. It leaves out what processes add: supervision, deadlines and isolation.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from fake_engine import FakeEngine

from fulcrum_components.stages import worker
from fulcrum_components.stages.component import timestamp
from fulcrum_components.stages.recording import conclude, record
from fulcrum_operator.cli.displays.plain import PlainDisplay
from fulcrum_operator.cli.local_run import plan_of, run_plan
from fulcrum_operator.cli.printing import RunResult, document, failure_lines, print_success
from fulcrum_pipelines.contract import STAGES, Plan
from fulcrum_pipelines.errors import FulcrumError
from fulcrum_pipelines.evidence import Evidence, StageName
from fulcrum_pipelines.runner.results import failed_stage
from fulcrum_pipelines.states import StageState
from fulcrum_pipelines.storage.store import Store, state_path


@dataclass(frozen=True)
class Ended:
    """How a job ended.

    Attributes:
        exit_code: What the process would have ended with.
        said: All that was printed.
        result: What `--output json` prints; empty if the manifest was refused.
    """

    exit_code: int
    said: str
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """The printed output, without its line breaks."""
        return " ".join(self.said.split())

    @property
    def evidence(self) -> Evidence:
        """The evidence of a job that has a verdict."""
        return Evidence.model_validate_json(Path(self.result["evidence"]).read_bytes())


def write_job(directory: Path, **spec: Any) -> Path:
    """Write `job.yaml` with the specification `spec` and few, quick timings."""
    job = {
        "apiVersion": "fulcrum.dev/v1alpha1",
        "kind": "CompressionJob",
        "metadata": {"name": "job"},
        "spec": {"measure": {"batchSizes": [1], "pairs": 200}, "backoffLimit": 0, **spec},
    }
    path = directory / "job.yaml"
    path.write_text(yaml.safe_dump(job, sort_keys=False))
    return path


def engine_for(store: Store, through: StageName = STAGES[-1]) -> FakeEngine:
    """Return an engine that runs stages up to `through` in this process."""
    return FakeEngine(store, partial(_work, through))


def fulcrum_run(manifest: Path, through: StageName = STAGES[-1]) -> Ended:
    """Run the job in `manifest` up to the stage `through`, with a store beside it.

    A job that is stopped early has no verdict; its exit code is 0 unless a stage failed.
    """
    plan, problems = plan_of(manifest)
    if plan is None:
        return Ended(2, "\n".join(problems))
    store = Store(str(manifest.parent / "store"))
    said = io.StringIO()
    result = run_plan(engine_for(store, through), store, plan, PlainDisplay(said))
    if through != STAGES[-1] and failed_stage(result.states) is None:
        return Ended(0, said.getvalue())
    with contextlib.redirect_stdout(said):
        if result.published is None:
            print("\n".join(failure_lines(store, result)))
        else:
            print_success(result.published)
    return Ended(result.exit_code, said.getvalue(), document(result))


def run_in_this_process(plan: Plan, *, store_url: str, **_: Any) -> tuple[Store, RunResult]:
    """Replace `local_run.run_here`: the stages run in this process."""
    store = Store(store_url)
    return store, run_plan(engine_for(store), store, plan, PlainDisplay(sys.stderr))


def _work(through: StageName, store: Store, plan: Plan) -> bool:
    """Run stages up to `through`; a failure is recorded as the supervisor of stages does."""
    digest = store.put_record(plan)
    for stage in plan.stages[: plan.stages.index(through) + 1]:
        started_at = timestamp()
        try:
            with tempfile.TemporaryDirectory() as work:
                evidence = worker.execute(stage, store, digest, Path(work), use_cache=True)
            conclude(store, plan, record(store, plan, evidence, ()))
        except FulcrumError as error:
            state = StageState(
                stage=stage,
                state="Failed",
                started_at=started_at,
                finished_at=timestamp(),
                message=str(error),
                failure_class=error.failure_class,
            )
            store.write_record(state_path(plan.run, stage), state)
            break
    return True
