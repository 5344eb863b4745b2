"""Channels that reach the next layer in another order than the graph shows.

In each network half of the units of every hidden layer are dead (zero weights, zero bias, and an
activation that keeps 0), so half of the channels can go without any change of any output.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from small_models import problem
from torch import Tensor, nn
from torch.nn import functional

from fulcrum_components.pruning import History, PruneResult, prune, replay
from fulcrum_pipelines.resources.compressionjob import Prune, Structured

Forward = Callable[["Net", Tensor], Tensor | tuple[Tensor, ...]]


class Net(nn.Module):
    """Layers by name, and what to do with them."""

    def __init__(self, forward: Forward, **layers: nn.Module) -> None:
        super().__init__()
        self.steps = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outputs = self.steps(self, x)
        return outputs if isinstance(outputs, tuple) else (outputs,)


@dataclass(frozen=True)
class Case:
    """A network and the layers of which every second unit is dead.

    Attributes:
        dead: For each layer the dead units.
        whole: Layers that must be left whole, with a word of the reason.
    """

    name: str
    forward: Forward
    layers: dict[str, nn.Module]
    dead: dict[str, list[int]]
    whole: dict[str, str] = field(default_factory=dict)
    inputs: tuple[int, ...] = (1, 8, 8)


def half(count: int, seed: int = 1) -> list[int]:
    return sorted(np.random.default_rng(seed).permutation(count)[: count // 2].tolist())


def conv(inputs: int = 1, outputs: int = 8, size: int = 3, **options: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, **options)


def relu(x: Tensor) -> Tensor:
    return functional.relu(x)


CASES = [
    Case(
        "permute, flatten",
        lambda n, x: n.f(relu(n.a(relu(n.c(x)).permute(0, 2, 3, 1).flatten(1)))),
        {"c": conv(), "a": nn.Linear(512, 32), "f": nn.Linear(32, 4)},
        {"c": half(8), "a": half(32)},
    ),
    Case(
        "transpose, flatten",
        lambda n, x: n.f(relu(n.a(relu(n.c(x)).transpose(1, 3).flatten(1)))),
        {"c": conv(), "a": nn.Linear(512, 32), "f": nn.Linear(32, 4)},
        {"c": half(8), "a": half(32)},
    ),
    Case(
        "channel shuffle",
        lambda n, x: n.f(relu(n.e(shuffled(relu(n.c(x)), 2))).mean((2, 3))),
        {"c": conv(1, 16), "e": conv(16, 16), "f": nn.Linear(16, 4)},
        {"c": [0, 1, 4, 5, 8, 9, 12, 13], "e": half(16)},
    ),
    Case(
        "nn.ChannelShuffle",
        lambda n, x: n.f(relu(n.e(n.s(relu(n.c(x))))).mean((2, 3))),
        {"c": conv(1, 16), "s": nn.ChannelShuffle(4), "e": conv(16, 16), "f": nn.Linear(16, 4)},
        {"c": [0, 2, 4, 6, 8, 10, 12, 14], "e": half(16)},
    ),
    Case(
        "flip",
        lambda n, x: n.f(relu(n.e(relu(n.c(x)).flip(1))).mean((2, 3))),
        {"c": conv(), "e": conv(8, 16), "f": nn.Linear(16, 4)},
        {"c": [0, 1, 2, 5], "e": half(16)},
    ),
    Case(
        "roll",
        lambda n, x: n.f(relu(n.e(torch.roll(relu(n.c(x)), 3, 1))).mean((2, 3))),
        {"c": conv(), "e": conv(8, 16), "f": nn.Linear(16, 4)},
        {"c": [0, 2, 4, 6], "e": half(16)},
        whole={"c": "'e' would not compute the same"},
    ),
    Case(
        "stack, flatten",
        lambda n, x: n.f(relu(n.a(torch.stack([relu(n.c(x)), relu(n.d(x))], 2).flatten(1)))),
        {"c": conv(), "d": conv(), "a": nn.Linear(1024, 32), "f": nn.Linear(32, 4)},
        {"c": half(8), "d": half(8), "a": half(32)},
    ),
    Case(
        "flip before batch norm",
        lambda n, x: n.f(relu(n.e(relu(n.b(n.c(x).flip(1))))).mean((2, 3))),
        {"c": conv(), "b": nn.BatchNorm2d(8), "e": conv(8, 16), "f": nn.Linear(16, 4)},
        {"c": [0, 1, 2, 5], "e": half(16)},
    ),
    Case(
        "patches to tokens",
        lambda n, x: n.f(relu(n.a(relu(n.c(x)).flatten(2).transpose(1, 2))).mean(1)),
        {"c": conv(), "a": nn.Linear(8, 32), "f": nn.Linear(32, 4)},
        {"c": half(8), "a": half(32)},
    ),
    Case(
        "sum with its own flip",
        lambda n, x: n.f(relu(n.e(relu(n.c(x)) + relu(n.d(x)).flip(1))).mean((2, 3))),
        {"c": conv(), "d": conv(), "e": conv(8, 16), "f": nn.Linear(16, 4)},
        {"c": [0, 1, 2, 5], "d": [7, 6, 5, 2], "e": half(16)},
        whole={"c": "'e' would not compute the same", "d": "'e' would not compute the same"},
    ),
    Case(
        "pixel shuffle",
        lambda n, x: n.f(relu(n.e(functional.pixel_shuffle(relu(n.c(x)), 2))).mean((2, 3))),
        {"c": conv(1, 16), "e": conv(4, 16), "f": nn.Linear(16, 4)},
        {"c": [0, 1, 2, 3, 8, 9, 10, 11], "e": half(16)},
        whole={"c": ""},
    ),
    Case(
        "concatenation of a slice",
        lambda n, x: n.f(relu(n.e(torch.cat([relu(n.c(x)), relu(n.d(x))[:, :4]], 1))).mean((2, 3))),
        {"c": conv(), "d": conv(), "e": conv(12, 16), "f": nn.Linear(16, 4)},
        {"c": half(8), "d": [0, 1, 4, 5], "e": half(16)},
        whole={"c": "size", "d": "size"},
    ),
    Case(
        "chunks that gate each other",
        lambda n, x: n.f(relu(n.e(glu(n.c(x)))).mean((2, 3))),
        {"c": conv(1, 16), "e": conv(8, 16), "f": nn.Linear(16, 4)},
        {"c": [0, 2, 5, 6, 8, 10, 13, 14], "e": half(16)},
    ),
    Case(
        "rotated halves",
        lambda n, x: n.f(relu(n.e(rotated(relu(n.c(x))))).mean((2, 3))),
        {"c": conv(), "e": conv(8, 16), "f": nn.Linear(16, 4)},
        {"c": [0, 2, 4, 6], "e": half(16)},
        whole={"c": "other sizes"},
    ),
    Case(
        "fixed index",
        lambda n, x: n.f(relu(n.e(relu(n.c(x))[:, [7, 0, 6, 1, 5, 2, 4, 3]])).mean((2, 3))),
        {"c": conv(), "e": conv(8, 16), "f": nn.Linear(16, 4)},
        {"c": half(8), "e": half(16)},
        whole={"c": "size"},
    ),
    Case(
        "depthwise with two outputs a channel",
        lambda n, x: n.f(relu(n.e(relu(n.d(relu(n.c(x)))))).mean((2, 3))),
        {
            "c": conv(1, 16),
            "d": conv(16, 32, groups=16),
            "e": conv(32, 16, 1),
            "f": nn.Linear(16, 4),
        },
        {"c": half(16), "d": list(range(0, 32, 2)), "e": half(16)},
        whole={"c": "depthwise"},
    ),
    Case(
        "transposed convolution in groups",
        lambda n, x: n.f(relu(n.e(relu(n.t(relu(n.c(x)))))).mean((2, 3))),
        {
            "c": conv(1, 16),
            "t": nn.ConvTranspose2d(16, 16, 2, 2, groups=4),
            "e": conv(16, 16),
            "f": nn.Linear(16, 4),
        },
        {"c": half(16), "t": half(16), "e": half(16)},
        whole={"c": "transposed", "t": "transposed convolution in groups"},
    ),
    Case(
        "layer norm over channels, rows and columns",
        lambda n, x: n.f(relu(n.e(relu(n.b(n.c(x))))).mean((2, 3))),
        {"c": conv(), "b": nn.LayerNorm([8, 8, 8]), "e": conv(8, 16), "f": nn.Linear(16, 4)},
        {"c": half(8), "e": half(16)},
        whole={"c": "layer norm"},
    ),
    Case(
        "unfold",
        lambda n, x: n.f(relu(n.a(functional.unfold(relu(n.c(x)), 3).transpose(1, 2))).mean(1)),
        {"c": conv(), "a": nn.Linear(72, 32), "f": nn.Linear(32, 4)},
        {"c": half(8), "a": half(32)},
    ),
    Case(
        "product over channels by einsum",
        lambda n, x: n.f(relu(n.e(torch.einsum("bchw,cd->bdhw", relu(n.c(x)), n.w))).mean((2, 3))),
        {
            "c": conv(),
            "w": nn.Parameter(torch.randn(8, 8)),
            "e": conv(8, 16),
            "f": nn.Linear(16, 4),
        },
        {"c": half(8), "e": half(16)},
        whole={"c": ""},
    ),
    Case(
        "two outputs, one of them of another order",
        lambda n, x: (n.f(relu(n.a(x.flatten(1)))), n.g(relu(n.a(x.flatten(1))).flip(1))),
        {"a": nn.Linear(64, 32), "f": nn.Linear(32, 4), "g": nn.Linear(32, 2)},
        {"a": half(32)},
    ),
]


def shuffled(x: Tensor, groups: int) -> Tensor:
    b, c, h, w = x.shape
    return x.view(b, groups, c // groups, h, w).transpose(1, 2).reshape(b, c, h, w)


def glu(x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return a * relu(b)


def rotated(x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return torch.cat([-b, a], 1)


def built(case: Case) -> Net:
    torch.manual_seed(0)
    net = Net(case.forward, **copy.deepcopy(case.layers)).eval()
    with torch.no_grad():
        for depth, (name, units) in enumerate(case.dead.items()):
            layer = net.get_submodule(name)
            layer.weight *= 10.0 ** (len(case.dead) - depth)  # more than what reads a dead unit
            layer.weight[units] = 0
            layer.bias[units] = 0  # type: ignore[index]
    return net


def halved(net: nn.Module, inputs: Tensor) -> PruneResult:
    return prune(
        net,
        Prune(structured=Structured(sparsity=0.5, round=1, tolerance=1.0)),
        problem(),
        example_inputs=(inputs,),
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_removing_dead_channels_changes_no_output(case: Case) -> None:
    net, inputs = built(case), torch.randn(5, *case.inputs)
    with torch.no_grad():
        before = net(inputs)
    rebuilt = copy.deepcopy(net)
    result = halved(net, inputs)

    require_close(net, inputs, before)
    layers = {layer.layer: layer for layer in result.figures.layers}
    assert {name: layers[name].sparsity for name in case.dead} == {
        name: 0.0 if name in case.whole else 0.5 for name in case.dead
    }
    for name, reason in case.whole.items():
        assert reason in layers[name].note
    replay(rebuilt, History.from_json(result.history.to_json()), (inputs,))  # type: ignore[union-attr]
    rebuilt.load_state_dict(net.state_dict())
    require_close(rebuilt, inputs, before)


def require_close(net: nn.Module, inputs: Tensor, expected: tuple[Tensor, ...]) -> None:
    with torch.no_grad():
        for here, there in zip(net(inputs), expected, strict=True):
            torch.testing.assert_close(here, there, rtol=0.0, atol=1e-5 * float(there.abs().max()))
