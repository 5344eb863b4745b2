"""The Kubeflow pipeline: the tasks that a run can have, and the placement of each.

It is compiled once, with all tasks one after the other, to `ir/fulcrum.yaml`, which is shipped as
data; a run is made from its own tasks alone (`fulcrum_pipelines.compiled`). kfp is needed to
compile it and to run it here, not to submit it. It knows nothing of a stage's work: each
component calls one function of `fulcrum_components`, and stages exchange data only through the
store. The artifacts declared here are shown to people in the Kubeflow UI.

Each task has the id of Kubeflow's run as well, which differs between the runs of a recurring one.

The count of accelerators is a string: Kubeflow's driver reads all values for a pod as strings, and
silently ignores a number.
"""
# No `from __future__ import annotations` here: kfp reads the annotations of components.

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kfp import compiler, dsl, kubernetes

from fulcrum_pipelines.compiled import FUSED, IR_PATH
from fulcrum_pipelines.contract import STAGES

IMAGE = "fulcrum-components"  # a placeholder; the real one is a parameter of the run
STORE_SECRET = "fulcrum-store"
STORE_KEYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_DEFAULT_REGION",
)
ALL_TASKS = (*STAGES, *FUSED)

component = dsl.component(base_image=IMAGE, install_kfp_package=False)


@component
def evaluate(
    store: str,
    run: str,
    plan: str,
    use_cache: bool,
    execution: str,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
    summary: dsl.Output[dsl.HTML],
) -> None:
    """Measure the baseline on the test data."""
    from fulcrum_components.stages.component import run_stages

    run_stages(
        "evaluate", store, run, plan, use_cache, execution, model, metrics, confusion, summary
    )


@component
def convert(
    store: str,
    run: str,
    plan: str,
    use_cache: bool,
    execution: str,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.HTML],
) -> None:
    """Make an ONNX file of a candidate that something else made."""
    from fulcrum_components.stages.component import run_stages

    run_stages("convert", store, run, plan, use_cache, execution, model, metrics, None, summary)


@component
def prune(
    store: str,
    run: str,
    plan: str,
    use_cache: bool,
    execution: str,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.HTML],
) -> None:
    """Remove weights."""
    from fulcrum_components.stages.component import run_stages

    run_stages("prune", store, run, plan, use_cache, execution, model, metrics, None, summary)


@component
def finetune(
    store: str,
    run: str,
    plan: str,
    use_cache: bool,
    execution: str,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.HTML],
) -> None:
    """Train what is left."""
    from fulcrum_components.stages.component import run_stages

    run_stages("finetune", store, run, plan, use_cache, execution, model, metrics, None, summary)


@component
def quantize(
    store: str,
    run: str,
    plan: str,
    use_cache: bool,
    execution: str,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.HTML],
) -> None:
    """Replace floating point by integers."""
    from fulcrum_components.stages.component import run_stages

    run_stages("quantize", store, run, plan, use_cache, execution, model, metrics, None, summary)


@component
def validate(
    store: str,
    run: str,
    plan: str,
    use_cache: bool,
    execution: str,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
    summary: dsl.Output[dsl.HTML],
) -> None:
    """Compare the candidate with the baseline."""
    from fulcrum_components.stages.component import run_stages

    run_stages(
        "validate", store, run, plan, use_cache, execution, model, metrics, confusion, summary
    )


@component
def compute(
    store: str,
    run: str,
    plan: str,
    use_cache: bool,
    execution: str,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
    summary: dsl.Output[dsl.HTML],
) -> None:
    """Run all stages but validate, one after the other."""
    from fulcrum_components.stages.component import run_stages

    run_stages(
        "compute", store, run, plan, use_cache, execution, model, metrics, confusion, summary
    )


@component
def whole(
    store: str,
    run: str,
    plan: str,
    use_cache: bool,
    execution: str,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
    summary: dsl.Output[dsl.HTML],
) -> None:
    """Run all stages, one after the other."""
    from fulcrum_components.stages.component import run_stages

    run_stages("whole", store, run, plan, use_cache, execution, model, metrics, confusion, summary)


def place(
    task: Any,
    image: Any,
    cpu: Any,
    memory: Any,
    accelerator: Any,
    accelerator_count: Any,
    node_selector: Any,
    tolerations: Any,
) -> None:
    """Let `task` run on a pool of nodes, with parameters of the run for all that makes one."""
    task.set_container_image(image)
    task.set_cpu_limit(cpu)
    task.set_memory_limit(memory)
    task.set_accelerator_type(accelerator)
    task.set_accelerator_limit(accelerator_count)
    kubernetes.add_node_selector_json(task, node_selector)
    kubernetes.add_toleration_json(task, tolerations)
    # If pods have their own identity, this secret does not exist and is not needed.
    kubernetes.use_secret_as_env(
        task, STORE_SECRET, {name: name for name in STORE_KEYS}, optional=True
    )
    # Kubeflow forbids more privileges and drops capabilities itself; with this a namespace under
    # Pod Security `restricted` takes the pod.
    kubernetes.set_security_context(task, run_as_non_root=True)
    # The store caches by content, and the operator retries by the class of the failure.
    task.set_caching_options(False)
    task.set_retry(0)


COMPONENTS = {
    each.name: each
    for each in (evaluate, convert, prune, finetune, quantize, validate, compute, whole)
}


def pipeline_of(tasks: Sequence[str]) -> Any:
    """Return the pipeline, for kfp, that has these tasks one after the other."""

    @dsl.pipeline(
        name="fulcrum",
        description="Compress a model and measure whether the result is as good.",
    )
    def fulcrum(
        store: str,
        run: str,
        plan: str,
        use_cache: bool,
        image: str,
        cpu: str,
        memory: str,
        accelerator: str,
        accelerator_count: str,
        node_selector: dict,  # type: ignore[type-arg]  # kfp knows the bare type only
        tolerations: list,  # type: ignore[type-arg]
        measure_cpu: str,
        measure_memory: str,
        measure_accelerator: str,
        measure_accelerator_count: str,
        measure_node_selector: dict,  # type: ignore[type-arg]
        measure_tolerations: list,  # type: ignore[type-arg]
    ) -> None:
        shared: dict[str, Any] = {"store": store, "run": run, "plan": plan, "use_cache": use_cache}
        pools = {
            "compute": (cpu, memory, accelerator, accelerator_count, node_selector, tolerations),
            "measure": (
                measure_cpu,
                measure_memory,
                measure_accelerator,
                measure_accelerator_count,
                measure_node_selector,
                measure_tolerations,
            ),
        }
        previous = None
        for name in tasks:
            pool = pools["measure" if name == "validate" else "compute"]
            task = COMPONENTS[name](**shared, execution=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
            place(task, image, *pool)
            if previous is not None:
                task.after(previous)
            previous = task

    return fulcrum


def compile_ir(tasks: Sequence[str] = ALL_TASKS) -> str:
    """Return the compiled pipeline as YAML, two documents: the pipeline and its platform part."""
    descriptor, name = tempfile.mkstemp(suffix=".yaml")
    os.close(descriptor)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compiler.Compiler().compile(pipeline_of(tasks), name)
        return Path(name).read_text()
    finally:
        os.unlink(name)


def main() -> int:
    """Write the compiled pipeline, or with --check fail where it is stale."""
    parser = argparse.ArgumentParser(description="Compile the pipeline.")
    parser.add_argument("--check", action="store_true", help="fail where the file is stale")
    check = parser.parse_args().check
    compiled = compile_ir()
    if IR_PATH.exists() and IR_PATH.read_text() == compiled:
        return 0
    print(f"{'stale, run make ir' if check else 'written'}: {IR_PATH.name}")
    if not check:
        IR_PATH.parent.mkdir(exist_ok=True)
        IR_PATH.write_text(compiled)
    return int(check)


if __name__ == "__main__":
    sys.exit(main())
