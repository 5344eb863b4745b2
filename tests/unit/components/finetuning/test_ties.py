"""Layers that share a weight share it after training too, however it is stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from small_models import ArrayData, problem, signature
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from fulcrum_components.finetuning import FinetuneResult, finetune
from fulcrum_components.pruning import prune, replay
from fulcrum_components.ties import tied_names
from fulcrum_pipelines.resources.compressionjob import Finetune, Prune, Unstructured

WIDTH = 8


class Pair(nn.Module):
    """Two layers between others; `tie` makes them one, or one in two places."""

    def __init__(self, tie: Callable[[Pair], object]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.table = nn.Embedding(WIDTH, WIDTH)
        self.own, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2)
        tie(self)

    def forward(self, x: Tensor) -> Tensor:
        h = x @ self.table.weight
        for layer in (self.first, self.second, self.own):
            h = torch.tanh(layer(h))
        return self.head(h)


def plain(pair: Pair) -> None:
    pair.second.weight = pair.first.weight


def embedding(pair: Pair) -> None:
    pair.table.weight = pair.second.weight


def one_layer(pair: Pair) -> None:
    pair.second = pair.first


def parametrized(pair: Pair) -> None:
    for layer in (pair.first, pair.second):
        parametrizations.weight_norm(layer)
    one, two = (layer.parametrizations.weight for layer in (pair.first, pair.second))
    two.original0, two.original1 = one.original0, one.original1


def hooked(pair: Pair) -> None:
    for layer in (pair.first, pair.second):
        weight_norm(layer)
    pair.second.weight_g, pair.second.weight_v = pair.first.weight_g, pair.first.weight_v


def spectral(pair: Pair) -> None:
    for layer in (pair.first, pair.second):
        spectral_norm(layer)
    pair.second.weight_orig = pair.first.weight_orig
    pair.second.weight_u, pair.second.weight_v = pair.first.weight_u, pair.first.weight_v


@dataclass(frozen=True)
class Case:
    name: str
    tie: Callable[[Pair], object]
    plain: str = ""
    """The weight that the note says is trained without weight normalisation."""


CASES = [
    Case("one weight", plain, "first, second"),
    Case("embedding's weight", embedding, "second"),
    Case("one layer twice", one_layer),
    Case("parametrization", parametrized),
    Case("hook", hooked),
    Case("spectral hook", spectral),
]
EXAMPLES = np.random.default_rng(0).normal(size=(64, WIDTH)).astype(np.float32)
DATA = ArrayData(EXAMPLES, (EXAMPLES[:, 0] > 0).astype(np.int64))


def trained(module: nn.Module) -> FinetuneResult:
    """Train under weight normalisation."""
    return finetune(
        module,
        None,
        problem(DATA, signature=signature((WIDTH,))),
        Finetune(epochs=2, batch_size=16, learning_rate=0.01, weight_norm=True),
    )


def weights(pair: Pair, case: Case) -> tuple[Tensor, Tensor]:
    """Return the two weights that must be tied, as they are used."""
    with torch.no_grad():
        pair.eval()(torch.zeros(1, WIDTH))  # hooks compute them
    other = pair.table if case.tie is embedding else pair.first
    return other.weight.detach(), pair.second.weight.detach()


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_training_under_weight_norm_keeps_weights_tied(case: Case) -> None:
    pair = Pair(case.tie)
    before, ties = weights(pair, case)[1].clone(), tied_names(pair)
    result = trained(pair)

    one, other = weights(pair, case)
    assert torch.equal(one, other)
    assert not torch.equal(other, before)
    assert sorted(tied_names(pair)) == sorted(ties) != []
    assert [note.rpartition(": ")[2] for note in result.notes] == [case.plain] * bool(case.plain)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_pruning_and_training_keep_weights_tied(case: Case) -> None:
    """Pruning makes plain weights of computed ones; what is built again has to be tied too."""
    pair, again = Pair(case.tie), Pair(case.tie)
    inputs = (torch.randn(2, WIDTH),)
    with torch.no_grad():
        for each in (pair, again):
            each.eval()(*inputs)  # hooks leave no gradients then, and can be copied
    pruned = prune(
        pair,
        Prune(unstructured=Unstructured(sparsity=0.5)),
        problem(signature=signature((WIDTH,))),
        example_inputs=inputs,
    )
    if pruned.history is not None:
        replay(again, pruned.history, inputs)
    assert tied_names(again) == tied_names(pair) != []
    again.load_state_dict(pair.state_dict())
    trained(again)
    one, other = weights(again, case)
    assert torch.equal(one, other)


def test_frozen_weights_stay_parameters_under_weight_norm() -> None:
    pair = Pair(plain)
    pair.own.weight.requires_grad_(False)
    before = pair.own.weight.clone()
    trained(pair)
    assert type(pair.own.weight) is nn.Parameter
    assert not pair.own.weight.requires_grad
    assert torch.equal(pair.own.weight, before)
