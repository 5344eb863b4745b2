"""A pipeline that takes no time: it behaves as the name of its plan says, up to its first dot.

`broken--succeed` is broken in the first attempt and succeeds in all others.

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
from typing import get_args

from builders.details import make_evaluate, make_validate
from builders.evidence import make_evidence, make_stage
from builders.figures import make_comparison
from builders.plans import make_plan

from fulcrum_pipelines.compiled import Part, stages_of
from fulcrum_pipelines.contract import Plan, digest_of, to_json
from fulcrum_pipelines.errors import FailureClass
from fulcrum_pipelines.evidence import StageName
from fulcrum_pipelines.states import StageState
from fulcrum_pipelines.storage.store import Store, patient_store, stage_path, state_path

FOREVER_S = 600
LOOK_S = 0.05
UID = make_plan().uid
"""Of the jobs; tests on a server that keeps objects replace it by a new one."""
TIME = "2026-11-24T09:30:00Z"
ADVICE = {"small-test-set": ("620 examples would decide",)}
COMPARISONS = {"worse": {"broken": 90, "fixed": 3}, "undecided": {"broken": 30, "fixed": 25}}


def stand_in_plan(behaviour: str, **changes: object) -> Plan:
    """Return a plan of three stages that makes the stand-in behave as `behaviour` says."""
    return make_plan(**changes).model_copy(update={"name": behaviour, "uid": UID})


def behaviour_of(plan: Plan) -> str:
    """Return the stand-in's behaviour; text after a dot only distinguishes jobs."""
    name = plan.name.partition(".")[0]
    behaviours = ("broken--succeed" if name == "flaky" else name).split("--")
    return behaviours[min(plan.attempt, len(behaviours)) - 1]


def work(store: Store, plan: Plan, part: Part = "all") -> bool:
    """Store the results of a run; return False if the run must never end.

    A run with behaviour `again` does not end at first, and succeeds when it is executed again.
    """
    digest = digest_of(to_json(plan))
    match behaviour_of(plan):
        case "succeed" | "worse" | "undecided" | "small-test-set":
            _finish(store, plan, digest, plan.stages, part)
        case "early-end":
            _finish(store, plan, digest, plan.stages[:1])
        case "other-plan":
            _finish(store, plan, digest_of(b"another plan"), plan.stages)
        case "fail":
            _fail(store, plan, "spec.data.test: nothing is at 'nowhere.npz'", "user")
        case "quality" | "deadline" | "internal" as failure_class:
            _fail(store, plan, f"a failure of class {failure_class}", failure_class)
        case "broken":
            _fail(store, plan, "the disk is full", "infrastructure")
        case "again" if store.stage_state(plan.run, "evaluate") is not None:
            _finish(store, plan, digest, plan.stages, part)
        case "no-evidence":
            pass
        case _:
            state = StageState(stage="evaluate", state="Running", started_at=TIME)
            store.write_record(state_path(plan.run, "evaluate"), state)
            return False
    return True


def _fail(store: Store, plan: Plan, message: str, failure_class: FailureClass) -> None:
    state = StageState(
        stage="evaluate",
        state="Failed",
        started_at=TIME,
        finished_at=TIME,
        message=message,
        failure_class=failure_class,
        last_lines=("reading nowhere.npz",),
    )
    store.write_record(state_path(plan.run, "evaluate"), state)


def _finish(
    store: Store, plan: Plan, digest: str, stages: tuple[StageName, ...], part: Part = "all"
) -> None:
    model = store.put(Path(__file__), "candidate.onnx", "application/vnd.onnx")  # any file will do
    comparison = make_comparison(**COMPARISONS.get(behaviour_of(plan), {}))
    validate = make_validate(candidate_model=model.digest, comparisons=(comparison,))
    changes: dict[str, dict[str, object]] = {
        "evaluate": {"details": make_evaluate(advice=ADVICE.get(behaviour_of(plan), ()))},
        "quantize": {"outputs": (model,)},
        "validate": {"details": validate},
    }
    records = tuple(
        make_stage(stage, run=plan.run, plan=digest, **changes.get(stage, {})) for stage in stages
    )
    for record in records:
        if record.stage not in stages_of(plan, part):
            continue
        state = StageState(stage=record.stage, state="Succeeded", started_at=TIME, fraction=1.0)
        store.write_record(state_path(plan.run, record.stage), state)
        store.write_record(stage_path(plan.run, record.stage), record)
    if part != "compute":
        evidence = make_evidence(run=plan.run, plan=digest, records=records)
        store.write_record(f"runs/{plan.run}/evidence.json", evidence)


def _spawn(scratch: Path, *, detached: bool) -> None:
    """Start a process that ignores SIGTERM, and leave its id where a test finds it."""
    code = f"import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep({FOREVER_S})"
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=detached)
    (Path(os.environ["STAND_IN_DIRECTORY"]) / f"child-{child.pid}").touch()
    (scratch / "left-behind").touch()


def _go_on(store: Store, plan: Plan) -> None:
    """Run without end, or until a test releases a waiting run."""
    until_s = time.monotonic() + FOREVER_S
    while time.monotonic() < until_s:
        time.sleep(LOOK_S)
        if behaviour_of(plan) == "wait" and go_path(plan.name).exists():
            _finish(store, plan, digest_of(to_json(plan)), plan.stages)
            return


def go_path(name: str) -> Path:
    """Return the file that releases the run of the job `name` if it waits."""
    return Path(os.environ["STAND_IN_DIRECTORY"]) / f"go-{name}"


def main() -> int:
    """Behave as the plan's name says, with the arguments of `fulcrum_pipelines.runner.local`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", required=True)
    parser.add_argument("--plan", required=True)
    parser.add_argument("--work-dir", required=True, type=Path)
    parser.add_argument("--no-cache", action="store_true")
    parser.add_argument("--part", choices=get_args(Part), default="all")
    options = parser.parse_args()
    store = patient_store(options.store)
    plan = store.plan(options.plan)
    if (directory := os.environ.get("STAND_IN_DIRECTORY")) is not None:
        (Path(directory) / f"started-{plan.run}-{os.getpid()}").touch()
    behaviour = behaviour_of(plan)
    if behaviour == "ignore-sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if behaviour in ("children", "detached-children"):
        _spawn(options.work_dir, detached=behaviour == "detached-children")
    if behaviour == "orphan":
        _spawn(options.work_dir, detached=True)
        os._exit(0)
    if not work(store, plan, options.part):
        print("working", flush=True)
        _go_on(store, plan)
    return int(behaviour in ("fail", "broken"))


if __name__ == "__main__":
    sys.exit(main())
