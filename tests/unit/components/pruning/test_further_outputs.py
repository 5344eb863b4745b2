"""Importance is measured by all outputs that are kept, not by the first alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_models import ArrayData, problem
from torch import Tensor, nn

from fulcrum_components.models.signature import Signature, TensorSpec
from fulcrum_components.pruning import prune
from fulcrum_components.pruning.gradients import distance_to_next
from fulcrum_pipelines.resources.compressionjob import Prune, Structured

HALF = 8


class Two(nn.Module):
    """Half of the hidden channels are for the scores, the others for a feature."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden = nn.Linear(4, 2 * HALF)
        self.scores, self.feature = nn.Linear(2 * HALF, 2), nn.Linear(2 * HALF, 3)
        self.layout = layout
        with torch.no_grad():
            self.scores.weight[:, HALF:] = 0
            self.feature.weight[:, :HALF] = 0

    def forward(self, x: Tensor) -> Any:
        hidden = self.hidden(x).relu()
        feature = self.feature(hidden)
        match self.layout:
            case "columns":
                return self.scores(hidden), feature.T
            case "nested":
                return {"scores": self.scores(hidden), "states": (feature,)}
            case "filled":
                return self.scores(hidden), feature.masked_fill(feature > 0.5, -1e9)
        return self.scores(hidden), feature


def channels_left(layout: str, kept: tuple[int, ...]) -> tuple[int, int]:
    """Prune half by taylor; return how many channels of the scores and of the feature are left."""
    module = Two(layout).eval()
    marks = module.hidden.bias.detach().clone()
    shape = (3, "batch") if layout == "columns" else ("batch", 3)
    x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    prune(
        module,
        Prune(structured=Structured(sparsity=0.5, round=1, importance="taylor")),
        problem(
            ArrayData(x, (x[:, 0] > 0).astype(np.int64)),
            signature=Signature(
                (TensorSpec("x", ("batch", 4), "float32"),),
                (
                    TensorSpec("scores", ("batch", 2), "float32"),
                    TensorSpec("feature", shape, "float32"),
                ),
                "logits",
            ),
            kept=kept,
        ),
        example_inputs=(torch.randn(2, 4),),
    )
    left = torch.isin(marks, module.hidden.bias)
    return int(left[:HALF].sum()), int(left[HALF:].sum())


@pytest.mark.parametrize("layout", ["rows", "columns", "nested", "filled"])
def test_taylor_spares_channels_of_a_kept_output(layout: str) -> None:
    scores, feature = channels_left(layout, (1,))
    assert min(scores, feature) >= 2, (scores, feature)


def test_taylor_goes_by_the_first_output_if_others_are_ignored() -> None:
    assert channels_left("rows", ()) == (HALF, 0)


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        pytest.param(("batch", 3), (5, 3), id="rows"),
        pytest.param((3, "batch"), (3, 5), id="columns"),
        pytest.param(("length", 3), (5, 3), id="no-batch"),
    ],
)
def test_a_changing_output_has_a_gradient(shape: tuple[int | str, ...], sizes: Any) -> None:
    output = torch.randn(sizes, requires_grad=True)
    torch.autograd.backward(distance_to_next(output, shape))
    assert output.grad is not None
    assert output.grad.abs().min() > 0


def test_a_number_for_all_examples_counts_for_nothing() -> None:
    assert float(distance_to_next(torch.tensor(3.0, requires_grad=True), ())) == 0
