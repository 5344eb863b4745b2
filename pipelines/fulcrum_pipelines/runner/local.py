"""Run the compiled pipeline on this machine, with kfp's local runner.

This is a separate process (`python -m fulcrum_pipelines.runner.local`), because `kfp.local` has
global state: one pipeline a process. Its stages are subprocesses in the same process group, so they
can all be stopped together.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from fulcrum_pipelines.compiled import IR_PATH, Part, pipeline_of, stages_of
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.errors import FulcrumError
from fulcrum_pipelines.evidence import StageName
from fulcrum_pipelines.runner.isolation import hide_process
from fulcrum_pipelines.storage.store import patient_store

SHELL_STARTS = "kfp.dsl.executor_main"
SHELL_WAITS = f"_KFP_RUNTIME=true python3 -m {SHELL_STARTS}"
SHELL_BECOMES = f"_KFP_RUNTIME=true exec python3 -m {SHELL_STARTS}"


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
        **pool,
        **{f"measure_{name}": value for name, value in pool.items()},
    }


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


def run_pipeline(arguments: dict[str, Any], work_dir: Path, stages: Sequence[StageName]) -> None:
    """Run `stages` of the compiled pipeline; kfp keeps its own files under `work_dir`.

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
        compiled = without_shells(pipeline_of(IR_PATH.read_text(), stages))
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
        run_pipeline(arguments, options.work_dir, stages_of(plan, options.part))
    except FulcrumError as error:
        print(json.dumps({"class": error.failure_class, "message": str(error)}), file=sys.stderr)
        return 1
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
