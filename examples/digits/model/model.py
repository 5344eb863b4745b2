"""A multi-layer perceptron over the 64 pixels of a digit."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

WIDTHS = (64, 128, 64)
CLASSES = 10


def build() -> nn.Module:
    """Return the network with random weights: pixels (n, 64) to logits (n, 10)."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(WIDTHS):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(WIDTHS[-1], CLASSES))
