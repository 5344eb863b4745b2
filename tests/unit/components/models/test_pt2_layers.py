"""Layers come back out of an exported program, and nothing but layers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fulcrum_components.models.pt2 import load_pt2
from fulcrum_pipelines.errors import UserError


class Shared(nn.Module):
    """Calls one layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Linear(6, 6, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.same(torch.relu(self.same(x)))


class Borrowed(nn.Module):
    """Uses a layer's weight outside of the layer, so it must stay what it is."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.free = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.free(self.layer(x) + self.layer.weight.sum())


class Unlike(nn.Module):
    """Uses one kernel with two strides, which no one layer does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x.unsqueeze(1))
        z = F.conv1d(y, self.conv.weight, self.conv.bias, stride=2, padding=1)
        return z.flatten(1)


@dataclass(frozen=True)
class TestCase:
    """A module to export, and the layers that come back."""

    __test__ = False

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    layers: dict[str, type[nn.Module]]


CASES = (
    TestCase(
        "linear",
        lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3, bias=False)),
        (6,),
        {"0": nn.Linear, "2": nn.Linear},
    ),
    TestCase(
        "nested and grouped convolutions",
        lambda: nn.Sequential(
            nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=(1, 2), groups=2), nn.ReLU()),
            nn.Conv2d(8, 2, 3, dilation=2, padding=2, bias=False),
            nn.Flatten(),
        ),
        (4, 9, 9),
        {"0.0": nn.Conv2d, "1": nn.Conv2d},
    ),
    TestCase(
        "one and three axes",
        lambda: nn.Sequential(
            nn.Conv1d(2, 4, 3), nn.Unflatten(1, (1, 2, 2)), nn.Conv3d(1, 2, 2), nn.Flatten()
        ),
        (2, 8),
        {"0": nn.Conv1d, "2": nn.Conv3d},
    ),
    TestCase("called twice", Shared, (6,), {"same": nn.Linear}),
    TestCase("weight used elsewhere", Borrowed, (6,), {"free": nn.Linear}),
    TestCase("two strides", Unlike, (8,), {}),
)


def saved(module: nn.Module, shape: tuple[int, ...], path: Path) -> Path:
    """Export `module` for inputs of `shape` and write it."""
    dynamic = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(module, (torch.randn(2, *shape),), dynamic_shapes=dynamic)
    torch.export.save(program, path)
    return path


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_layers_come_back_and_answers_stay(case: TestCase, tmp_path: Path) -> None:
    torch.manual_seed(1)
    module = case.make().eval()
    loaded, _ = load_pt2(saved(module, case.shape, tmp_path / "m.pt2"))
    found = {
        name: type(layer)
        for name, layer in loaded.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
    }
    assert found == case.layers
    assert list(loaded.state_dict()) == list(module.state_dict())
    x = torch.randn(5, *case.shape)
    torch.testing.assert_close(loaded(x), module(x))
    for name in found:
        layer, original = loaded.get_submodule(name), module.get_submodule(name)
        assert layer.extra_repr() == original.extra_repr()


def test_a_copy_can_be_trained_and_leaves_the_original(tmp_path: Path) -> None:
    torch.manual_seed(2)
    loaded, _ = load_pt2(saved(nn.Sequential(nn.Linear(6, 3)).eval(), (6,), tmp_path / "m.pt2"))
    twin = copy.deepcopy(loaded).train()
    assert (twin.training, loaded.training) == (True, False)
    twin(torch.randn(4, 6)).square().sum().backward()
    with torch.no_grad():
        for parameter in twin.parameters():
            assert parameter.grad is not None
            parameter -= 0.1 * parameter.grad
    assert not torch.equal(twin.state_dict()["0.weight"], loaded.state_dict()["0.weight"])


def test_a_program_with_active_dropout_is_refused(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5), nn.Linear(6, 3)).train()
    path = saved(module, (6,), tmp_path / "m.pt2")
    with pytest.raises(UserError, match=r"m\.pt2: was exported in training mode .*\.eval\(\)"):
        load_pt2(path)
