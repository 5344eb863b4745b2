"""The Kubeflow pipeline: the stages in their order, and where each of them runs.

It is compiled once, to `ir/fulcrum.yaml`, which is shipped as data; kfp is needed to compile it and
to run it here, not to submit it. What a stage does is none of its business: each component calls
one function of `fulcrum_components`, and what passes from stage to stage passes through the store.
The artifacts declared here are what a person sees in the Kubeflow UI.

An optional stage is a pipeline of its own with a condition inside, because Kubeflow runs nothing
after a skipped task but does after a pipeline in which everything was skipped. Inside a condition
kfp forgets the parameters that only resources use, hence the argument `resources`. The count of
accelerators is a string: Kubeflow's driver reads whatever goes into a pod as one, and takes a
number for none at all, without a word.
"""
# No `from __future__ import annotations` here: kfp reads the annotations of components.

import argparse
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from kfp import compiler, dsl, kubernetes

IR_PATH = Path(__file__).parent / "ir" / "fulcrum.yaml"
IMAGE = "fulcrum-components"  # a placeholder; the real one is a parameter of the run
STORE_SECRET = "fulcrum-store"
STORE_KEYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_DEFAULT_REGION",
)

component = dsl.component(base_image=IMAGE, install_kfp_package=False)


@component
def evaluate(
    store: str,
    run: str,
    plan: str,
    use_cache: bool,
    resources: str,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
    summary: dsl.Output[dsl.HTML],
) -> None:
    """Measure the baseline on the test data."""
    from fulcrum_components.stages.component import run_stage

    run_stage(
        "evaluate", store, run, plan, use_cache, resources, model, metrics, confusion, summary
    )


@component
def prune(
    store: str,
    run: str,
    plan: str,
    use_cache: bool,
    resources: str,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.HTML],
) -> None:
    """Remove weights."""
    from fulcrum_components.stages.component import run_stage

    run_stage("prune", store, run, plan, use_cache, resources, model, metrics, None, summary)


@component
def finetune(
    store: str,
    run: str,
    plan: str,
    use_cache: bool,
    resources: str,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.HTML],
) -> None:
    """Train what is left."""
    from fulcrum_components.stages.component import run_stage

    run_stage("finetune", store, run, plan, use_cache, resources, model, metrics, None, summary)


@component
def quantize(
    store: str,
    run: str,
    plan: str,
    use_cache: bool,
    resources: str,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.HTML],
) -> None:
    """Replace floating point by integers."""
    from fulcrum_components.stages.component import run_stage

    run_stage("quantize", store, run, plan, use_cache, resources, model, metrics, None, summary)


@component
def validate(
    store: str,
    run: str,
    plan: str,
    use_cache: bool,
    resources: str,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
    summary: dsl.Output[dsl.HTML],
) -> None:
    """Compare the candidate with the baseline."""
    from fulcrum_components.stages.component import run_stage

    run_stage(
        "validate", store, run, plan, use_cache, resources, model, metrics, confusion, summary
    )


def _optional(stage: Any) -> Any:
    """Return a pipeline that runs `stage` where `wanted`, and nothing otherwise."""

    def optional(
        wanted: bool,
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
    ) -> None:
        with dsl.If(wanted == True):  # noqa: E712 - kfp builds the condition from the comparison
            task = stage(
                store=store,
                run=run,
                plan=plan,
                use_cache=use_cache,
                resources=f"{cpu} cpu, {memory} memory, {accelerator_count} {accelerator}",
            )
            place(
                task, image, cpu, memory, accelerator, accelerator_count, node_selector, tolerations
            )

    return dsl.pipeline(name=f"optional-{stage.name}")(optional)


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
    # Where pods have an identity of their own there is no such secret, and none is needed.
    kubernetes.use_secret_as_env(
        task, STORE_SECRET, {name: name for name in STORE_KEYS}, optional=True
    )
    # Kubeflow forbids more privileges and drops capabilities itself; with this a namespace under
    # Pod Security `restricted` takes the pod.
    kubernetes.set_security_context(task, run_as_non_root=True)
    # The store caches by content, and the operator retries by the class of the failure.
    task.set_caching_options(False)
    task.set_retry(0)


optional_prune = _optional(prune)
optional_finetune = _optional(finetune)
optional_quantize = _optional(quantize)


@dsl.pipeline(
    name="fulcrum",
    description="Compress a model and measure whether the result is as good.",
)
def fulcrum(
    store: str,
    run: str,
    plan: str,
    use_cache: bool,
    with_prune: bool,
    with_finetune: bool,
    with_quantize: bool,
    image: str,
    cpu: str,
    memory: str,
    accelerator: str,
    accelerator_count: str,
    node_selector: dict,  # type: ignore[type-arg]
    tolerations: list,  # type: ignore[type-arg]
    measure_cpu: str,
    measure_memory: str,
    measure_accelerator: str,
    measure_accelerator_count: str,
    measure_node_selector: dict,  # type: ignore[type-arg]
    measure_tolerations: list,  # type: ignore[type-arg]
) -> None:
    """Evaluate, then what the recipe has of prune, finetune and quantize, then validate."""
    shared: dict[str, Any] = {"store": store, "run": run, "plan": plan, "use_cache": use_cache}
    compute = (cpu, memory, accelerator, accelerator_count, node_selector, tolerations)
    measuring = (
        measure_cpu,
        measure_memory,
        measure_accelerator,
        measure_accelerator_count,
        measure_node_selector,
        measure_tolerations,
    )
    first = evaluate(**shared, resources=f"{cpu} cpu, {memory} memory")
    place(first, image, *compute)
    previous = first
    for stage, wanted in (
        (optional_prune, with_prune),
        (optional_finetune, with_finetune),
        (optional_quantize, with_quantize),
    ):
        previous = stage(
            wanted=wanted,
            **shared,
            image=image,
            cpu=cpu,
            memory=memory,
            accelerator=accelerator,
            accelerator_count=accelerator_count,
            node_selector=node_selector,
            tolerations=tolerations,
        ).after(previous)
    last = validate(**shared, resources=f"{measure_cpu} cpu, {measure_memory} memory")
    place(last.after(previous), image, *measuring)


def compile_ir() -> str:
    """Return the compiled pipeline as YAML, two documents: the pipeline and its platform part."""
    descriptor, name = tempfile.mkstemp(suffix=".yaml")
    os.close(descriptor)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compiler.Compiler().compile(fulcrum, name)
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
