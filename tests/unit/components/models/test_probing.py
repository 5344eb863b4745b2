"""Inputs and outputs of modules are found by their layers and by trying."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from fulcrum_components.models.probing import probe
from fulcrum_pipelines.errors import UserError


class Simple(nn.Module):
    """Layers by name, and a function of them as forward."""

    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)


class Convolutional(Simple):
    def forward(self, x: Tensor) -> Tensor:
        """Pool an image of any size."""
        return self.f(relu(self.c(x)).mean((2, 3)))


class Flattening(Simple):
    def forward(self, image: Tensor) -> Tensor:
        """Take one size only."""
        return self.f(relu(self.c(image)).flatten(1))


class Text(Simple):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Return logits and hidden states."""
        hidden = self.t(self.e(input_ids), src_key_padding_mask=~attention_mask)
        return {"logits": self.f(hidden[:, 0]), "hidden": hidden}


class Causal(Simple):
    def __init__(self) -> None:
        super().__init__(
            e=nn.Embedding(30, 16),
            t=nn.TransformerEncoderLayer(16, 4, 32, batch_first=True),
            f=nn.Linear(16, 4),
        )
        mask = nn.Transformer.generate_square_subsequent_mask(13)
        self.register_buffer("mask", mask)

    def forward(self, ids: Tensor) -> Tensor:
        """Take sequences of 13."""
        return self.f(self.t(self.e(ids), src_mask=self.mask)[:, -1])


class Recurrent(Simple):
    def forward(self, series: Tensor) -> Tensor:
        """Take batches first."""
        return self.f(self.r(series)[0][:, -1])


class TimeFirst(Simple):
    def forward(self, series: Tensor) -> Tensor:
        """Turn batches around."""
        return self.f(self.r(series.transpose(0, 1))[0][-1])


class Lengths(Simple):
    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Take the mean of what is not padding."""
        mask = torch.arange(ids.shape[1]) < lengths[:, None]
        pooled = (self.e(ids) * mask[..., None]).sum(1) / lengths[:, None]
        logits = self.f(pooled)
        return logits  # noqa: RET504 - its name is looked for


class Graph(Simple):
    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """Pool the nodes."""
        return self.f(relu(self.g(adjacency @ x)).mean(1))


class Recommender(Simple):
    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """Score pairs."""
        score = torch.sigmoid(self.f(torch.cat([self.u(user), self.i(item)], -1)))
        return score  # noqa: RET504 - its name is looked for


class Out(NamedTuple):
    loss: Tensor | None
    values: Tensor
    embedding: Tensor


class Towers(Simple):
    def forward(self, wide: Tensor, *, deep: Tensor) -> Out:
        """Return a named tuple."""
        embedding = self.d(deep)
        return Out(None, self.f(torch.cat([self.w(wide), embedding], 1))[:, 0], embedding)


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(7, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply with a parameter of this module itself."""
        return (x @ self.weight).softmax(-1)


class HeadFirst(Simple):
    def forward(self, x: Tensor, temperature: float = 1.0) -> Tensor:
        """Use the layer that was made last."""
        return self.head(relu(self.body(x))) / temperature


@dataclass(frozen=True)
class TestCase:
    """A module and what must be found.

    Attributes:
        name: Its kind.
        make: Builds it.
        inputs: Each as text.
        outputs: Each as text.
        meaning: Of the first output.
        doubts: The fields that a person must look at.
    """

    __test__ = False

    name: str
    make: Callable[[], nn.Module]
    inputs: dict[str, str]
    outputs: dict[str, str]
    meaning: str = "logits"
    doubts: set[str] = field(default_factory=lambda: {"meaning"})


ENCODER = {"d_model": 16, "nhead": 4, "dim_feedforward": 32, "batch_first": True}
L4 = {"output": "float32[batch, 4]"}
CASES = [
    TestCase(
        "rows", lambda: nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 4)),
        {"input": "float32[batch, 5]"}, L4,
    ),
    TestCase(
        "flattened images",
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 4)),
        {"input": "float32[batch, 784]"}, L4, doubts={"meaning", "inputs"},
    ),
    TestCase(
        "images of any size",
        lambda: Convolutional(c=nn.Conv2d(3, 8, 3), f=nn.Linear(8, 4)),
        {"x": "float32[batch, 3, 32, 32]"}, L4, doubts={"meaning", "inputs"},
    ),
    TestCase(
        "images of one odd size",
        lambda: Flattening(c=nn.Conv2d(1, 4, 3, padding=1), f=nn.Linear(4 * 10 * 10, 4)),
        {"image": "float32[batch, 1, 10, 10]"}, L4,
    ),
    TestCase(
        "batch norm and depthwise convolutions",
        lambda: nn.Sequential(
            nn.BatchNorm2d(4), nn.Conv2d(4, 8, 3, groups=4), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(8, 4),
        ),
        {"input": "float32[batch, 4, 32, 32]"}, L4, doubts={"meaning", "inputs"},
    ),
    TestCase(
        "series by convolution",
        lambda: nn.Sequential(
            nn.Conv1d(6, 8, 3), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(8, 4)
        ),
        {"input": "float32[batch, 6, length]"}, L4,
    ),
    TestCase(
        "text with a mask",
        lambda: Text(
            e=nn.Embedding(30, 16), t=nn.TransformerEncoderLayer(**ENCODER), f=nn.Linear(16, 4)
        ),
        {"input_ids": "int64[batch, length]", "attention_mask": "bool[batch, length]"},
        {"logits": "float32[batch, 4]", "hidden": "float32[batch, length, 16]"},
    ),
    TestCase("text of one length", Causal, {"ids": "int64[batch, 13]"}, L4),
    TestCase(
        "text with lengths",
        lambda: Lengths(e=nn.Embedding(30, 16), f=nn.Linear(16, 4)),
        {"ids": "int64[batch, length]", "lengths": "int64[batch]"},
        {"logits": "float32[batch, 4]"},
    ),
    TestCase(
        "LSTM", lambda: Recurrent(r=nn.LSTM(6, 16, batch_first=True), f=nn.Linear(16, 4)),
        {"series": "float32[batch, length, 6]"}, L4,
    ),
    TestCase(
        "GRU, time first", lambda: TimeFirst(r=nn.GRU(6, 16, 2), f=nn.Linear(16, 4)),
        {"series": "float32[batch, length, 6]"}, L4,
    ),
    TestCase(
        "graph", lambda: Graph(g=nn.Linear(9, 16), f=nn.Linear(16, 1)),
        {"x": "float32[batch, length, 9]", "adjacency": "float32[batch, length, length]"},
        {"output": "float32[batch, 1]"}, meaning="value",
    ),
    TestCase(
        "recommender",
        lambda: Recommender(u=nn.Embedding(50, 8), i=nn.Embedding(40, 8), f=nn.Linear(16, 1)),
        {"user": "int64[batch]", "item": "int64[batch]"},
        {"score": "float32[batch, 1]"}, meaning="probabilities", doubts=set(),
    ),
    TestCase(
        "two towers",
        lambda: Towers(w=nn.Linear(3, 8), d=nn.Linear(5, 8), f=nn.Linear(16, 1)),
        {"wide": "float32[batch, 3]", "deep": "float32[batch, 5]"},
        {"values": "float32[batch]", "embedding": "float32[batch, 8]"}, meaning="value",
    ),
    TestCase(
        "a parameter outside of layers", Own, {"x": "float32[batch, 7]"},
        {"output": "float32[batch, 3]"}, meaning="probabilities", doubts=set(),
    ),
    TestCase(
        "made in another order",
        lambda: HeadFirst(head=nn.Linear(8, 4), body=nn.Linear(6, 8)),
        {"x": "float32[batch, 6]"}, L4,
    ),
    TestCase(
        "lazy layers",
        lambda: nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(4)),
        {"input": "float32[batch, 3, 32, 32]"}, L4,
    ),
    TestCase(
        "double precision", lambda: nn.Linear(5, 4).double(),
        {"input": "float64[batch, 5]"}, {"output": "float64[batch, 4]"},
    ),
    TestCase(
        "an image for an image",
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 1, 3, padding=1)),
        {"input": "float32[batch, 1, 32, 32]"}, {"output": "float32[batch, 1, 32, 32]"},
        doubts={"meaning", "inputs"},
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_inputs_and_outputs_are_found(case: TestCase, tmp_path: Path) -> None:
    guess = probe(case.make().eval(), tmp_path)
    signature = guess.signature
    assert {spec.name: str(spec) for spec in signature.inputs} == case.inputs
    assert {spec.name: str(spec) for spec in signature.outputs} == case.outputs
    assert signature.meaning == case.meaning
    assert set(guess.doubts) == case.doubts


class Strange(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """Take nothing that one could guess."""
        raise ValueError(f"not {tuple(x.shape)}\nreally")


class Mixing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Let every example depend on the others."""
        return self.layer(x) - x.mean(0)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Strange(), "no guess of the inputs works"),
        (Mixing(), "outputs without a row for each example"),
    ],
)
def test_what_cannot_be_guessed_is_said(module: nn.Module, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words) as caught:
        probe(module.eval(), tmp_path)
    assert len(str(caught.value).splitlines()) == 1
