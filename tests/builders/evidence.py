"""The evidence of whole jobs, and of their stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from builders.details import (
    make_convert,
    make_evaluate,
    make_finetune,
    make_prune,
    make_quantize,
    make_validate,
)
from builders.plans import make_digest
from fulcrum_pipelines.evidence import (
    Artifact,
    Environment,
    Evidence,
    StageEvidence,
    StageName,
    ValidateDetails,
)

RUN = "mnist-resnet-3f9c2a71b0de-1"
ALL_STAGES: tuple[StageName, ...] = ("evaluate", "prune", "finetune", "quantize", "validate")


def make_environment(**changes: Any) -> Environment:
    """Return a laptop-like environment."""
    fields: dict[str, Any] = {
        "cpu_model": "AMD EPYC 7B13",
        "cpu_flags": ("avx2", "fma", "f16c"),
        "logical_cpus": 2,
        "os": "Linux 6.1 x86_64",
        "python": "3.11.7",
        "libraries": {
            "numpy": "2.4.1",
            "onnx": "1.23.2",
            "onnxruntime": "1.32.0",
            "torch": "2.15.0",
        },
    }
    return Environment(**fields | changes)


_DETAILS = {
    "evaluate": make_evaluate,
    "convert": make_convert,
    "prune": make_prune,
    "finetune": make_finetune,
    "quantize": make_quantize,
    "validate": make_validate,
}
_SECONDS = {
    "evaluate": 3.8,
    "convert": 4.4,
    "prune": 6.1,
    "finetune": 48.2,
    "quantize": 14.9,
    "validate": 21.4,
}


def make_stage(stage: StageName = "validate", **changes: Any) -> StageEvidence:
    """Return the record of one stage, with the details of a job that goes well."""
    fields: dict[str, Any] = {
        "stage": stage,
        "run": RUN,
        "fulcrum_version": "0.1.0",
        "plan": make_digest("plan"),
        "inputs_digest": make_digest(f"{stage} inputs"),
        "started_at": "2026-11-24T09:30:00Z",
        "finished_at": "2026-11-24T09:31:00Z",
        "seconds": _SECONDS[stage],
        "peak_memory_bytes": 640_000_000,
        "inputs": {
            "model": make_digest(f"model before {stage}"),
            **(
                {"data.test": make_digest("test data")} if stage in ("evaluate", "validate") else {}
            ),
        },
        "outputs": (
            Artifact(
                name=f"{stage}.onnx", digest=make_digest(f"{stage} model"), size_bytes=120_148
            ),
        ),
        "environment": make_environment(),
    }
    if "details" not in changes:
        fields["details"] = _DETAILS[stage]()
    return StageEvidence(**fields | changes)


def make_evidence(
    *,
    stages: Sequence[StageName] = ALL_STAGES,
    validate: ValidateDetails | None = None,
    **changes: Any,
) -> Evidence:
    """Return the evidence of a whole job.

    Args:
        stages: The stages that ran.
        validate: Results of validate, for tests about them.
        changes: Fields of `Evidence` to set instead; `stages` are names here, so that records come
            as `records=(make_stage(...), ...)`.
    """
    records = changes.pop("records", None)
    if records is None:
        records = tuple(
            make_stage(name, details=validate)
            if name == "validate" and validate is not None
            else make_stage(name)
            for name in stages
        )
    return Evidence(**{"run": RUN, "plan": make_digest("plan"), "stages": records} | changes)
