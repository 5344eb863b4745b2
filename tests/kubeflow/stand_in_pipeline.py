"""The stand-in as a Kubeflow pipeline, for a real server: one pod that does what `stand_in` does.

It takes the parameters of the shipped pipeline, so the engine sees no difference.
The components' image has all that it needs but for some modules of the tests, which travel along.
"""
# No `from __future__ import annotations` here: kfp reads the annotations of components.

import base64
import io
import warnings
import zipfile
from pathlib import Path

from kfp import compiler, dsl

from fulcrum_pipelines.definition import place

TESTS = Path(__file__).parents[1]
BOOT = """
import base64, io, sys, tempfile, time, zipfile
folder = tempfile.mkdtemp()
zipfile.ZipFile(io.BytesIO(base64.b64decode(sys.argv[1]))).extractall(folder)
sys.path.insert(0, folder)
import stand_in
from fulcrum_pipelines.storage.store import Store
store = Store(sys.argv[2])
plan = store.plan(sys.argv[3])
ended = stand_in.work(store, plan)
while not ended:
    time.sleep(1)
sys.exit(int(stand_in.behaviour_of(plan) in ("fail", "broken")))
"""


def modules() -> str:
    """Return the modules that travel along, as a zip in base64."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in (*sorted(TESTS.glob("builders/*.py")), TESTS / "stand_in.py"):
            name = str(path.relative_to(TESTS))
            archive.writestr(zipfile.ZipInfo(name), path.read_text())
    return base64.b64encode(buffer.getvalue()).decode()


@dsl.container_component
def step(store: str, plan: str):  # type: ignore[no-untyped-def]
    """Do what the plan's name says."""
    return dsl.ContainerSpec(
        image="fulcrum-components",
        command=["python3", "-c", BOOT],
        args=[modules(), store, plan],
    )


@dsl.pipeline(name="fulcrum-stand-in")
def stand_in_pipeline(
    store: str,
    run: str,
    plan: str,
    use_cache: bool,
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
    """One step, placed as the shipped pipeline places its own."""
    place(
        step(store=store, plan=plan),
        image,
        cpu,
        memory,
        accelerator,
        accelerator_count,
        node_selector,
        tolerations,
    )


def compile_to(path: Path) -> Path:
    """Compile the pipeline to the file `path` and return it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiler.Compiler().compile(stand_in_pipeline, str(path))
    return path
