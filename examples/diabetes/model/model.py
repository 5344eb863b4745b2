"""A multi-layer perceptron for a regression over ten measurements."""

from __future__ import annotations

from torch import nn

WIDTH = 128


def build() -> nn.Module:
    """Return the network with random weights: measurements (n, 10) to progression (n, 1)."""
    return nn.Sequential(
        nn.Linear(10, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(),
        nn.Linear(WIDTH, 1),
    )
