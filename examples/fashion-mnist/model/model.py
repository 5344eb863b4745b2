"""Four convolutions with batch norm for 28 x 28 grey images: a plain network, without residuals."""

from __future__ import annotations

from torch import Tensor, nn

CHANNELS = (32, 48, 64, 96)
POOLED = (True, False, True, True)
CLASSES = 10


class PlainNet(nn.Module):
    """Images (n, 1, 28, 28) to logits (n, 10)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 1
        for outputs, pooled in zip(CHANNELS, POOLED, strict=True):
            layers += [
                nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
            if pooled:
                layers.append(nn.MaxPool2d(2))
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(inputs * 3 * 3, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of `image`."""
        return self.head(self.features(image).flatten(1))  # type: ignore[no-any-return]  # torch types calls as Any


def build() -> nn.Module:
    """Return the network with random weights."""
    return PlainNet()
