"""Sparse pruning of whole modules."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from small_models import (
    Encoder,
    OnlyRecurrent,
    image_data,
    image_net,
    problem,
    tokens,
)
from torch import Tensor, nn

from fulcrum_components.pruning import PruneResult, prune
from fulcrum_pipelines.errors import QualityError, UserError
from fulcrum_pipelines.resources.compressionjob import PatternNM, Prune, Truncate, Unstructured

INPUTS = (torch.randn(2, 1, 8, 8),)


def pruned(
    module: nn.Module, inputs: tuple[Tensor, ...] = INPUTS, recover: Any = None, **options: Any
) -> PruneResult:
    return prune(
        module,
        Prune(**options),
        problem(),
        example_inputs=inputs,
        recover=recover,
    )


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_unstructured_reaches_the_share_and_spares_the_output_layer(scope: str) -> None:
    module = image_net()
    result = pruned(module, unstructured=Unstructured(sparsity=0.7, scope=scope))

    assert result.figures.achieved_sparsity == pytest.approx(0.7, abs=1e-3)
    assert result.sparse_layers == ("0.weight", "3.weight")
    assert result.figures.parameters_after == result.figures.parameters_before
    assert result.figures.nonzero_after < result.figures.parameters_after
    assert (result.figures.macs_before, result.history) == (result.figures.macs_after, None)
    assert bool((module[9].weight != 0).all())  # type: ignore[union-attr]
    assert [layer.layer for layer in result.figures.layers] == ["0", "3"]


def test_every_step_removes_more_and_recovery_keeps_what_was_removed() -> None:
    module = image_net()
    masks: list[Tensor] = []

    def recover(trained: nn.Module, sparse_layers: tuple[str, ...]) -> None:
        assert sparse_layers == ("0.weight", "3.weight")
        masks.append(trained[3].weight.detach() == 0)  # type: ignore[index]

    pruned(
        module,
        recover=recover,
        unstructured=Unstructured(sparsity=0.9, iterations=3, schedule="cubic"),
    )
    masks.append(module[3].weight.detach() == 0)  # type: ignore[arg-type]

    assert len(masks) == 3
    assert all(bool((a <= b).all()) for a, b in pairwise(masks))


def test_n_of_m_reads_back_its_share() -> None:
    module = image_net()
    result = pruned(module, nm=PatternNM(keep=1, of=4))

    assert result.figures.asked_sparsity == 0.75
    weight = module[3].weight.detach()
    groups = weight.reshape(32, 4, 4, 3, 3)
    assert int((groups != 0).sum(dim=2).max()) == 1
    assert {layer.layer: layer.sparsity for layer in result.figures.layers}["3"] == 0.75


def test_truncation_has_no_share_to_ask_for() -> None:
    result = pruned(image_net(), truncate=Truncate(threshold=1.0))

    assert result.figures.asked_sparsity is None
    assert 0.3 < result.figures.achieved_sparsity < 0.9


def test_recurrent_and_attention_weights_can_be_sparse() -> None:
    lstm = pruned(
        OnlyRecurrent(), (torch.randn(2, 7, 12),), unstructured=Unstructured(sparsity=0.5)
    )
    encoder = pruned(Encoder(), (tokens(),), unstructured=Unstructured(sparsity=0.5))

    assert "lstm.weight_hh_l1" in lstm.sparse_layers
    assert "encoder.layers.0.self_attn.in_proj_weight" in encoder.sparse_layers
    assert "fc.weight" not in encoder.sparse_layers


def test_ignored_layers_keep_their_weights() -> None:
    module = image_net()
    before = copy.deepcopy(module[3].weight)
    result = pruned(module, nm=PatternNM(ignore=("3",)))

    assert result.sparse_layers == ("0.weight",)
    assert torch.equal(module[3].weight, before)  # type: ignore[arg-type]


def shared_weight() -> nn.Sequential:
    """Layers 0 and 2 share a weight, and 4 and the output layer 6 another."""
    torch.manual_seed(0)
    layers = nn.Sequential(*(each for _ in range(4) for each in (nn.Linear(8, 8), nn.Tanh())))[:-1]
    layers[2].weight, layers[6].weight = layers[0].weight, layers[4].weight
    return layers


def one_layer() -> nn.Sequential:
    """Layer 2 is layer 0."""
    layers = shared_weight()
    layers[2] = layers[0]
    return layers


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("build", [shared_weight, one_layer])
def test_a_shared_weight_is_pruned_once_and_spared_with_the_output_layer(
    build: Callable[[], nn.Sequential], scope: str
) -> None:
    module = build()
    inputs = (torch.randn(2, 8),)
    result = pruned(module, inputs, unstructured=Unstructured(sparsity=0.5, scope=scope))

    assert result.sparse_layers == ("0.weight",)
    assert int((module[2].weight == 0).sum()) == 32
    assert int((module[6].weight == 0).sum()) == 0


@pytest.mark.parametrize("build", [shared_weight, one_layer])
@pytest.mark.parametrize("name", ["0", "2", "2.weight"])
def test_ignoring_one_layer_spares_the_weight_that_it_shares(
    build: Callable[[], nn.Sequential], name: str
) -> None:
    with pytest.raises(UserError, match="no weights to prune"):
        pruned(build(), (torch.randn(2, 8),), nm=PatternNM(ignore=(name,)))


def test_nothing_to_prune_is_refused() -> None:
    with pytest.raises(UserError, match=r"output layers \['9'\] are left alone"):
        pruned(image_net(), nm=PatternNM(ignore=("*",)))


def test_zeros_that_were_there_count_against_the_tolerance() -> None:
    module = image_net()
    with torch.no_grad():
        module[3].weight[4:] = 0  # type: ignore[index,operator]

    with pytest.raises(QualityError, match=r"asked for sparsity 0\.5, achieved 0\.8"):
        pruned(module, unstructured=Unstructured(sparsity=0.5))


def test_no_method_is_refused() -> None:
    with pytest.raises(UserError, match="exactly one of"):
        pruned(image_net())


def test_batch_norm_is_reestimated_after_each_step() -> None:
    module = image_net()
    before = module[1].running_mean.clone()  # type: ignore[union-attr,operator]
    result = prune(
        module,
        Prune(nm=PatternNM(), batch_norm_samples=100),
        problem(image_data()),
        example_inputs=INPUTS,
    )

    assert result.figures.batch_norm_examples == 100
    assert not torch.equal(module[1].running_mean, before)  # type: ignore[arg-type]
