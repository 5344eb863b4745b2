"""A Transformer encoder of two layers that finds the topic of a news item from its first words."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WORDS = 1000
LENGTH = 64
WIDTH = 64
CLASSES = 8


class Encoder(nn.Module):
    """Token numbers (n, 64) to logits (n, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH, padding_idx=0)
        self.places = nn.Embedding(LENGTH, WIDTH)
        layer = nn.TransformerEncoderLayer(
            WIDTH, nhead=4, dim_feedforward=4 * WIDTH, dropout=0.1, batch_first=True
        )
        self.layers = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits from the mean over all words that are there."""
        places = torch.arange(LENGTH, device=tokens.device)
        x = self.layers(self.words(tokens) + self.places(places))
        there = (tokens != 0).unsqueeze(-1).to(x.dtype)
        mean = (x * there).sum(1) / there.sum(1).clamp_min(1)
        return self.head(mean)  # type: ignore[no-any-return]  # torch types calls as Any


def build() -> nn.Module:
    """Return the network with random weights."""
    return Encoder()
