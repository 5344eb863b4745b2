"""A small residual network for 28 x 28 grey images.

Two wide blocks behind a stride, rather than three narrow ones: a short network spends its time in
convolutions, which pruning and integers make faster, and not between them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = (96, 128)
CLASSES = 10


class Block(nn.Module):
    """Two 3 x 3 convolutions with a connection past them (He et al. 2016).

    Input (n, inputs, h, w), output (n, outputs, h / stride, w / stride).
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        inner = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


class ResidualNet(nn.Module):
    """Images (n, 1, 28, 28) to logits (n, 10)."""

    def __init__(self) -> None:
        super().__init__()
        narrow, wide = CHANNELS
        self.stem = nn.Conv2d(1, narrow, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(narrow)
        self.blocks = nn.Sequential(Block(narrow, narrow, 1), Block(narrow, wide, 2))
        self.head = nn.Linear(wide, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of `image`."""
        x = torch.relu(self.norm(self.stem(image)))
        x = functional.avg_pool2d(self.blocks(x), 7)
        return self.head(x.flatten(1))  # type: ignore[no-any-return]  # torch types calls as Any


def build() -> nn.Module:
    """Return the network with random weights."""
    return ResidualNet()
