"""A pipeline that reads what a stage left for Kubeflow's pages, in the way that they do.

The API of Kubeflow 2.17 has no artifacts, and figures and confusion matrices are in ML Metadata
only. A task that takes the artifacts gets all of it from Kubeflow: files from its own bucket, the
rest from there.
"""
# No `from __future__ import annotations` here: kfp reads the annotations of components.

import warnings
from pathlib import Path

from kfp import compiler, dsl, kubernetes

from fulcrum_pipelines.definition import STORE_KEYS, STORE_SECRET, component, validate


@component
def read(
    store: str,
    target: str,
    model: dsl.Input[dsl.Model],
    metrics: dsl.Input[dsl.Metrics],
    confusion: dsl.Input[dsl.ClassificationMetrics],
    summary: dsl.Input[dsl.HTML],
) -> None:
    """Write what there is of each artifact to the file `target` of the store, as JSON."""
    import hashlib
    import json
    from pathlib import Path

    from fulcrum_pipelines.storage.store import Store

    seen = {}
    for artifact in (model, metrics, confusion, summary):
        path = Path(artifact.path)
        content = path.read_bytes() if path.is_file() else b""
        seen[artifact.schema_title] = {
            "uri": artifact.uri,
            "metadata": dict(artifact.metadata),
            "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
            "start": content[:15].decode(errors="replace"),
        }
    Store(store).write(target, json.dumps(seen).encode())


@dsl.pipeline(name="fulcrum-artifacts")
def artifacts_pipeline(store: str, run: str, plan: str, target: str, image: str) -> None:
    """Validate, which finds its result on record and only fills its artifacts; then read these."""
    itself = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    left = validate(store=store, run=run, plan=plan, use_cache=True, execution=itself)
    kinds = ("model", "metrics", "confusion", "summary")
    seen = read(store=store, target=target, **{name: left.outputs[name] for name in kinds})
    for task in (left, seen):
        task.set_container_image(image)
        task.set_caching_options(False)
        names = {name: name for name in STORE_KEYS}
        kubernetes.use_secret_as_env(task, STORE_SECRET, names, optional=True)
        kubernetes.set_security_context(task, run_as_non_root=True)


def compile_to(path: Path) -> Path:
    """Compile the pipeline to the file `path` and return it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiler.Compiler().compile(artifacts_pipeline, str(path))
    return path
