"""What pruning removed of a whole model, from its files."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from builders.details import make_prune
from torch import nn

from fulcrum_components.export import export_onnx
from fulcrum_components.models.signature import Signature, TensorSpec
from fulcrum_components.pruning import prune
from fulcrum_components.pruning.read_back import changed_nothing, left_whole, removed_share
from fulcrum_components.stages.headlines import pruned
from fulcrum_pipelines.resources.compressionjob import Prune

SIGNATURE = Signature(
    (TensorSpec("x", ("batch", 4), "int64"),), (TensorSpec("y", ("batch", 3), "float32"),), "logits"
)
IDS = torch.arange(8).reshape(2, 4)


class Words(nn.Module):
    """Nearly all weights are in a table."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(1000, 16)
        self.inner = nn.Linear(16, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.inner(self.words(x).mean(1))))


def half_pruned(original: nn.Module) -> nn.Module:
    module = copy.deepcopy(original)
    prune(
        module,
        Prune.model_validate({"unstructured": {"sparsity": 0.5}}),
        signature=SIGNATURE,
        example_inputs=(IDS,),
        train=None,
        meaning="logits",
        seed=0,
    )
    return module


def test_share_is_of_all_weights_and_names_what_was_left_whole(tmp_path: Path) -> None:
    original = Words().eval()
    module = half_pruned(original)
    for name, each in (("before", original), ("after", module)):
        examples = {"x": IDS.numpy()}
        export_onnx(each, SIGNATURE, tmp_path / f"{name}.onnx", example_inputs=examples)
    share = removed_share(tmp_path / "before.onnx", tmp_path / "after.onnx")
    weights = sum(value.numel() for value in original.parameters())
    assert share == pytest.approx(128 / weights, rel=1e-3)
    left = left_whole(original, module)
    assert left[0] == f"Embedding: {16000 / weights:.1%} of all weights (words)"
    details = make_prune(method="unstructured", removed_share=share, left_whole=left)
    assert pruned(details).startswith("unstructured: 0.8% of all weights and ")
    assert "left whole: Embedding" in pruned(details)


def test_change_of_any_weight_is_something(tmp_path: Path) -> None:
    original = Words().eval()
    assert changed_nothing(original, copy.deepcopy(original))
    assert not changed_nothing(original, half_pruned(original))
    other = copy.deepcopy(original)
    other.head.bias.data[0] += np.float32(1e-3)
    assert not changed_nothing(original, other)
