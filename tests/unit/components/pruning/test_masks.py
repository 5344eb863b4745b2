"""Masks of the sparse methods."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from fulcrum_components.pruning.methods.nm import nm_mask
from fulcrum_components.pruning.methods.truncate import truncate
from fulcrum_components.pruning.methods.unstructured import keep_largest, magnitude_masks
from fulcrum_pipelines.resources.compressionjob import Unstructured

floats = st.floats(-10, 10, width=32)
weights = arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 20)), elements=floats)
kernels = arrays(
    np.float32, st.tuples(st.integers(1, 3), st.integers(1, 9), st.just(2)), elements=floats
)
sparsity = st.floats(0.0, 1.0)


@given(weights, sparsity)
def test_sparsity_is_exact_to_one_weight(values: np.ndarray, share: float) -> None:
    mask = keep_largest(torch.from_numpy(values), share)

    assert abs(int((~mask).sum()) - share * values.size) <= 0.5


@given(weights, sparsity)
def test_no_dropped_weight_is_larger_than_a_kept_one(values: np.ndarray, share: float) -> None:
    mask = keep_largest(torch.from_numpy(values), share).numpy()

    assert np.abs(values[~mask]).max(initial=0.0) <= np.abs(values[mask]).min(initial=np.inf)


@given(weights, sparsity, sparsity)
def test_a_larger_sparsity_removes_a_superset(values: np.ndarray, a: float, b: float) -> None:
    low, high = sorted((a, b))
    weight = torch.from_numpy(values)

    assert not (keep_largest(weight, high) & ~keep_largest(weight, low)).any()


@given(weights, weights, sparsity)
def test_global_scope_ranks_all_together(a: np.ndarray, b: np.ndarray, share: float) -> None:
    tensors = {"a": torch.from_numpy(a), "b": torch.from_numpy(b)}
    masks = magnitude_masks(tensors, Unstructured(sparsity=0.5, scope="global"), share)

    dropped = sum(int((~mask).sum()) for mask in masks.values())
    assert abs(dropped - share * (a.size + b.size)) <= 0.5
    assert all(masks[name].shape == tensor.shape for name, tensor in tensors.items())


def test_layer_scope_removes_the_same_share_of_each() -> None:
    tensors = {"a": torch.randn(4, 10), "b": torch.randn(2, 10) * 100}
    masks = magnitude_masks(tensors, Unstructured(sparsity=0.5), 0.5)

    assert [int((~mask).sum()) for mask in masks.values()] == [20, 10]


@given(kernels, st.integers(1, 8), st.integers(0, 8))
def test_n_of_m_holds_in_every_group_along_the_inputs(
    values: np.ndarray, n: int, more: int
) -> None:
    m = n + more
    mask = nm_mask(torch.from_numpy(values), n, m)

    assert mask.shape == values.shape
    for start in range(0, values.shape[1], m):
        group = mask[:, start : start + m]
        assert (group.sum(dim=1) == min(n, group.shape[1])).all()


@given(kernels, st.integers(1, 4), st.integers(1, 4))
def test_n_of_m_keeps_the_largest(values: np.ndarray, n: int, more: int) -> None:
    m = n + more
    mask = nm_mask(torch.from_numpy(values), n, m).numpy()

    for start in range(0, values.shape[1], m):
        size, kept = np.abs(values[:, start : start + m]), mask[:, start : start + m]
        dropped_most = np.where(kept, 0, size).max(axis=1)
        assert (dropped_most <= np.where(kept, size, np.inf).min(axis=1)).all()


@given(kernels, st.data())
def test_a_smaller_n_removes_a_superset(values: np.ndarray, data: st.DataObject) -> None:
    m = data.draw(st.integers(2, 8))
    small = data.draw(st.integers(1, m - 1))
    large = data.draw(st.integers(small, m - 1))
    weight = torch.from_numpy(values)

    assert not (nm_mask(weight, small, m) & ~nm_mask(weight, large, m)).any()


@pytest.fixture
def weight() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(20, 20)


def test_hard_truncation_keeps_what_is_above_the_threshold(weight: Tensor) -> None:
    result = truncate(weight, 0.5, "hard")
    limit = 0.5 * weight.std(correction=0)

    assert torch.equal(result != 0, weight.abs() > limit)
    assert torch.equal(result[result != 0], weight[result != 0])


def test_soft_truncation_moves_weights_by_the_threshold(weight: Tensor) -> None:
    result = truncate(weight, 0.5, "soft")
    limit = 0.5 * weight.std(correction=0)

    expected = weight.sign() * (weight.abs() - limit).clamp_min(0)
    torch.testing.assert_close(result, expected)


@given(weights, st.floats(0.01, 3), st.floats(0.01, 3))
def test_a_higher_threshold_removes_a_superset(values: np.ndarray, a: float, b: float) -> None:
    low, high = sorted((a, b))
    weight = torch.from_numpy(values)

    assert not ((truncate(weight, high, "hard") != 0) & (truncate(weight, low, "hard") == 0)).any()
