"""CONTRIBUTING.md's steps to add a metric and a kind of gate, followed in a copy of the tree.

The copy then runs a job whose gates use both, without a change to any other file.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from copied_tree import ADDITIONS, change_schema, copy_tree, insert, run_jobs
from onnx.helper import make_node
from outcome_makers import save_graph

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

METRICS = Path("components/fulcrum_components/evaluation/metrics")
CATALOG = Path("pipelines/fulcrum_pipelines/catalog")
GATES = (
    {"name": "cubed", "kind": "nonInferiority", "metric": "cubedError", "margin": 20},
    {"name": "drift", "kind": "drift", "metric": "cubedError", "max": 20, "confidence": 0.9},
    {"name": "site", "kind": "drift", "metric": "rmse", "max": 1, "slices": [{"by": "site"}]},
)


def add_metric(tree: Path) -> None:
    shutil.copy(ADDITIONS / "cubed_error.py", tree / METRICS)
    row = '    MetricKind("cubedError", "Mean cubed error", "lower"),\n'
    insert(tree / CATALOG / "metrics.py", ")\n\nMETRICS", row)
    insert(tree / CATALOG / "tasks.py", '"r2", "mse")', '"cubedError", ')


def add_kind(tree: Path) -> None:
    shutil.copy(ADDITIONS / "drift.py", tree / "pipelines/fulcrum_pipelines/gates")
    row = '    GateKind("drift", "metrics", "metric change", ("max",), names_metric=True),\n'
    insert(tree / CATALOG / "gate_kinds.py", ")\n\nGATE_KINDS", row)


def add_to_schema(schema: dict[str, Any]) -> None:
    """Append both to the enums, and to each rule that lists metrics or kinds."""
    gate = schema["properties"]["gates"]["items"]
    gate["properties"]["metric"]["enum"].append("cubedError")
    gate["properties"]["kind"]["enum"].append("drift")
    for rule in (*schema["x-kubernetes-validations"], *gate["x-kubernetes-validations"]):
        text = rule["rule"].replace("'mae'", "'mae', 'cubedError'")
        text = text.replace("'change'", "'change', 'drift'")
        rule["rule"] = text.replace("['size', 'memory'", "['drift', 'size', 'memory'")


def specification(directory: Path) -> dict[str, Any]:
    """Write a model and test data, and return a job that quantizes it."""
    random = np.random.default_rng(0)
    weight = random.normal(size=(16, 1)).astype(np.float32)
    node = [make_node("MatMul", ["x", "weight"], ["y"])]
    save_graph(directory / "model.onnx", node, ("batch", 16), ("batch", 1), {"weight": weight})
    x = random.normal(size=(400, 16)).astype(np.float32)
    y = x @ weight + 0.5 * random.normal(size=(400, 1))
    np.savez(directory / "test.npz", x=x, y=y, site=np.arange(400) % 2)
    return {
        "model": {"uri": "model.onnx"},
        "data": {
            "task": "regression",
            "test": {"uri": "test.npz"},
            "slices": [{"name": "site", "column": "site"}],
        },
        "recipe": {"quantize": {"method": "dynamic"}},
        "gates": list(GATES),
    }


def test_metric_and_kind_are_one_file_and_one_row_each(tmp_path: Path) -> None:
    tree = copy_tree(tmp_path / "tree")
    add_metric(tree)
    add_kind(tree)
    change_schema(tree, add_to_schema)
    (result,) = run_jobs(tree, tmp_path, specification(tmp_path))
    assert result["outcome"] == "Pass", result["said"]
    report = Path(result["report"]).read_text()
    assert "Mean cubed error" in report
    assert "drift of mean cubed error" in report
    assert "drift of rmse on site=1" in report
