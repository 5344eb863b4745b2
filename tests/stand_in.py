"""A pipeline that takes no time: it behaves as the name of its plan says.

Engines are tested with it, in memory (`work`) or as the command that they run.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from builders import (
    make_comparison,
    make_evaluate,
    make_evidence,
    make_plan,
    make_stage,
    make_validate,
)

from fulcrum_pipelines.contract import Plan, digest_of, to_json
from fulcrum_pipelines.evidence import StageName
from fulcrum_pipelines.store import StageState, Store, stage_path, state_path

FOREVER_S = 600
TIME = "2026-11-24T09:30:00Z"
ADVICE = {"small-test-set": ("620 examples would decide",)}
COMPARISONS = {"worse": {"broken": 90, "fixed": 3}, "undecided": {"broken": 30, "fixed": 25}}


def stand_in_plan(behaviour: str, **changes: object) -> Plan:
    """Return a plan of three stages that makes the stand-in behave as `behaviour` says."""
    return make_plan(**changes).model_copy(update={"name": behaviour})


def work(store: Store, plan: Plan) -> bool:
    """Leave in the store what a run would; False where the run is to go on for ever."""
    digest = digest_of(to_json(plan))
    match plan.name:
        case "succeed" | "worse" | "undecided" | "small-test-set":
            _finish(store, plan, digest, plan.stages)
        case "early-end":
            _finish(store, plan, digest, plan.stages[:1])
        case "other-plan":
            _finish(store, plan, digest_of(b"another plan"), plan.stages)
        case "fail":
            state = StageState(
                stage="evaluate",
                state="Failed",
                started_at=TIME,
                finished_at=TIME,
                message="spec.data.test: nothing is at 'nowhere.npz'",
                failure_class="user",
                last_lines=("reading nowhere.npz",),
            )
            store.write_record(state_path(plan.run, "evaluate"), state)
        case "no-evidence":
            pass
        case _:
            state = StageState(stage="evaluate", state="Running", started_at=TIME)
            store.write_record(state_path(plan.run, "evaluate"), state)
            return False
    return True


def _finish(store: Store, plan: Plan, digest: str, stages: tuple[StageName, ...]) -> None:
    model = store.put(Path(__file__), "candidate.onnx", "application/vnd.onnx")  # any file will do
    comparison = make_comparison(**COMPARISONS.get(plan.name, {}))
    validate = make_validate(candidate_model=model.digest, comparisons=(comparison,))
    changes: dict[str, dict[str, object]] = {
        "evaluate": {"details": make_evaluate(advice=ADVICE.get(plan.name, ()))},
        "quantize": {"outputs": (model,)},
        "validate": {"details": validate},
    }
    records = tuple(
        make_stage(stage, run=plan.run, plan=digest, **changes.get(stage, {})) for stage in stages
    )
    for record in records:
        state = StageState(stage=record.stage, state="Succeeded", started_at=TIME, fraction=1.0)
        store.write_record(state_path(plan.run, record.stage), state)
        store.write_record(stage_path(plan.run, record.stage), record)
    evidence = make_evidence(run=plan.run, plan=digest, records=records)
    store.write_record(f"runs/{plan.run}/evidence.json", evidence)


def _spawn(scratch: Path, *, detached: bool) -> None:
    """Start a process that ignores SIGTERM, and leave its id where a test finds it."""
    code = f"import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep({FOREVER_S})"
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=detached)
    (Path(os.environ["STAND_IN_DIRECTORY"]) / f"child-{child.pid}").touch()
    (scratch / "left-behind").touch()


def main() -> int:
    """Behave as the plan's name says, with the arguments of `fulcrum_pipelines.local`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", required=True)
    parser.add_argument("--plan", required=True)
    parser.add_argument("--work-dir", required=True, type=Path)
    parser.add_argument("--no-cache", action="store_true")
    options = parser.parse_args()
    store = Store(options.store)
    plan = store.plan(options.plan)
    if (directory := os.environ.get("STAND_IN_DIRECTORY")) is not None:
        (Path(directory) / f"started-{os.getpid()}").touch()
    if plan.name == "ignore-sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if plan.name in ("children", "detached-children"):
        _spawn(options.work_dir, detached=plan.name == "detached-children")
    if plan.name == "orphan":
        _spawn(options.work_dir, detached=True)
        os._exit(0)
    if not work(store, plan):
        print("working", flush=True)
        time.sleep(FOREVER_S)
    return int(plan.name == "fail")


if __name__ == "__main__":
    sys.exit(main())
