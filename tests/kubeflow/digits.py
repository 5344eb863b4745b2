"""The job of `examples/digits` for a server that reaches a bucket."""

from __future__ import annotations

import runpy
import uuid
from pathlib import Path

import numpy as np

from fulcrum_operator.controllers.planner import resolve
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.manifests import load_job
from fulcrum_pipelines.storage.store import Store

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
SPLITS = ("train", "validation", "test")


def digits_plan(store: Store, directory: Path, name: str = "digits") -> Plan:
    """Put model and data of the example beside `store`, and return the plan of its job.

    Args:
        store: Of the run; inputs may not be inside it.
        directory: For files on their way to the bucket.
        name: Of the job.
    """
    inputs = Store(f"{store.url}-inputs")
    for path in (DIGITS / "model").iterdir():
        if path.is_file():
            inputs.upload(path, f"model/{path.name}")
    load = runpy.run_path(str(DIGITS / "data.py"))["load"]
    for split in SPLITS:
        np.savez(directory / f"{split}.npz", **load(split))
        inputs.upload(directory / f"{split}.npz", f"{split}.npz")
    spec = load_job(DIGITS / "job.yaml").spec
    fields = spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    fields["engine"] = "kubeflow"
    fields["data"] |= {split: {"uri": f"{split}.npz"} for split in SPLITS}
    resolved = resolve(type(spec).model_validate(fields), inputs.url)
    return Plan(name=name, uid=uuid.uuid4().hex, spec=resolved, fulcrum_version="e2e")
