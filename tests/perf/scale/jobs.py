"""CompressionJobs as people write them, with specifications of about 4 KB."""

from __future__ import annotations

from typing import Any

from fulcrum_operator.kubernetes.requests import Object
from fulcrum_operator.resources.names import API_VERSION, COMPRESSION_JOB

NAMESPACE = "scale"
CLASSES = 100
DRY_RUNS = 6
"""Gates that are tried out; with the classes they make a specification of about 4 KB."""


def job_spec() -> dict[str, Any]:
    """Return the specification that all jobs here have."""
    sources = {
        name: {
            "uri": f"s3://models/vision/fashion-mnist/2026-11/{name}.npz",
            "format": "npz",
        }
        for name in ("train", "calibration", "validation", "test")
    }
    return {
        "model": {"uri": "s3://models/vision/fashion-mnist/2026-11/model"},
        "data": {
            "task": "classification",
            **sources,
            "classes": [f"class of goods {label}" for label in range(CLASSES)],
        },
        "recipe": {
            "prune": {"structured": {"sparsity": 0.4, "round": 8}},
            "finetune": {
                "epochs": 3,
                "batchSize": 128,
                "learningRate": 0.002,
                "distillation": {"temperature": 3, "weight": 0.7},
            },
            "quantize": {"method": "auto"},
        },
        "gates": [
            {"name": "accuracy", "kind": "nonInferiority", "metric": "accuracy", "margin": 0.01},
            {"name": "size", "kind": "size", "max": 0.9},
            *map(_tried_gate, range(DRY_RUNS)),
        ],
        "measure": {"batchSizes": [1, 32], "threads": 1},
        "activeDeadlineSeconds": 86_400,
        "backoffLimit": 2,
    }


def _tried_gate(number: int) -> dict[str, Any]:
    return {
        "name": f"tried-{number}",
        "kind": "nonInferiority",
        "metric": "accuracy",
        "margin": 0.03,
        "mode": "DryRun",
    }


def new_job(name: str) -> Object:
    """Return a job that can be created."""
    return {
        "apiVersion": API_VERSION,
        "kind": COMPRESSION_JOB.kind,
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"team": "vision"}},
        "spec": job_spec(),
    }
