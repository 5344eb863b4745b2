"""CONTRIBUTING.md's steps to add a metric and a kind of gate, followed in a copy of the tree.

The copy then runs a job whose gates use both, without a change to any other file.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from onnx.helper import make_node
from outcome_makers import save_graph

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
FILES = ROOT / "tests" / "additions"
CATALOG = Path("pipelines/fulcrum_pipelines/catalog")
PACKAGES = ("pipelines", "operator", "components")
GATES = (
    {"name": "cubed", "kind": "nonInferiority", "metric": "cubedError", "margin": 20},
    {"name": "drift", "kind": "drift", "metric": "cubedError", "max": 20, "confidence": 0.9},
    {"name": "site", "kind": "drift", "metric": "rmse", "max": 1, "slices": [{"by": "site"}]},
)
RUN = """
import json, sys
from pathlib import Path
from one_process import fulcrum_run, write_job
ended = fulcrum_run(write_job(Path(sys.argv[1]), **json.loads(sys.argv[2])))
print(json.dumps({"said": ended.said, **ended.result}))
"""


def insert(path: Path, before: str, text: str) -> None:
    """Write `text` in front of `before`, which stands in the file once."""
    source = path.read_text()
    assert source.count(before) == 1, (path, before)
    path.write_text(source.replace(before, text + before))


def add_metric(tree: Path) -> None:
    shutil.copy(FILES / "cubed_error.py", tree / "components/fulcrum_components/evaluation/metrics")
    row = '    MetricKind("cubedError", "Mean cubed error", "lower"),\n'
    insert(tree / CATALOG / "metrics.py", ")\n\nMETRICS", row)
    insert(tree / CATALOG / "tasks.py", '"r2", "mse")', '"cubedError", ')


def add_kind(tree: Path) -> None:
    shutil.copy(FILES / "drift.py", tree / "operator/fulcrum_operator/gates")
    row = '    GateKind("drift", "metrics", "metric change", ("max",), names_metric=True),\n'
    insert(tree / CATALOG / "gate_kinds.py", ")\n\nGATE_KINDS", row)


def add_to_schema(tree: Path) -> None:
    """Append both to the enums, and to each list of a rule in which their likes stand."""
    path = tree / "crds" / "compressionjob.yaml"
    crd = yaml.safe_load(path.read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    gate = schema["properties"]["gates"]["items"]
    gate["properties"]["metric"]["enum"].append("cubedError")
    gate["properties"]["kind"]["enum"].append("drift")
    for rule in (*schema["x-kubernetes-validations"], *gate["x-kubernetes-validations"]):
        text = rule["rule"].replace("'mae'", "'mae', 'cubedError'")
        text = text.replace("'change'", "'change', 'drift'")
        rule["rule"] = text.replace("['size', 'memory'", "['drift', 'size', 'memory'")
    path.write_text(yaml.safe_dump(crd, sort_keys=False, width=10_000))


def python(tree: Path, *arguments: str | Path) -> str:
    """Run Python on the packages in `tree`, and return what it printed."""
    paths = [*(str(tree / package) for package in PACKAGES), str(ROOT / "tests")]
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


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
    tree = tmp_path / "tree"
    for folder in (*PACKAGES, "crds"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    add_metric(tree)
    add_kind(tree)
    add_to_schema(tree)
    python(tree, tree / "crds" / "generate_types.py")
    job = json.dumps(specification(tmp_path))
    result = json.loads(python(tree, "-c", RUN, tmp_path, job).splitlines()[-1])
    assert result["outcome"] == "Pass", result["said"]
    report = Path(result["report"]).read_text()
    assert "Mean cubed error" in report
    assert "drift of mean cubed error" in report
    assert "drift of rmse on site=1" in report
