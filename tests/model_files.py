"""Writes small models and data sets as users would, for tests that then spoil them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import nn

from fulcrum_components.models.signature import Signature, TensorSpec

FEATURES, CLASSES = 4, 3

MODEL_CODE = """
import torch

from layers import Net


def build(classes: int = 3) -> torch.nn.Module:
    return Net(classes)
"""

LAYERS_CODE = """
import torch


class Net(torch.nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)
"""

MANIFEST = """
entryPoint: model.py:build
arguments: {classes: 3}
weights: model.safetensors
inputs:
  - {name: x, shape: [batch, 4], dtype: float32}
outputs:
  - {name: scores, shape: [batch, 3], dtype: float32}
meaning: logits
"""

SIGNATURE = Signature(
    (TensorSpec("x", ("batch", FEATURES), "float32"),),
    (TensorSpec("scores", ("batch", CLASSES), "float32"),),
    "logits",
)


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    """Return the weights of `LAYERS_CODE`'s module."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "linear.weight": torch.randn(CLASSES, FEATURES, generator=generator),
        "linear.bias": torch.randn(CLASSES, generator=generator),
    }


def write_bundle(directory: Path, **files: str) -> Path:
    """Write a sound bundle, with `files` (`model_py=...` for `model.py`) as replacements."""
    directory.mkdir(parents=True, exist_ok=True)
    own = {"model_py": MODEL_CODE, "layers_py": LAYERS_CODE, "fulcrum_yaml": MANIFEST}
    for name, text in (own | files).items():
        stem, _, ending = name.rpartition("_")
        (directory / f"{stem}.{ending}").write_text(text, "utf-8")
    save_file(weights(), directory / "model.safetensors")
    return directory


def onnx_model(batch: str | int = "batch", opset: int = 20) -> onnx.ModelProto:
    """Return a linear classifier as ONNX."""
    values = weights()
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "weight", "bias"], ["scores"], transB=1)],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, FEATURES])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, CLASSES])],
        [
            numpy_helper.from_array(values["linear.weight"].numpy(), "weight"),
            numpy_helper.from_array(values["linear.bias"].numpy(), "bias"),
        ],
    )
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def write_pt2(path: Path, *, dynamic: bool = True) -> Path:
    """Write a linear classifier as a program of torch.export."""
    path.write_bytes(_exported(dynamic))
    return path


@cache
def _exported(dynamic: bool) -> bytes:
    module = nn.Sequential(nn.Linear(FEATURES, CLASSES)).eval()
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    program = torch.export.export(module, (torch.randn(2, FEATURES),), dynamic_shapes=shapes)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def rewrite_zip(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Let `change` edit the members of the zip file `path` by their names."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def edit_json(members: dict[str, bytes], ending: str, change: Callable[[Any], None]) -> None:
    """Let `change` edit the JSON of the member whose name ends so."""
    (name,) = [name for name in members if name.endswith(ending)]
    value = json.loads(members[name])
    change(value)
    members[name] = json.dumps(value).encode()


def examples(count: int = 12, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Return arrays `x` and `y` that fit `SIGNATURE`."""
    generator = np.random.default_rng(seed)
    return {
        "x": generator.normal(size=(count, FEATURES)).astype(np.float32),
        "y": np.arange(count) % CLASSES,
    }
