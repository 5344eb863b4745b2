"""Multiply-accumulates against counts by hand."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torch_pruning.utils import count_ops_and_params

from fulcrum_components.pruning import count_macs_and_parameters


@dataclass(frozen=True)
class Case:
    name: str
    module: nn.Module
    inputs: Tensor
    macs: int


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x)[0]


class Product(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


CASES = [
    Case("linear", nn.Linear(4, 3), torch.randn(2, 4), 4 * 3 + 3),
    Case("linear over steps", nn.Linear(4, 3, bias=False), torch.randn(2, 5, 4), 5 * 4 * 3),
    Case("convolution", nn.Conv2d(2, 6, 3, bias=False), torch.randn(3, 2, 5, 5), 9 * 2 * 6 * 9),
    Case("grouped", nn.Conv1d(4, 8, 3, groups=2), torch.randn(1, 4, 5), 3 * 4 * 4 * 3 + 8 * 3),
    Case("batch norm", nn.BatchNorm1d(4), torch.randn(2, 4), 8),
    Case("layer norm", nn.LayerNorm(4, elementwise_affine=False), torch.randn(2, 4), 4),
    Case(
        "lstm",
        nn.LSTM(3, 5, bias=False, batch_first=True),
        torch.randn(2, 7, 3),
        7 * (20 * 3 + 20 * 5 + 10 * 5),
    ),
    Case(
        "attention",
        Attention(),
        torch.randn(2, 3, 8),
        3 * 3 * 64 + 3 * 3 * 8 + 2 * 9 * 8 + 2 * 9 + 3 * 8 * 9,
    ),
    Case("operations without layers", Product(), torch.randn(2, 4), 12),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_counts_one_example(case: Case) -> None:
    macs, parameters = count_macs_and_parameters(case.module, (case.inputs,))

    assert macs == case.macs
    assert parameters == sum(value.numel() for value in case.module.parameters())


OWN = {"lstm", "attention", "operations without layers"}
"""What Torch-Pruning counts otherwise: the reason for a counter of our own."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_torch_pruning_agrees_except_where_we_need_our_own(case: Case) -> None:
    theirs, _ = count_ops_and_params(case.module.eval(), case.inputs[:1])
    assert (theirs == case.macs) is (case.name not in OWN)


PRODUCTS_ONLY = {"linear over steps", "convolution", "operations without layers"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_torchs_counter_agrees_on_products_alone(case: Case) -> None:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        case.module.eval()(case.inputs)
    theirs = counter.get_total_flops() / 2 / len(case.inputs)
    assert (theirs == case.macs) is (case.name in PRODUCTS_ONLY)


def test_counts_inside_encoder_layers_and_leaves_the_fused_path_on() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    macs, _ = count_macs_and_parameters(layer, (torch.randn(2, 3, 8),))

    assert macs > 3 * (4 * 64 + 2 * 8 * 16)
    assert torch.backends.mha.get_fastpath_enabled()
