"""Measure the cost of pruning each layer alone."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from small_models import image_net
from torch import nn

from fulcrum_components.pruning import layer_sensitivity
from fulcrum_pipelines.resources.compressionjob import (
    PatternNM,
    Prune,
    Structured,
    Truncate,
    Unstructured,
)

INPUTS = (torch.randn(2, 1, 8, 8),)


@dataclass(frozen=True)
class Measured:
    name: str
    value: float | None


def zeros_of_each_layer(module: nn.Module) -> tuple[Measured, Measured]:
    """Metrics that show which layers are pruned: 1 for the first, 10 for the second, and 7."""
    first, second = (bool((module[i].weight == 0).any()) for i in (0, 3))  # type: ignore[index]
    return Measured("zeros", first + 10.0 * second), Measured("constant", 7.0)


@pytest.mark.parametrize(
    "options",
    [
        Prune(structured=Structured(sparsity=0.5)),
        Prune(unstructured=Unstructured(sparsity=0.5)),
        Prune(nm=PatternNM(keep=2, of=4)),
        Prune(truncate=Truncate(threshold=0.5)),
    ],
    ids=["structured", "unstructured", "nm", "truncate"],
)
def test_prunes_one_layer_at_a_time_on_a_copy(options: Prune) -> None:
    module = image_net()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    rows = layer_sensitivity(module, options, INPUTS, zeros_of_each_layer)

    first = 0.0 if options.nm is not None else 1.0  # of one input channel, 2 of 4 are all
    assert [(row.layer, row.metric, row.value, row.delta) for row in rows] == [
        ("0", "zeros", first, first),
        ("0", "constant", 7.0, 0.0),
        ("3", "zeros", 10.0, 10.0),
        ("3", "constant", 7.0, 0.0),
    ]
    assert rows[2].sparsity > 0.2
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_leaves_out_what_cannot_be_measured() -> None:
    measured = (Measured("m", None), Measured("n", 2.0))
    rows = layer_sensitivity(image_net(), Prune(nm=PatternNM()), INPUTS, lambda _: measured)
    assert [(row.layer, row.metric) for row in rows] == [("0", "n"), ("3", "n")]
