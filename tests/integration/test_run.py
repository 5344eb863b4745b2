"""`fulcrum run` as a user calls it: a process, a manifest, real stages.

One job runs in full; what can take its stages from the cache does, and what must fail does so in
the first stage, since a stage costs seconds of importing torch.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from safetensors.numpy import save_file

from fulcrum_components.environment import has_gpu
from fulcrum_operator.engines.process_tree import MARK

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FEATURES, CLASSES = 16, 4
MODEL = f"""
import torch


def build() -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Linear({FEATURES}, {2 * CLASSES}),
        torch.nn.ReLU(),
        torch.nn.Linear({2 * CLASSES}, {CLASSES}),
    )
"""
BUNDLE = {
    "entryPoint": "model.py:build",
    "weights": "model.safetensors",
    "inputs": [{"name": "x", "shape": ["batch", FEATURES]}],
    "outputs": [{"name": "logits", "shape": ["batch", CLASSES]}],
    "meaning": "logits",
}
DATA_CODE = """
import os
import time


def broken():
    raise KeyError("no such sensor")


def endless():
    time.sleep(600)


def ending():
    os._exit(0)
"""
ACCURACY = {"name": "accuracy", "kind": "nonInferiority", "metric": "accuracy", "margin": 0.05}


@dataclass(frozen=True)
class Project:
    """A directory with a model, data and manifests, in which `fulcrum` is called."""

    directory: Path

    def manifest(self, name: str, **changes: Any) -> Path:
        """Write a manifest; `changes` replace fields of the specification."""
        spec = {
            "model": {"uri": "model"},
            "data": {
                "task": "classification",
                **{part: {"uri": f"{part}.npz"} for part in ("train", "validation", "test")},
            },
            "recipe": {"finetune": {"epochs": 1}, "quantize": {"method": "dynamic"}},
            "gates": [ACCURACY],
            "measure": {"batchSizes": [1], "pairs": 200},
            "backoffLimit": 0,
        }
        job = {
            "apiVersion": "fulcrum.dev/v1alpha1",
            "kind": "CompressionJob",
            "metadata": {"name": "mlp"},
            "spec": spec | changes,
        }
        path = self.directory / f"{name}.yaml"
        path.write_text(yaml.safe_dump(job))
        return path

    def start(self, manifest: Path, *arguments: str) -> subprocess.Popen[str]:
        """Start `fulcrum run`."""
        return subprocess.Popen(
            [sys.executable, "-m", "fulcrum_operator.cli.main", "run", manifest.name, *arguments],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, manifest: Path, *arguments: str) -> Ended:
        """Call `fulcrum run` and wait for its end."""
        with self.start(manifest, *arguments) as process:
            out, err = process.communicate()
        assert "Traceback" not in out + err
        return Ended(process.returncode, out, err)

    def fails(self, name: str, function: str, **changes: Any) -> Path:
        """Write a manifest whose training data come from `function`, which gives none."""
        (self.directory / "data.py").write_text(DATA_CODE)
        source = {"uri": "data.py", "format": "python", "function": function}
        data = {"task": "classification", "test": source, "train": source, "validation": source}
        return self.manifest(name, data=data, **changes)


@dataclass(frozen=True)
class Ended:
    """How a call ended."""

    exit_code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """What `--output json` printed."""
        value: dict[str, Any] = json.loads(self.out)
        return value


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A linear classifier written as a network, and data of which it gets some wrong."""
    directory = tmp_path_factory.mktemp("project")
    random = np.random.default_rng(7)
    weight = random.normal(size=(CLASSES, FEATURES)).astype(np.float32)
    identity = np.eye(CLASSES, dtype=np.float32)
    bundle = directory / "model"
    bundle.mkdir()
    tensors = {
        "0.weight": np.concatenate([weight, -weight]),
        "0.bias": np.zeros(2 * CLASSES, np.float32),
        "2.weight": np.concatenate([identity, -identity], axis=1),
        "2.bias": np.zeros(CLASSES, np.float32),
    }
    save_file(tensors, bundle / "model.safetensors")
    (bundle / "model.py").write_text(MODEL)
    (bundle / "fulcrum.yaml").write_text(yaml.safe_dump(BUNDLE))
    for part, count in (("train", 512), ("validation", 256), ("test", 1000)):
        x = random.normal(size=(count, FEATURES)).astype(np.float32)
        noise = random.normal(size=(count, CLASSES))
        np.savez(directory / f"{part}.npz", x=x, y=(x @ weight.T + noise).argmax(axis=1))
    return Project(directory)


@pytest.fixture(scope="module")
def passed(project: Project) -> Ended:
    """The job that runs in full."""
    return project.run(project.manifest("job"), "--output", "json")


@pytest.fixture
def running(project: Project) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that a test starts; those that it leaves are killed."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def processes_of(project: Project) -> list[int]:
    """Return the ids of all processes of runs that were started in the project's directory."""
    found = []
    for process in psutil.process_iter():
        try:
            if MARK in process.environ() and process.cwd() == str(project.directory):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    """Read what `process` says until it says `text`."""
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    pytest.fail(f"it ended without saying {text!r}")


def test_good_candidate_passes(passed: Ended, project: Project) -> None:
    assert passed.exit_code == 0, passed.err
    result = passed.document
    assert result["outcome"] == "Pass"
    assert result["verdict"]["outcome"] == "Pass"
    assert [stage["stage"] for stage in result["stages"]] == [
        "evaluate",
        "finetune",
        "quantize",
        "validate",
    ]
    assert not any(stage["cached"] for stage in result["stages"])
    assert Path(result["candidate"]["path"]).stat().st_size == result["candidate"]["size_bytes"]
    assert Path(result["report"]).is_file()
    assert Path(result["evidence"]).is_file()
    assert result["peak_memory_bytes"] > 0
    assert "evaluate succeeded in" in passed.err


def test_other_gates_reject_the_same_candidate_without_making_it_again(
    passed: Ended, project: Project
) -> None:
    gates = [ACCURACY, {"name": "tiny", "kind": "size", "max": 0.01}]
    rejected = project.run(project.manifest("rejected", gates=gates))
    assert rejected.exit_code == 3, rejected.err
    assert "tiny" in rejected.out
    assert "candidate.onnx" in rejected.out
    for stage in ("finetune", "quantize"):
        assert f"{stage} cached in" in rejected.err


def test_remeasure_repeats_what_is_timed_alone(passed: Ended, project: Project) -> None:
    again = project.run(project.manifest("job"), "--remeasure", "--output", "json", "--quiet")
    cached = {stage["stage"]: stage["cached"] for stage in again.document["stages"]}
    assert cached == {"evaluate": True, "finetune": True, "quantize": True, "validate": False}
    assert again.document["candidate"] == passed.document["candidate"]


def test_repeated_run_keeps_who_measured_and_when(passed: Ended, project: Project) -> None:
    """A run is called by its job's content, so a repeated one replaces its own evidence.

    A timing that the machine made unreliable is repeated, and then is the second run's own.
    """

    def origins(path: str) -> dict[str, tuple[str, str]]:
        stages = json.loads(Path(path).read_text())["stages"]
        works = {stage["stage"]: stage["origin"] or stage for stage in stages}
        return {name: (work["run"], work["started_at"]) for name, work in works.items()}

    before = origins(passed.document["evidence"])
    again = project.run(project.manifest("job"), "--output", "json", "--quiet")
    assert again.document["evidence"] == passed.document["evidence"]
    cached = {stage["stage"] for stage in again.document["stages"] if stage["cached"]}
    assert before.keys() - cached <= {"quantize", "validate"}
    after = origins(again.document["evidence"])
    assert {name: after[name] for name in cached} == {name: before[name] for name in cached}


def test_too_few_examples_are_inconclusive(passed: Ended, project: Project) -> None:
    gates = [ACCURACY | {"minSamples": 100_000}]
    manifest = project.manifest("undecided", gates=gates)
    undecided = project.run(manifest, "--output", "json", "--quiet")
    assert undecided.exit_code == 4, undecided.err
    assert undecided.document["outcome"] == "Inconclusive"
    assert undecided.document["candidate"]["digest"] == passed.document["candidate"]["digest"]
    assert "succeeded" not in undecided.err


@pytest.mark.parametrize(
    ("function", "message", "failure_class"),
    [
        pytest.param("broken", "no such sensor", "user", id="user code raises"),
        pytest.param("ending", "must not end the process", "user", id="user code exits with 0"),
        pytest.param("endless", "spec.stageDeadlineSeconds.evaluate", "deadline", id="it hangs"),
    ],
)
def test_failed_stage_is_named_with_the_reason(
    project: Project, function: str, message: str, failure_class: str
) -> None:
    deadlines = {"evaluate": 5} if function == "endless" else {"evaluate": 500}
    manifest = project.fails(function, function, stageDeadlineSeconds=deadlines)
    failed = project.run(manifest, "--output", "json")
    assert failed.exit_code == 1
    assert "stage evaluate failed after" in failed.err
    assert message in failed.err
    assert failed.document["outcome"] == "Failed"
    (stage,) = failed.document["stages"]
    assert stage["failure_class"] == failure_class
    assert processes_of(project) == []


def test_job_runs_again_after_its_store_was_deleted_and_in_another_one(project: Project) -> None:
    manifest = project.fails("lost", "broken")
    first = project.run(manifest, "--store", "lost-store", "--quiet")
    shutil.rmtree(project.directory / "lost-store")
    again = project.run(manifest, "--store", "lost-store", "--quiet")
    elsewhere = project.run(manifest, "--store", "other-store", "--quiet")
    for ended in (first, again, elsewhere):
        assert (ended.exit_code, "no such sensor" in ended.err) == (1, True), ended.err


def test_ctrl_c_leaves_nothing_behind_and_no_cache_is_used(
    passed: Ended, project: Project, running: list[subprocess.Popen[str]]
) -> None:
    process = project.start(project.manifest("job"), "--no-cache", "--output", "json")
    running.append(process)
    wait_for(process, "evaluate succeeded")
    wait_for(process, "finetune running")
    marked = processes_of(project)
    assert marked
    scratch = {psutil.Process(pid).environ()["TMPDIR"] for pid in marked}
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    result = json.loads(out)
    assert result["outcome"] == "Cancelled"
    assert not any(stage["cached"] for stage in result["stages"])
    assert processes_of(project) == []
    assert [path for path in scratch if Path(path).exists()] == []


def test_run_that_is_going_is_joined_also_after_its_starter_was_killed(
    project: Project, running: list[subprocess.Popen[str]]
) -> None:
    manifest = project.fails("joined", "endless", stageDeadlineSeconds={"evaluate": 500})
    starter = project.start(manifest)
    running.append(starter)
    wait_for(starter, "evaluate running")
    before = sorted(processes_of(project))
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    second, third = project.start(manifest), project.start(manifest)
    running += [second, third]
    for process in (second, third):
        wait_for(process, "is going already")
    assert set(before) & set(processes_of(project))
    second.send_signal(signal.SIGINT)
    assert second.wait(timeout=60) == 130
    _, err = third.communicate(timeout=60)
    assert (third.returncode, "failed (StageFailed): it was cancelled" in err) == (1, True), err
    assert processes_of(project) == []


def test_missing_files_are_named_before_anything_starts(project: Project, tmp_path: Path) -> None:
    manifest = project.manifest("missing", model={"uri": "nowhere.onnx"})
    ended = project.run(manifest, "--store", str(tmp_path / "store"), "--output", "json")
    assert ended.exit_code == 2
    assert "spec.model.uri: no file or directory" in ended.err
    assert ended.document["outcome"] == "Invalid"
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"promotion": {"channel": "production"}},
            "spec.promotion: needs a cluster",
            id="cluster",
        ),
        pytest.param(
            {"recipe": {"device": "cuda", "quantize": {"method": "dynamic"}}},
            "spec.recipe.device: must not be cuda without prune or finetune",
            id="nothing uses CUDA",
        ),
        pytest.param(
            {"recipe": {"retrain": {"epochs": 1}}},
            "spec.recipe.retrain: is not supported yet by this version",
            id="later",
        ),
    ],
)
def test_unsupported_job_is_refused(
    project: Project, changes: dict[str, Any], message: str
) -> None:
    ended = project.run(project.manifest("later", **changes))
    assert ended.exit_code == 2
    assert message in ended.err


@pytest.mark.skipif(has_gpu(), reason="there is a GPU")
def test_cuda_that_is_missing_fails_the_first_stage(project: Project) -> None:
    ended = project.run(
        project.manifest("cuda", recipe={"device": "cuda", "finetune": {"epochs": 1}})
    )
    assert ended.exit_code == 1
    assert "stage evaluate" in ended.err
    assert "spec.recipe.device: is cuda, but torch finds no CUDA device" in ended.err
    assert "use auto or cpu" in ended.err


def test_manifest_that_is_not_there_is_a_usage_error(project: Project) -> None:
    ended = project.run(project.directory / "nowhere.yaml")
    assert ended.exit_code == 2
    assert "nowhere.yaml" in ended.err


def test_store_of_an_unknown_kind_is_named(project: Project) -> None:
    ended = project.run(project.manifest("job"), "--store", "nosuch://bucket")
    assert ended.exit_code == 1
    assert "store nosuch://bucket" in ended.err
