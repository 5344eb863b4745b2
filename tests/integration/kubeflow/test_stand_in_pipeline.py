"""The pipeline for real servers does in a separate process what runs over the stand-in do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubeflow.digits import digits_plan
from kubeflow.driver import Pipeline
from kubeflow.stand_in_pipeline import compile_to
from stand_in import stand_in_plan

from fulcrum_components.stages.access import access_of, named_urls
from fulcrum_operator.engines.kubeflow.parameters import parameters
from fulcrum_operator.engines.placement import Placement
from fulcrum_operator.settings.pools import Pool
from fulcrum_pipelines.runner.results import ended_status
from fulcrum_pipelines.storage.store import Store


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The pipeline, compiled."""
    path = compile_to(tmp_path_factory.mktemp("compiled") / "pipeline.yaml")
    return list(yaml.safe_load_all(path.read_text()))


def command_of(compiled: list[dict[str, Any]], **values: str) -> list[str]:
    """Return what its pod runs."""
    (executor,) = compiled[0]["deploymentSpec"]["executors"].values()
    container = executor["container"]
    words = [*container["command"], *container["args"]]
    for name, value in values.items():
        words = [word.replace(f"{{{{$.inputs.parameters['{name}']}}}}", value) for word in words]
    return [sys.executable, *words[1:]]


@pytest.mark.parametrize(
    ("behaviour", "exit_code", "state", "reason"),
    [
        ("succeed", 0, "Succeeded", ""),
        ("fail", 1, "Failed", "StageFailed"),
        ("no-evidence", 0, "Failed", "NoEvidence"),
    ],
)
def test_pod_does_what_the_plan_says(
    behaviour: str,
    exit_code: int,
    state: str,
    reason: str,
    compiled: list[dict[str, Any]],
    store: Store,
    tmp_path: Path,
) -> None:
    plan = stand_in_plan(behaviour)
    digest = store.put_record(plan)
    command = command_of(compiled, store=store.url, plan=digest)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == exit_code
    status = ended_status(store, plan, digest, cancelled=False)
    assert (status.state, status.reason) == (state, reason)


def test_inputs_of_the_real_job_are_not_inside_its_store(tmp_path: Path) -> None:
    """A stage may not read them there, and only a real bucket would show it."""
    store = Store(f"memory://{tmp_path.name}/store")
    plan = digits_plan(store, tmp_path)
    named = [url.removeprefix("memory://") for url in named_urls(plan)]
    assert len(named) == 4
    rights = access_of(plan, "evaluate", store.url.removeprefix("memory://"), named)
    assert all(rights.may_read(url) for url in named)


def test_it_takes_the_parameters_of_the_shipped_pipeline(compiled: list[dict[str, Any]]) -> None:
    plan = stand_in_plan("succeed")
    pool = Pool(node_selector={"pool": "a"}, accelerator_count=1)
    given = parameters(plan, Placement(pool, pool), store="s3://b", plan_digest="d", image="i")
    (pod,) = Pipeline(*compiled).pods(given).values()
    assert (pod.image, pod.node_selector) == ("i", {"pool": "a"})
    assert pod.limits == {"cpu": "2", "memory": "8Gi", "nvidia.com/gpu": "1"}
