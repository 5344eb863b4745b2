"""Building a pruned module again."""

from __future__ import annotations

import json

import pytest
import torch
from small_models import image_net, problem
from torch import nn

from fulcrum_components.pruning import History, prune, replay
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.resources.compressionjob import Prune, Structured

INPUTS = (torch.randn(2, 1, 8, 8),)


@pytest.fixture(scope="module")
def history() -> History:
    result = prune(
        image_net(),
        Prune(structured=Structured(sparsity=0.5, round=8)),
        problem(),
        example_inputs=INPUTS,
    )
    assert result.history is not None
    return result.history


def test_is_plain_json(history: History) -> None:
    value = json.loads(history.to_json())

    assert value["attributes"]["3"] == {"in_channels": 8, "out_channels": 16}
    assert value["shapes"]["3.weight"] == [16, 8, 3, 3]
    assert [removal["layer"] for removal in value["removals"]] == ["3", "0"]
    assert History.from_json(history.to_json()) == history


def test_keeps_frozen_parameters_frozen(history: History) -> None:
    module = image_net()
    module[0].requires_grad_(False)
    replay(module, history, INPUTS)

    assert not module[0].weight.requires_grad  # type: ignore[union-attr]
    assert module[3].weight.requires_grad  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), "no layer '3'|no tensor"),
        (nn.Sequential(*[nn.Identity()] * 10), "no tensor '0.weight'"),
    ],
    ids=["fewer layers", "other layers"],
)
def test_another_model_is_refused(history: History, other: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=message):
        replay(other, history, INPUTS)


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"version": 2, "attributes": {}, "shapes": {}}', "[1]"],
    ids=["empty", "no fields", "later version", "list"],
)
def test_text_that_is_no_history_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="not a pruning history"):
        History.from_json(text)
