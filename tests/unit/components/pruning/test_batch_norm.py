"""Batch-norm statistics from data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import ArrayData, image_data, image_net, problem, signature
from torch import nn

from fulcrum_components.pruning import reestimate_batch_norm
from fulcrum_pipelines.errors import UserError


def test_statistics_are_the_cumulative_average_over_batches() -> None:
    x = np.random.default_rng(0).normal(3.0, 2.0, (192, 5)).astype(np.float32)
    module = nn.Sequential(nn.BatchNorm1d(5, momentum=0.3))
    used = reestimate_batch_norm(
        module, problem(ArrayData(x, None), signature=signature((5,))), 192
    )

    assert used == 192
    mean, variance = module[0].running_mean, module[0].running_var
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-5)  # type: ignore[arg-type]
    np.testing.assert_allclose(variance, x.var(0, ddof=1), rtol=0.05)  # type: ignore[arg-type]
    assert module[0].momentum == 0.3
    assert module[0].training


def test_touches_nothing_but_batch_norm() -> None:
    module = image_net().eval()
    weights = {name: value.clone() for name, value in module.named_parameters()}
    reestimate_batch_norm(module, problem(image_data()), 1000)

    assert all(torch.equal(value, weights[name]) for name, value in module.named_parameters())
    assert not any(layer.training for layer in module)


@pytest.mark.parametrize(
    ("samples", "used"), [(0, 0), (1, 0), (65, 64), (66, 66), (100, 100), (10_000, 200)]
)
def test_uses_as_many_examples_as_it_says(samples: int, used: int) -> None:
    """A last example alone has no variance, so 65 in batches of 64 are 64."""
    data = image_data(200)

    assert reestimate_batch_norm(image_net(), problem(data), samples) == used


def test_a_model_without_batch_norm_needs_no_data() -> None:
    assert reestimate_batch_norm(nn.Linear(2, 2), problem(image_data()), 100) == 0


def test_infinite_data_are_refused() -> None:
    data = image_data()
    data.x[5] = np.inf

    with pytest.raises(UserError, match="not finite"):
        reestimate_batch_norm(image_net(), problem(data), 200)
