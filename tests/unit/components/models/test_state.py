"""A pruned model survives from one stage to the next without pickle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from model_files import write_bundle
from torch import nn

from fulcrum_components.models.loading import LoadedModel, load_model
from fulcrum_components.models.state import load_state, save_state
from fulcrum_pipelines.errors import UserError

HISTORY = json.dumps({"keep": [0, 2]})


@pytest.fixture
def original(tmp_path: Path) -> LoadedModel:
    return load_model(str(write_bundle(tmp_path / "b")), cache_dir=tmp_path / "cache")


def shrink(module: nn.Module, history: str) -> None:
    """Keep some outputs of the linear layer."""
    keep = json.loads(history)["keep"]
    assert isinstance(module.linear, nn.Linear)
    module.linear.weight = nn.Parameter(module.linear.weight[keep])
    module.linear.bias = nn.Parameter(torch.zeros(len(keep)))


def test_structure_weights_and_sparse_layers_come_back(
    original: LoadedModel, tmp_path: Path
) -> None:
    assert original.module is not None
    state = load_state(original, _saved(original, tmp_path), shrink)
    assert state.sparse_layers == ("linear",)
    assert json.loads(state.structure or "") == {"keep": [0, 2]}
    assert not state.module.training
    x = torch.ones(2, 4)
    torch.testing.assert_close(state.module(x), torch.tensor([[4.0, 5.0], [4.0, 5.0]]))
    assert original.module(x).shape == (2, 3)
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == [
        "model.safetensors",
        "structure.json",
    ]


def _saved(original: LoadedModel, tmp_path: Path) -> Path:
    module = load_state(original, _plain(original, tmp_path / "plain"), shrink).module
    shrink(module, HISTORY)
    with torch.no_grad():
        module.linear.weight.fill_(1)  # type: ignore[union-attr, operator]
        module.linear.bias.copy_(torch.tensor([0.0, 1.0]))  # type: ignore[union-attr, operator]
    save_state(module, tmp_path / "state", structure=HISTORY, sparse_layers=["linear"])
    return tmp_path / "state"


def _plain(original: LoadedModel, directory: Path) -> Path:
    assert original.module is not None
    save_state(original.module, directory)
    return directory


def test_wrong_history_names_the_keys(original: LoadedModel, tmp_path: Path) -> None:
    directory = _saved(original, tmp_path)
    with pytest.raises(UserError, match=r"linear\.bias \(file \[2\], module \[3\]\)"):
        load_state(original, directory, lambda module, history: None)


def test_damaged_state(original: LoadedModel, tmp_path: Path) -> None:
    directory = _plain(original, tmp_path / "plain")
    (directory / "structure.json").write_text("{")
    with pytest.raises(UserError, match=r"structure\.json is missing or damaged"):
        load_state(original, directory, shrink)
