"""Weights that parametrizations compute."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from small_models import problem, signature
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, spectral_norm, weight_norm
from torch.nn.utils.prune import l1_unstructured

from fulcrum_components.folding import fold
from fulcrum_components.pruning import prune, replay
from fulcrum_pipelines.resources.compressionjob import Prune, Unstructured


class Symmetric(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.triu() + weight.triu(1).T


def symmetric(layer: nn.Linear) -> nn.Module:
    return parametrize.register_parametrization(layer, "weight", Symmetric())


def frozen(layer: nn.Linear) -> nn.Module:
    parametrizations.weight_norm(layer)
    return layer.requires_grad_(False)


@dataclass(frozen=True)
class Kind:
    name: str
    wrap: Callable[[nn.Linear], nn.Module]


KINDS = [
    Kind("weight norm", parametrizations.weight_norm),
    Kind("weight norm by a hook", weight_norm),
    Kind("frozen weight norm", frozen),
    Kind("spectral norm", parametrizations.spectral_norm),
    Kind("spectral norm by a hook", spectral_norm),
    Kind("orthogonal", parametrizations.orthogonal),
    Kind("of the user", symmetric),
    Kind("mask by a hook", lambda layer: l1_unstructured(layer, "weight", 0.25)),
]


def built(kind: Kind) -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(kind.wrap(nn.Linear(16, 16)), nn.ReLU(), nn.Linear(16, 4)).eval()
    with torch.no_grad():
        layers(torch.zeros(1, 16))  # the hooks leave no gradients then, and can be copied
    return layers


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_folding_keeps_the_function(kind: Kind) -> None:
    module, inputs = built(kind), torch.randn(3, 16)
    trained = next(module[0].parameters()).requires_grad
    with torch.no_grad():
        before = module(inputs)

        assert fold(module) == ("0.weight",)
        torch.testing.assert_close(module(inputs), before)
    assert set(dict(module[0].named_parameters())) == {"weight", "bias"}
    assert module[0].weight.requires_grad == trained
    assert fold(module) == ()


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_half_of_the_weights_that_are_used_become_zero(kind: Kind) -> None:
    module, inputs = built(kind), torch.randn(3, 16)
    rebuilt = copy.deepcopy(module)
    with torch.no_grad():
        weight = built(kind)[0].weight.detach().clone()
    result = prune(
        module,
        Prune(unstructured=Unstructured(sparsity=0.5)),
        problem(signature=signature((16,))),
        example_inputs=(inputs,),
    )

    kept = weight.abs() >= weight.abs().flatten().median()
    pruned = module[0].weight.detach()
    assert result.sparse_layers == ("0.weight",)
    assert int((pruned == 0).sum()) == 128
    torch.testing.assert_close(pruned[pruned != 0], weight[kept & (pruned != 0)])
    assert result.history is not None
    replay(rebuilt, result.history, (inputs,))
    rebuilt.load_state_dict(module.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(rebuilt(inputs), module(inputs))
