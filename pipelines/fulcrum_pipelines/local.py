"""Run the compiled pipeline on this machine, with kfp's local runner.

A process of its own (`python -m fulcrum_pipelines.local`), because the state of `kfp.local` is
global: one pipeline a process. Its stages are subprocesses of it in the same process group, so
whoever started it can stop all of them together.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any, Literal, get_args

from fulcrum_pipelines.contract import OPTIONAL_STAGES, Plan
from fulcrum_pipelines.errors import FulcrumError
from fulcrum_pipelines.evidence import StageName
from fulcrum_pipelines.isolation import hide_process
from fulcrum_pipelines.store import patient_store

IR_PATH = Path(__file__).parent / "ir" / "fulcrum.yaml"
SHELL_STARTS = "kfp.dsl.executor_main"
SHELL_WAITS = f"_KFP_RUNTIME=true python3 -m {SHELL_STARTS}"
SHELL_BECOMES = f"_KFP_RUNTIME=true exec python3 -m {SHELL_STARTS}"
MEASURED: StageName = "validate"
Part = Literal["all", "compute", "measure"]
"""What of a plan is run at once: all of it, or that which computes and that which measures apart,
each on hardware of its own. What passes between them passes through the store."""


def parameters(plan: Plan, *, store: str, plan_digest: str, use_cache: bool) -> dict[str, Any]:
    """Return the run-time parameters of the compiled pipeline for a run on this machine."""
    pool = {
        "cpu": str(os.cpu_count() or 1),
        "memory": "0",
        "accelerator": "nvidia.com/gpu",
        "accelerator_count": "0",
        "node_selector": {},
        "tolerations": [],
    }
    return {
        "store": store,
        "run": plan.run,
        "plan": plan_digest,
        "use_cache": use_cache,
        "image": "this-environment",
        **{f"with_{stage}": stage in plan.stages for stage in OPTIONAL_STAGES},
        **pool,
        **{f"measure_{name}": value for name, value in pool.items()},
    }


def stages_of(plan: Plan, part: Part) -> tuple[StageName, ...]:
    """Return the stages of `part` of `plan`, in order."""
    return tuple(stage for stage in plan.stages if _belongs(stage, part))


def part_of(compiled: str, part: Part) -> str:
    """Return the compiled pipeline without the tasks that are of another part."""
    if part == "all":
        return compiled
    import yaml

    pipeline, *platform = yaml.safe_load_all(compiled)
    tasks = pipeline["root"]["dag"]["tasks"]
    kept = {name: task for name, task in tasks.items() if _belongs(name, part)}
    for task in kept.values():
        earlier = [name for name in task.get("dependentTasks", ()) if name in kept]
        task.pop("dependentTasks", None)
        if earlier:
            task["dependentTasks"] = earlier
    pipeline["root"]["dag"]["tasks"] = kept
    text: str = yaml.safe_dump_all([pipeline, *platform])
    return text


def without_shells(compiled: str) -> str:
    """Return the compiled pipeline with shells that become the stage instead of waiting for it.

    A shell would hold the environment, and credentials in it, open to what the stage runs.

    Raises:
        ValueError: A task starts its stage in a way that is not known here.
    """
    found = compiled.replace(SHELL_WAITS, SHELL_BECOMES)
    if found.count(SHELL_BECOMES) != found.count(SHELL_STARTS):
        message = f"the compiled pipeline has a task that does not start with '{SHELL_WAITS}'"
        raise ValueError(message)
    return found


def _belongs(task: str, part: Part) -> bool:
    return part == "all" or (task == MEASURED) == (part == "measure")


def run_pipeline(arguments: dict[str, Any], work_dir: Path, part: Part = "all") -> None:
    """Run the compiled pipeline with `arguments`; kfp keeps its own files under `work_dir`.

    Raises:
        RuntimeError: A stage failed; the store has the reason.
    """
    from kfp import components, local

    with warnings.catch_warnings():
        # kfp says at every step that resource limits have no effect on this machine.
        warnings.simplefilter("ignore")
        local.init(
            local.SubprocessRunner(use_venv=False),
            raise_on_error=True,
            pipeline_root=str(work_dir / "kfp"),
        )
        compiled = without_shells(part_of(IR_PATH.read_text(), part))
        components.load_component_from_text(compiled)(**arguments)


def main() -> int:
    """Run one plan; the exit code is 0 where all stages succeeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True)
    parser.add_argument("--plan", required=True, help="digest of the plan in the store")
    parser.add_argument("--work-dir", required=True, type=Path)
    parser.add_argument("--no-cache", action="store_true")
    parser.add_argument("--part", choices=get_args(Part), default="all")
    options = parser.parse_args()
    hide_process()
    try:
        plan = patient_store(options.store).plan(options.plan)
        arguments = parameters(
            plan, store=options.store, plan_digest=options.plan, use_cache=not options.no_cache
        )
        run_pipeline(arguments, options.work_dir, options.part)
    except FulcrumError as error:
        print(json.dumps({"class": error.failure_class, "message": str(error)}), file=sys.stderr)
        return 1
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
