"""CONTRIBUTING.md's steps to add what prunes and quantizes, followed in a copy of the tree.

Jobs that use a new criterion, a new pruning method and a new quantization method then run there.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from copied_tree import ADDITIONS, change_schema, copy_tree, insert, run_jobs
from model_files import write_bundle
from onnx import numpy_helper
from safetensors.torch import save_file

from fulcrum_pipelines.storage.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LIBRARY = Path("components/fulcrum_components")
CRITERIA, METHODS = LIBRARY / "pruning/criteria", LIBRARY / "pruning/methods"
QUANTIZATION = LIBRARY / "quantization/methods"
INPUTS, CHANNELS, CLASSES = 8, 16, 3
CODE = f"""
from torch import nn


def build():
    hidden, last = nn.Linear({INPUTS}, {CHANNELS}), nn.Linear({CHANNELS}, {CLASSES})
    return nn.Sequential(hidden, nn.ReLU(), last)
"""
MANIFEST = f"""
entryPoint: model.py:build
weights: model.safetensors
inputs:
  - {{name: x, shape: [batch, {INPUTS}], dtype: float32}}
outputs:
  - {{name: scores, shape: [batch, {CLASSES}], dtype: float32}}
meaning: logits
"""


def register(tree: Path, package: Path, name: str, entry: str, last: str) -> None:
    """Add the file `name` and its row to the registry of `package`, behind the entry `last`."""
    shutil.copy(ADDITIONS / f"{name}.py", tree / package)
    module = ".".join(package.relative_to("components").parts)
    registry = tree / package / "__init__.py"
    first = f"from {module}.definition import"
    insert(registry, first, f"from {module}.{name} import {entry}\n")
    insert(registry, f"{last})\n", f"{entry}, ")


def add_to_schema(schema: dict[str, Any]) -> None:
    """Append the names to the enums; a pruning method has options, and is one of a choice."""
    recipe = schema["properties"]["recipe"]["properties"]
    prune = recipe["prune"]["properties"]
    prune["structured"]["properties"]["importance"]["enum"].append("largestWeight")
    recipe["quantize"]["properties"]["method"]["enum"].append("powersOfTwo")
    for rule in recipe["prune"]["x-kubernetes-validations"]:
        rule["rule"] = rule["rule"].replace("[has(self", "[has(self.nth), has(self", 1)
    prune["nth"] = {
        "type": "object",
        "description": "Set each n-th weight to zero.",
        "properties": {
            "n": {"type": "integer", "description": "Which.", "minimum": 2, "default": 2},
            "ignore": prune["truncate"]["properties"]["ignore"],
        },
    }


def write_files(directory: Path) -> None:
    """Write a model and test data.

    By their norms the last hidden channels matter least, by their largest weights the first ones.
    """
    write_bundle(directory / "model", model_py=CODE, fulcrum_yaml=MANIFEST)
    torch.manual_seed(0)
    place = torch.arange(CHANNELS)
    hidden = (0.9 - 0.05 * place)[:, None].repeat(1, INPUTS)
    hidden[:, 0] = 1 + 0.02 * place
    tensors = {"0.weight": hidden, "2.weight": torch.randn(CLASSES, CHANNELS)}
    biases = {"0.bias": torch.zeros(CHANNELS), "2.bias": torch.zeros(CLASSES)}
    save_file(tensors | biases, directory / "model" / "model.safetensors")
    random = np.random.default_rng(0)
    x = random.normal(size=(200, INPUTS)).astype(np.float32)
    np.savez(directory / "test.npz", x=x, y=answers(tensors, x))


def answers(tensors: dict[str, torch.Tensor], x: np.ndarray) -> np.ndarray:
    """Return the classes that the model gives, but for each fifth example the next one."""
    hidden = np.maximum(x @ tensors["0.weight"].numpy().T, 0)
    classes = (hidden @ tensors["2.weight"].numpy().T).argmax(axis=1)
    return (classes + (np.arange(len(x)) % 5 == 0)) % CLASSES


def specification(**recipe: Any) -> dict[str, Any]:
    return {
        "model": {"uri": "model"},
        "data": {"task": "classification", "test": {"uri": "test.npz"}},
        "recipe": recipe,
        "gates": [{"name": "size", "kind": "size", "max": 2}],
    }


def stages_of(result: dict[str, Any]) -> dict[str, Any]:
    """Return what the job recorded of each stage."""
    assert result["evidence"], result["said"]
    stages = json.loads(Path(result["evidence"]).read_text())["stages"]
    return {each["stage"]: each for each in stages}


def output_of(stage: dict[str, Any], name: str, directory: Path) -> Path:
    """Return a copy of the file `name` that a stage left in the store in `directory`."""
    (digest,) = [each["digest"] for each in stage["outputs"] if each["name"] == name]
    return Store(str(directory / "store")).get(digest, directory / name)


def test_criterion_and_methods_are_one_file_and_one_row_each(tmp_path: Path) -> None:
    tree = copy_tree(tmp_path / "tree")
    register(tree, CRITERIA, "largest_weight", "LARGEST_WEIGHT", "TAYLOR")
    register(tree, METHODS, "nth", "NTH", "TRUNCATE")
    register(tree, QUANTIZATION, "powers_of_two", "POWERS_OF_TWO", "WEIGHT_ONLY")
    change_schema(tree, add_to_schema)
    write_files(tmp_path)

    structured = {"sparsity": 0.5, "round": 1, "importance": "largestWeight"}
    by_channels, by_weights = run_jobs(
        tree,
        tmp_path,
        specification(prune={"structured": structured}, quantize={"method": "powersOfTwo"}),
        specification(prune={"nth": {"n": 4}}),
    )

    stages = stages_of(by_channels)
    history = json.loads(output_of(stages["prune"], "structure.json", tmp_path).read_text())[
        "history"
    ]
    assert history["removals"] == [{"layer": "0", "channels": list(range(CHANNELS // 2))}]
    model = onnx.load(str(output_of(stages["quantize"], "model.onnx", tmp_path)))
    arrays = [numpy_helper.to_array(each) for each in model.graph.initializer]
    exponents = [np.log2(np.abs(each)) for each in arrays if each.ndim == 2]
    assert len(exponents) == 2
    assert all(np.array_equal(each, np.rint(each)) for each in exponents)
    assert stages["quantize"]["details"]["chosen"] == "powers-of-two"

    details = stages_of(by_weights)["prune"]["details"]
    assert (details["method"], details["achieved_sparsity"]) == ("nth", 0.25)
