"""Programs of torch.export whose parts have awkward names, or that change their inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fulcrum_components.export import export_onnx
from fulcrum_components.models.loading import load_model

X = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)


class Named(nn.Module):
    """A layer, a parameter or a buffer of any name before another layer."""

    def __init__(self, name: str, kind: str) -> None:
        super().__init__()
        self.name, self.kind = name, kind
        if kind == "layer":
            setattr(self, name, nn.Linear(16, 16))
        elif kind == "parameter":
            setattr(self, name, nn.Parameter(torch.rand(16)))
        else:
            self.register_buffer(name, torch.rand(16), persistent=kind == "buffer")
        self.last = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, (n, 4)."""
        part = getattr(self, self.name)
        return self.last(part(x) if self.kind == "layer" else part * x)


class InPlace(nn.Module):
    """Changes its input."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, (n, 4)."""
        x -= 0.3
        return self.last(x)


@pytest.mark.parametrize(
    "module",
    [
        Named("code", "layer"),
        Named("graph", "layer"),
        Named("meta", "layer"),
        Named("module", "layer"),
        Named("code_", "layer"),
        Named("print_readable", "parameter"),
        Named("meta", "buffer"),
        Named("graph", "buffer that is not stored"),
        InPlace(),
    ],
    ids=lambda module: f"{type(module).__name__} {module.__dict__.get('name', '')}",
)
def test_program_computes_what_the_module_did(module: nn.Module, tmp_path: Path) -> None:
    module.eval()
    dynamic = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(module, (torch.zeros(2, 16),), dynamic_shapes=dynamic)
    torch.export.save(program, tmp_path / "m.pt2")

    loaded = load_model(str(tmp_path / "m.pt2"), cache_dir=tmp_path, examples=lambda _: {"x": X})

    assert loaded.module is not None
    with torch.no_grad():
        expected = module(torch.from_numpy(X.copy()))
        torch.testing.assert_close(loaded.module(torch.from_numpy(X.copy())), expected)
    path = tmp_path / "m.onnx"
    assert export_onnx(loaded.module, loaded.signature, path, example_inputs={"x": X}) < 1e-5
