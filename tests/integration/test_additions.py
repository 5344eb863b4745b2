"""CONTRIBUTING.md's steps to add things, followed in a copy of the tree.

Each addition is its file in `tests/additions` and its row. Two jobs that use all of them then run
in the copy, in one process.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from copied_tree import ADDITIONS, copy_tree, generate_schema, insert, run_jobs
from model_files import write_bundle
from onnx import numpy_helper
from safetensors.numpy import save_file

from fulcrum_pipelines.storage.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LIBRARY = Path("components/fulcrum_components")
CATALOG = Path("pipelines/fulcrum_pipelines/catalog")
CRD = Path("crds/compressionjob.yaml")
Array = np.ndarray[Any, np.dtype[Any]]

INPUTS, CHANNELS, CLASSES = 8, 16, 3
PLACES = 200
"""Each counted twice."""

CLASSIFIER = f"""
from torch import nn


def build():
    hidden, last = nn.Linear({INPUTS}, {CHANNELS}), nn.Linear({CHANNELS}, {CLASSES})
    return nn.Sequential(hidden, nn.ReLU(), last)
"""
COUNTER = f"""
from torch import nn


def build():
    first, last = nn.Linear({INPUTS}, {INPUTS}), nn.Linear({INPUTS}, 1)
    return nn.Sequential(first, last, nn.Softplus())
"""
NTH = """\
                        nth:
                          type: object
                          description: Set each n-th weight to zero.
                          properties:
                            n: {type: integer, description: Which., minimum: 2, default: 2}
                            ignore: *ignore
"""


def add_metric(tree: Path) -> None:
    shutil.copy(ADDITIONS / "cubed_error.py", tree / LIBRARY / "evaluation/metrics")
    row = '    MetricKind("cubedError", "Mean cubed error", "lower"),\n'
    insert(tree / CATALOG / "metrics.py", ")\n\nMETRICS", row)


def add_task(tree: Path) -> None:
    shutil.copy(ADDITIONS / "counting.py", tree / LIBRARY / "tasks")
    metrics = '("rmse", "mae", "cubedError"), ("rmse",), ("rmse",)'
    row = f'    Task("counting", ("value",), {metrics}),\n'
    insert(tree / CATALOG / "tasks.py", ")\n\nTASKS", row)


def add_kind(tree: Path) -> None:
    shutil.copy(ADDITIONS / "drift.py", tree / "pipelines/fulcrum_pipelines/gates")
    fields = '"change either way", "metrics", "metric change", ("max",), names_metric=True'
    row = f'    GateKind("drift", {fields}),\n'
    insert(tree / CATALOG / "gate_kinds.py", ")\n\nGATE_KINDS", row)


def register(tree: Path, package: str, name: str, entry: str, last: str) -> None:
    """Add the file `name` and its row to the registry of `package`, behind the entry `last`."""
    shutil.copy(ADDITIONS / f"{name}.py", tree / LIBRARY / package)
    module = f"fulcrum_components.{package.replace('/', '.')}"
    registry = tree / LIBRARY / package / "__init__.py"
    insert(registry, f"from {module}.definition import", f"from {module}.{name} import {entry}\n")
    insert(registry, f"{last})\n", f"{entry}, ")


def add_criterion(tree: Path) -> None:
    register(tree, "pruning/criteria", "largest_weight", "LARGEST_WEIGHT", "TAYLOR")
    insert(tree / CRD, ", taylor]", ", largestWeight")


def add_pruning_method(tree: Path) -> None:
    register(tree, "pruning/methods", "nth", "NTH", "TRUNCATE")
    insert(tree / CRD, "has(self.structured), has(self.unstr", "has(self.nth), ")
    insert(tree / CRD, " " * 24 + "sensitivity:\n", NTH)


def add_quantization_method(tree: Path) -> None:
    register(tree, "quantization/methods", "powers_of_two", "POWERS_OF_TWO", "WEIGHT_ONLY")
    insert(tree / CRD, ", weightOnly]", ", powersOfTwo")


def write_model(
    directory: Path, code: str, outputs: int, meaning: str, tensors: dict[str, Array]
) -> None:
    manifest = {
        "entryPoint": "model.py:build",
        "weights": "model.safetensors",
        "inputs": [{"name": "x", "shape": ["batch", INPUTS], "dtype": "float32"}],
        "outputs": [{"name": "y", "shape": ["batch", outputs], "dtype": "float32"}],
        "meaning": meaning,
    }
    write_bundle(directory, model_py=code, fulcrum_yaml=json.dumps(manifest))
    save_file(tensors, directory / "model.safetensors")


def zeros(size: int) -> Array:
    return np.zeros(size, np.float32)


def classifying(directory: Path) -> dict[str, Any]:
    """Write a classifier and its data, and return a job that prunes and quantizes it.

    By their norms the last hidden channels matter least, by their largest weights the first ones.
    """
    random, place = np.random.default_rng(0), np.arange(CHANNELS)
    hidden = np.tile((0.9 - 0.05 * place)[:, None], INPUTS).astype(np.float32)
    hidden[:, 0] = 1 + 0.02 * place
    last = random.normal(size=(CLASSES, CHANNELS)).astype(np.float32)
    biases = {"0.bias": zeros(CHANNELS), "2.bias": zeros(CLASSES)}
    tensors = {"0.weight": hidden, "2.weight": last} | biases
    write_model(directory / "classifier", CLASSIFIER, CLASSES, "logits", tensors)
    x = random.normal(size=(200, INPUTS)).astype(np.float32)
    given = (np.maximum(x @ hidden.T, 0) @ last.T).argmax(axis=1)
    one_in_five_is_wrong = np.arange(len(x)) % 5 == 0
    np.savez(directory / "classes.npz", x=x, y=(given + one_in_five_is_wrong) % CLASSES)
    structured = {"sparsity": 0.5, "round": 1, "importance": "largestWeight"}
    return {
        "model": {"uri": "classifier"},
        "data": {"task": "classification", "test": {"uri": "classes.npz"}},
        "recipe": {"prune": {"structured": structured}, "quantize": {"method": "powersOfTwo"}},
        "gates": [{"name": "size", "kind": "size", "max": 2}],
    }


def counting(directory: Path) -> dict[str, Any]:
    """Write a model of counts and its data, and return a job that prunes and trains it."""
    random = np.random.default_rng(0)
    first, last = (random.normal(size=(n, INPUTS)).astype(np.float32) for n in (INPUTS, 1))
    first /= 3
    first[:, 0] = 1e-3  # those that go
    tensors = {
        "0.weight": first,
        "0.bias": zeros(INPUTS),
        "1.weight": last,
        "1.bias": zeros(1) + 4,
    }
    write_model(directory / "counter", COUNTER, 1, "value", tensors)
    for name in ("train", "counts"):
        x = random.normal(size=(2 * PLACES, INPUTS)).astype(np.float32)
        means = np.logaddexp(0, x @ (last @ first)[0] + 4)
        site = np.arange(2 * PLACES) // 2 % 2
        np.savez(directory / f"{name}.npz", x=x, y=random.poisson(means), mean=means, site=site)
    return {
        "model": {"uri": "counter"},
        "data": {
            "task": "counting",
            "train": {"uri": "train.npz"},
            "test": {"uri": "counts.npz"},
            "slices": [{"name": "site", "column": "site"}],
        },
        "recipe": {
            "prune": {"nth": {"n": INPUTS}},
            "finetune": {"epochs": 1, "learningRate": 1e-5},
        },
        "gates": [
            {"name": "cubed", "kind": "nonInferiority", "metric": "cubedError", "margin": 20},
            {
                "name": "drift",
                "kind": "drift",
                "metric": "cubedError",
                "max": 20,
                "confidence": 0.9,
            },
            {
                "name": "site",
                "kind": "drift",
                "metric": "rmse",
                "max": 1,
                "slices": [{"by": "site"}],
            },
        ],
    }


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("additions")


@pytest.fixture(scope="module")
def jobs(directory: Path) -> list[dict[str, Any]]:
    """Run both jobs in a tree with all additions, and return how they ended."""
    tree = copy_tree(directory / "tree")
    for add in (add_metric, add_task, add_kind):
        add(tree)
    for add in (add_criterion, add_pruning_method, add_quantization_method):
        add(tree)
    generate_schema(tree)
    return run_jobs(tree, directory, classifying(directory), counting(directory))


def stages_of(result: dict[str, Any]) -> dict[str, Any]:
    """Return what the job recorded of each stage."""
    assert result["evidence"], result["said"]
    stages = json.loads(Path(result["evidence"]).read_text())["stages"]
    return {each["stage"]: each for each in stages}


def output_of(stage: dict[str, Any], name: str, directory: Path) -> Path:
    """Return a copy of the file `name` that a stage left in the store in `directory`."""
    (digest,) = [each["digest"] for each in stage["outputs"] if each["name"] == name]
    return Store(str(directory / "store")).get(digest, directory / name)


def test_added_criterion_ranks_channels(jobs: list[dict[str, Any]], directory: Path) -> None:
    structure = output_of(stages_of(jobs[0])["prune"], "structure.json", directory)
    history = json.loads(structure.read_text())["history"]
    assert history["removals"] == [{"layer": "0", "channels": list(range(CHANNELS // 2))}]


def test_added_quantization_method_writes_its_model(
    jobs: list[dict[str, Any]], directory: Path
) -> None:
    stage = stages_of(jobs[0])["quantize"]
    model = onnx.load(str(output_of(stage, "model.onnx", directory)))
    arrays = [numpy_helper.to_array(each) for each in model.graph.initializer]
    exponents = [np.log2(np.abs(each)) for each in arrays if each.ndim == 2]
    assert len(exponents) == 2
    assert all(np.array_equal(each, np.rint(each)) for each in exponents)
    assert stage["details"]["chosen"] == "powers-of-two"


def test_added_pruning_method_sets_weights_to_zero(jobs: list[dict[str, Any]]) -> None:
    details = stages_of(jobs[1])["prune"]["details"]
    assert (details["method"], details["achieved_sparsity"]) == ("nth", 1 / INPUTS)


def test_added_metric_and_kind_decide_and_are_reported(jobs: list[dict[str, Any]]) -> None:
    assert jobs[1]["outcome"] == "Pass", jobs[1]["said"]
    report = Path(jobs[1]["report"]).read_text()
    assert "Mean cubed error" in report
    assert "drift of mean cubed error" in report
    assert "drift of rmse on site=1" in report


def test_added_task_is_trained_by_its_loss_and_decided_on_its_units(
    jobs: list[dict[str, Any]], directory: Path
) -> None:
    stages = stages_of(jobs[1])
    (epoch,) = stages["finetune"]["details"]["epochs"]
    train = np.load(directory / "train.npz")
    counts, means = train["y"].astype(float), train["mean"]
    logs = np.log(np.where(counts > 0, counts, 1) / means)
    deviance = float((2 * (counts * logs - (counts - means))).mean())
    assert epoch["train_loss"] == pytest.approx(deviance, rel=0.02)
    comparisons = stages["validate"]["details"]["comparisons"]
    whole = {each["metric"]: each["groups"] for each in comparisons if each["slice"] == "all"}
    assert whole == dict.fromkeys(("rmse", "mae", "cubedError"), PLACES)
