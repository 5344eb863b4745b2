"""Read from the files what pruning removed from a whole model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders.details import make_prune
from small_models import problem
from torch import nn

from fulcrum_components.export import export_onnx
from fulcrum_components.folding import fold
from fulcrum_components.models.signature import Signature, TensorSpec
from fulcrum_components.pruning import prune
from fulcrum_components.pruning.read_back import (
    changed_nothing,
    left_whole,
    removed_nothing,
    removed_share,
)
from fulcrum_components.stages.headlines import pruned
from fulcrum_pipelines.errors import UserError
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


HALF = {"unstructured": {"sparsity": 0.5}}
HALF_OF_CHANNELS = {"structured": {"sparsity": 0.5, "round": 1}}


class Hidden(Words):
    """Nearly all weights are in layers whose channels can go."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 16)
        self.inner = nn.Linear(16, 200)
        self.head = nn.Linear(200, 3)


def dead(module: Hidden) -> Hidden:
    """Return `module` with every second channel of its hidden layer at zero."""
    with torch.no_grad():
        module.inner.weight[::2] = 0
        module.inner.bias[::2] = 0
        module.head.weight[:, ::2] = 0
    return module


def half_pruned(original: nn.Module, recipe: dict[str, Any] = HALF) -> nn.Module:
    module = copy.deepcopy(original)
    prune(
        module,
        Prune.model_validate(recipe),
        problem(signature=SIGNATURE),
        example_inputs=(IDS,),
    )
    return module


def share_of_files(original: nn.Module, module: nn.Module, directory: Path) -> float:
    """Return the share removed, from the files of both modules."""
    for name, each in (("before", original), ("after", module)):
        examples = {"x": IDS.numpy()}
        export_onnx(each, SIGNATURE, directory / f"{name}.onnx", example_inputs=examples)
    return removed_share(directory / "before.onnx", directory / "after.onnx")


@pytest.mark.parametrize(
    ("original", "recipe", "removed"),
    [
        pytest.param(Hidden(), HALF, 1600, id="zeros"),
        pytest.param(Hidden(), HALF_OF_CHANNELS, 2000, id="channels"),
        pytest.param(dead(Hidden()), HALF_OF_CHANNELS, 2000, id="channels that were zero"),
    ],
)
def test_what_is_gone_or_newly_zero_is_removed(
    original: Hidden, recipe: dict[str, Any], removed: int, tmp_path: Path
) -> None:
    module = half_pruned(original.eval(), recipe)
    weights = sum(value.numel() for value in original.parameters())
    share = share_of_files(original, module, tmp_path)
    assert share == pytest.approx(removed / weights, rel=1e-3)
    assert "inner" not in " ".join(left_whole(original, module))


def test_weights_that_were_zero_before_are_not_removed(tmp_path: Path) -> None:
    original = dead(Hidden()).eval()
    assert share_of_files(original, copy.deepcopy(original), tmp_path) == 0
    assert len(left_whole(original, copy.deepcopy(original))) == 2


def test_tied_weights_count_once() -> None:
    original = Words()
    original.head = nn.Linear(16, 1000, bias=False)
    original.head.weight = original.words.weight
    (line,) = left_whole(original.eval(), half_pruned(original))
    weights = sum(value.numel() for value in original.parameters())
    assert line == f"Embedding: {16000 / weights:.1%} of all weights (words)"


def test_share_is_of_all_weights_and_names_what_was_left_whole(tmp_path: Path) -> None:
    original = Words().eval()
    module = half_pruned(original)
    share = share_of_files(original, module, tmp_path)
    weights = sum(value.numel() for value in original.parameters())
    assert share == pytest.approx(128 / weights, rel=1e-3)
    left = left_whole(original, module)
    assert left[0] == f"Embedding: {16000 / weights:.1%} of all weights (words)"
    details = make_prune(method="unstructured", removed_share=share, left_whole=left)
    assert pruned(details).startswith("unstructured: 0.8% of all weights and ")
    assert "left whole: Embedding" in pruned(details)


def test_refusal_names_layers_that_are_never_pruned() -> None:
    original = Words()
    original.inner = nn.Identity()
    with pytest.raises(UserError, match=r"output layers \['head'\].*Embedding are never pruned"):
        half_pruned(original.eval())


@pytest.mark.parametrize(
    ("layer", "parametrize"),
    [
        pytest.param("inner", lambda layer: layer, id="plain"),
        pytest.param("inner", nn.utils.weight_norm, id="old weight norm"),
        pytest.param("inner", nn.utils.parametrizations.weight_norm, id="weight norm"),
        pytest.param("words", nn.utils.parametrizations.spectral_norm, id="spectral norm"),
    ],
)
def test_folding_and_other_values_are_no_pruning(
    layer: str, parametrize: Callable[[nn.Module], nn.Module]
) -> None:
    original = Words().eval()
    with torch.no_grad():
        setattr(original, layer, parametrize(getattr(original, layer)))
    start = copy.deepcopy(original)
    fold(start)
    nearly_none = half_pruned(original, {"unstructured": {"sparsity": 0.001}})
    nearly_none.head.weight.data += np.float32(1e-3)
    assert removed_nothing(start, nearly_none)
    assert len(left_whole(start, nearly_none)) == 2
    assert not removed_nothing(start, half_pruned(original))


def test_change_of_any_weight_is_something() -> None:
    original = Words().eval()
    assert changed_nothing(original, copy.deepcopy(original))
    assert not changed_nothing(original, half_pruned(original))
    other = copy.deepcopy(original)
    other.head.bias.data[0] += np.float32(1e-3)
    assert not changed_nothing(original, other)
