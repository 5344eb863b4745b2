"""The process in which a stage works: `python -m fulcrum_components.stages.worker`.

It takes the result of an earlier stage with the same inputs if there is one, else does the work;
either way it leaves the stage's evidence in a file for the supervisor, which puts it on record. An
unreliable timing is never taken, nor is any where the plan says to measure again: then the stage
repeats what is timed, and may take the rest. A failure is left in a file too; there is neither if
user code ended the process.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import sys
import time
import traceback
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NoReturn, cast

import fulcrum_components
import fulcrum_pipelines
from fulcrum_components.environment import describe_environment, has_gpu, peak_memory_bytes
from fulcrum_components.stages.broker import BROKER
from fulcrum_components.stages.brokered import install
from fulcrum_components.stages.component import EVIDENCE_FILE, FAILURE_FILE, Failure, timestamp
from fulcrum_components.stages.context import ProgressWriter, Stage, StageContext, StageResult
from fulcrum_pipelines.contract import (
    RECIPE_STAGES,
    STAGES,
    ResolvedSpec,
    canonical_json,
    digest_of,
)
from fulcrum_pipelines.errors import FulcrumError
from fulcrum_pipelines.evidence import Details, StageEvidence, StageName
from fulcrum_pipelines.states import StageState
from fulcrum_pipelines.storage.store import Store, record_bytes, state_path
from fulcrum_pipelines.texts import reason

MEASURING: tuple[StageName, ...] = ("quantize", "validate")
"""Stages whose result depends on the hardware that they ran on."""


def execute(
    stage: StageName, store: Store, plan_digest: str, work_dir: Path, *, use_cache: bool
) -> StageEvidence:
    """Run `stage` of the plan, or take what an earlier one with the same inputs recorded.

    Returns:
        Its evidence, which is not on record yet.
    """
    plan = store.plan(plan_digest)
    started_at, start_s = timestamp(), time.monotonic()
    write_state = partial(_write_state, store, plan.run, stage, started_at)
    write_state("preparing", None)
    progress = ProgressWriter(write_state)
    context = StageContext(stage, plan, store, work_dir, progress)
    module = cast(Stage, importlib.import_module(f"fulcrum_components.stages.{stage}"))
    inputs = context.inputs = module.inputs(context)
    inputs_digest = context.inputs_digest = _inputs_digest(stage, inputs, plan.spec)
    space = plan.namespace
    found = store.cached(stage, inputs_digest, space) if use_cache else None
    if found is not None and must_time_again(found.details, plan.remeasure):
        context.earlier, found = found, None
    if found is not None:
        changes = {
            "data": tuple(context.data_read.values()),
            "seconds": time.monotonic() - start_s,
            "started_at": started_at,
            "finished_at": timestamp(),
        }
        evidence = found.taken_by(plan.run, plan_digest).model_copy(update=changes)
    else:
        result = module.run(context)
        evidence = StageEvidence(
            stage=stage,
            run=plan.run,
            fulcrum_version=fulcrum_pipelines.__version__,
            plan=plan_digest,
            inputs_digest=inputs_digest,
            started_at=started_at,
            finished_at=timestamp(),
            seconds=time.monotonic() - start_s,
            peak_memory_bytes=peak_memory_bytes(),
            inputs=inputs,
            data=tuple(context.data_read.values()),
            outputs=_store_outputs(store, result),
            environment=describe_environment(),
            warnings=(*context.warnings, *result.warnings),
            details=result.details,
        )
    return evidence


def must_time_again(details: Details, remeasure: bool) -> bool:
    """Return whether `details` from the cache rest on timings that must be repeated."""
    match details.kind:
        case "quantize" | "validate":
            return details.timed and (remeasure or not details.reliable)
        case _:
            return False


def _write_state(
    store: Store,
    run: str,
    stage: StageName,
    started_at: str,
    message: str,
    fraction: float | None,
) -> None:
    state = StageState(
        stage=stage, state="Running", started_at=started_at, message=message, fraction=fraction
    )
    store.write_record(state_path(run, stage), state)


def _inputs_digest(stage: StageName, inputs: dict[str, str], spec: ResolvedSpec) -> str:
    """Return the cache key: the inputs, our code and, for what is measured, the hardware."""
    environment, model = describe_environment(), spec.model or spec.candidate
    key: dict[str, object] = {
        "stage": stage,
        "inputs": inputs,
        "code": code_digest(),
        "libraries": environment.libraries,
        "meaning": None if model is None else model.meaning,
        "device": [spec.recipe.device, spec.recipe.device != "cpu" and has_gpu()],
    }
    if stage in RECIPE_STAGES:
        key["allowNoop"] = spec.recipe.allow_noop
    if stage in MEASURING:
        key["hardware"] = [environment.cpu_model, environment.cpu_flags, environment.logical_cpus]
    return digest_of(canonical_json(key))


def code_digest() -> str:
    """Return the digest of the source of both packages that a stage runs."""
    digest = hashlib.sha256()
    for package in (fulcrum_components, fulcrum_pipelines):
        folder = Path(str(package.__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder)}\n".encode())
            digest.update(path.read_bytes())
    return f"sha256:{digest.hexdigest()}"


def _store_outputs(store: Store, result: StageResult) -> tuple:  # type: ignore[type-arg]
    return tuple(
        store.put(output.path, name, output.media_type) for name, output in result.outputs.items()
    )


def main() -> int:
    """Run one stage; a failure goes to `failure.json` in the working directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", required=True, choices=STAGES)
    parser.add_argument("--store", required=True)
    parser.add_argument("--plan", required=True)
    parser.add_argument("--work-dir", required=True, type=Path)
    parser.add_argument("--no-cache", action="store_true")
    options = parser.parse_args()
    if BROKER in os.environ:
        install()
    try:
        evidence = execute(
            options.stage,
            Store(options.store),
            options.plan,
            options.work_dir,
            use_cache=not options.no_cache,
        )
    except FulcrumError as error:
        failure = Failure(error.failure_class, str(error))
    except MemoryError:
        failure = Failure("infrastructure", "out of memory")
    except Exception as error:  # a defect of ours: the log has the trace, the user a short line
        traceback.print_exc()
        failure = Failure("internal", f"{reason(error)}; this is a defect, see the log")
    else:
        (options.work_dir / EVIDENCE_FILE).write_bytes(record_bytes(evidence))
        return 0
    print(f"{failure.failure_class}: {failure.message}", file=sys.stderr)
    (options.work_dir / FAILURE_FILE).write_text(json.dumps(asdict(failure)))
    return 1


def end(exit_code: int) -> NoReturn:
    """End the process at once: tearing torch down takes seconds, and user code may have threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


if __name__ == "__main__":
    end(main())
