"""Small models of every family that Fulcrum promises to take, and ResNet-18.

Weights are random: what is tested with them is structure, numerics and speed, never accuracy.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fulcrum_components.models.signature import Signature, TensorSpec


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, figure 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


class ResNet8(nn.Module):
    """Three blocks on small grey images."""

    def __init__(self, width: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.blocks = nn.Sequential(
            ResidualBlock(width, width, 1),
            ResidualBlock(width, 2 * width, 2),
            ResidualBlock(2 * width, 4 * width, 2),
        )
        self.head = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class ResNet18(nn.Module):
    """The standard architecture: 11,689,512 parameters."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        widths = (64, 64, 128, 256, 512)
        blocks: list[nn.Module] = []
        for stage, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
            blocks.append(ResidualBlock(inputs, outputs, 1 if stage == 0 else 2))
            blocks.append(ResidualBlock(outputs, outputs, 1))
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.flatten(self.pool(self.blocks(self.stem(x))), 1))


class Encoder(nn.Module):
    """Two Transformer layers over token numbers; 0 is padding where `masked`."""

    def __init__(self, masked: bool = False) -> None:
        super().__init__()
        self.masked = masked
        self.tokens = nn.Embedding(100, 32)
        self.positions = nn.Parameter(torch.randn(16, 32) * 0.1)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu")
        self.layers = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(32, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        mask = tokens == 0 if self.masked else None
        x = self.layers(self.tokens(tokens) + self.positions, src_key_padding_mask=mask)
        return self.head(x.mean(1))


class Recurrent(nn.Module):
    """An LSTM or GRU whose last step is classified."""

    def __init__(self, cell: type[nn.LSTM] | type[nn.GRU], layers: int, both_ways: bool) -> None:
        super().__init__()
        self.cell = cell(12, 32, layers, batch_first=True, bidirectional=both_ways)
        self.head = nn.Linear(64 if both_ways else 32, 9)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0][:, -1])


class EmbeddingMlp(nn.Module):
    """Two embeddings and an MLP, as recommenders have it."""

    def __init__(self) -> None:
        super().__init__()
        self.users = nn.Embedding(50, 16)
        self.items = nn.Embedding(50, 16)
        self.mlp = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        return self.mlp(torch.cat([self.users(user), self.items(item)], 1))


class Bag(nn.Module):
    """EmbeddingBag, which ONNX expresses as a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(100, 16, mode="mean")
        self.head = nn.Linear(16, 4)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.bag(words))


class Gcn(nn.Module):
    """Two graph convolutions over a dense adjacency matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 32)
        self.second = nn.Linear(32, 32)
        self.head = nn.Linear(32, 1)

    def forward(self, nodes: Tensor, adjacency: Tensor) -> Tensor:
        hidden = torch.relu(adjacency @ self.first(nodes))
        hidden = torch.relu(adjacency @ self.second(hidden))
        return self.head(hidden.mean(1))


@dataclass(frozen=True)
class Family:
    """A model family.

    Attributes:
        build: Makes the module.
        inputs: Name → (shape without batch, highest index for integer inputs or None).
        axes: Names of dynamic axes beside batch, by input and axis.
    """

    build: Callable[[], nn.Module]
    inputs: dict[str, tuple[tuple[int, ...], int | None]]
    outputs: int
    axes: dict[tuple[str, int], str]

    def signature(self) -> Signature:
        """Return the signature with the dynamic axes named."""
        specs = []
        for name, (shape, highest) in self.inputs.items():
            sizes = (self.axes.get((name, axis), size) for axis, size in enumerate(shape, 1))
            dtype = "float32" if highest is None else "int64"
            specs.append(TensorSpec(name, ("batch", *sizes), dtype))
        output = TensorSpec("output", ("batch", self.outputs), "float32")
        return Signature(tuple(specs), (output,), "logits")

    def examples(self, count: int, seed: int = 0) -> dict[str, np.ndarray]:
        """Return `count` random examples."""
        generator = np.random.default_rng(seed)
        return {
            name: generator.normal(size=(count, *shape)).astype(np.float32)
            if highest is None
            else generator.integers(0, highest, (count, *shape))
            for name, (shape, highest) in self.inputs.items()
        }


FAMILIES = {
    "residual CNN": Family(ResNet8, {"image": ((1, 28, 28), None)}, 10, {}),
    "Transformer": Family(Encoder, {"tokens": ((16,), 100)}, 5, {}),
    "Transformer with padding": Family(
        lambda: Encoder(masked=True), {"tokens": ((16,), 100)}, 5, {}
    ),
    "LSTM": Family(lambda: Recurrent(nn.LSTM, 2, False), {"x": ((20, 12), None)}, 9, {}),
    "BiGRU": Family(lambda: Recurrent(nn.GRU, 1, True), {"x": ((20, 12), None)}, 9, {}),
    "embedding MLP": Family(EmbeddingMlp, {"user": ((), 50), "item": ((), 50)}, 1, {}),
    "EmbeddingBag": Family(Bag, {"words": ((6,), 100)}, 4, {("words", 1): "length"}),
    "GCN": Family(
        Gcn,
        {"nodes": ((7, 8), None), "adjacency": ((7, 7), None)},
        1,
        {("nodes", 1): "n", ("adjacency", 1): "n", ("adjacency", 2): "n"},
    ),
}


def resnet18(pixels: int) -> Family:
    """Return ResNet-18 for images of `pixels` x `pixels`."""
    return Family(ResNet18, {"image": ((3, pixels, pixels), None)}, 1000, {})
