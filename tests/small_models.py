"""Small torch models of every kind that users bring, and data sets in memory to run them on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fulcrum_components.evaluation import metric_value, to_outcomes
from fulcrum_components.finetuning.validation import Measure
from fulcrum_components.models.signature import Signature, TensorSpec
from fulcrum_components.objective import Examples, Problem
from fulcrum_components.tasks import Array
from fulcrum_pipelines.catalog import TASKS


@dataclass(frozen=True)
class ArrayBatch:
    inputs: dict[str, NDArray[Any]]
    targets: NDArray[Any] | None
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)


class ArrayData:
    """A data set of one input `x`, in memory."""

    def __init__(self, x: NDArray[Any], targets: NDArray[Any] | None) -> None:
        self.x = x
        self.targets = targets

    def __len__(self) -> int:
        return len(self.x)

    def batches(
        self, batch_size: int, *, shuffle_seed: int | None = None, columns: Sequence[str] = ()
    ) -> Iterator[ArrayBatch]:
        order = np.arange(len(self))
        if shuffle_seed is not None:
            order = np.random.default_rng(shuffle_seed).permutation(len(self))
        for start in range(0, len(self), batch_size):
            part = order[start : start + batch_size]
            targets = None if self.targets is None else self.targets[part]
            yield ArrayBatch({"x": self.x[part]}, targets)


def signature(shape: tuple[int, ...], dtype: str = "float32") -> Signature:
    return Signature(
        (TensorSpec("x", ("batch", *shape), dtype),),
        (TensorSpec("y", ("batch", 2), "float32"),),
        "logits",
    )


def image_data(count: int = 200, seed: int = 0) -> ArrayData:
    """8 x 8 images; the class says which half is brighter."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(count, 1, 8, 8)).astype(np.float32)
    return ArrayData(x, (x[:, 0, :4].mean((1, 2)) > x[:, 0, 4:].mean((1, 2))).astype(np.int64))


IMAGE_SIGNATURE = signature((1, 8, 8))


def problem(train: Examples | None = None, **changes: Any) -> Problem:
    """Return the problem of two classes of images, with `changes`."""
    given: dict[str, Any] = {
        "signature": IMAGE_SIGNATURE,
        "task": "classification",
        "meaning": "logits",
        "seed": 0,
        **changes,
    }
    return Problem(train=train, **given)


def measure_of(asked: Problem) -> Measure:
    """Return what measures the main metric of `asked` on validation data, as stages do."""

    def measure(raw: Array, targets: Array) -> float | None:
        outcomes = to_outcomes(raw, targets, asked.task, asked.meaning, where="validation")
        return metric_value(outcomes, TASKS[asked.task].main)

    return measure


def image_net(seed: int = 0) -> nn.Sequential:
    """Two convolutions with batch norm, dropout and a classifier, for `image_data`."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AvgPool2d(4),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(128, 2),
    )


class BasicBlock(nn.Module):
    """The residual block of ResNet-18 (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + self.downsample(x))


class ResNet18(nn.Module):
    """ResNet-18 for 1000 classes, as torchvision builds it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        widths = (64, 64, 128, 256, 512)
        self.layers = nn.Sequential(
            *(
                nn.Sequential(
                    BasicBlock(widths[k - 1], widths[k], 1 if k == 1 else 2),
                    BasicBlock(widths[k], widths[k], 1),
                )
                for k in range(1, 5)
            )
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.fc(torch.flatten(self.avgpool(self.layers(x)), 1))


class Encoder(nn.Module):
    """Two layers of torch's own Transformer with a learned position and a class token."""

    def __init__(self, *, constant_positions: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 64)
        self.position: Tensor
        if constant_positions:
            self.register_buffer("position", torch.randn(1, 10, 64))
        else:
            self.position = nn.Parameter(torch.randn(1, 10, 64))
        self.token = nn.Parameter(torch.randn(1, 1, 64))
        layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.fc = nn.Linear(64, 8)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embedding(x) + self.position
        h = torch.cat([self.token.expand(h.shape[0], -1, -1), h], dim=1)
        return self.fc(self.encoder(h)[:, 0])


class SeparateAttention(nn.Module):
    """Attention with separate projections, written by hand."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.head_dim = width // heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = (
            layer(x).view(n, t, self.num_heads, self.head_dim).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        weights = torch.softmax(q @ k.transpose(-1, -2) / self.head_dim**0.5, -1)
        mixed = (weights @ v).transpose(1, 2).reshape(n, t, self.num_heads * self.head_dim)
        return self.out_proj(mixed)


class FusedAttention(nn.Module):
    """Attention with one projection for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.count = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.count, -1).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).reshape(n, t, -1))


class AttentionNet(nn.Module):
    """One Transformer layer around a hand-written attention."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 64)
        self.attention = attention
        self.norm1 = nn.LayerNorm(64)
        self.norm2 = nn.LayerNorm(64)
        self.up = nn.Linear(64, 128)
        self.down = nn.Linear(128, 64)
        self.fc = nn.Linear(64, 8)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embedding(x)
        h = self.norm1(h + self.attention(h))
        h = self.norm2(h + self.down(torch.relu(self.up(h))))
        return self.fc(h.mean(1))


def _convolution(i: int, o: int, kernel: int = 3, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(i, o, kernel, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(o), nn.ReLU6())


class Depthwise(nn.Module):
    """Depthwise and grouped convolutions, as in MobileNet and ResNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _convolution(1, 16),
            _convolution(16, 16, groups=16),
            _convolution(16, 32, 1),
            _convolution(32, 32, groups=32),
            _convolution(32, 64, 1),
            _convolution(64, 64, groups=4),
            _convolution(64, 64, 1),
        )
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).mean((2, 3)))


class Concatenating(nn.Module):
    """Concatenated features, a transposed convolution, group norm, and a flattened classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.down = nn.Conv2d(16, 32, 3, 2, 1)
        self.up = nn.ConvTranspose2d(32, 16, 2, 2)
        self.join = nn.Conv2d(32, 16, 3, padding=1)
        self.norm = nn.GroupNorm(4, 16)
        self.fc = nn.Linear(16 * 8 * 8, 10)

    def forward(self, x: Tensor) -> Tensor:
        a = self.first(x).relu()
        b = self.up(self.down(a).relu())
        return self.fc(self.norm(self.join(torch.cat([a, b], 1))).relu().flatten(1))


class Recurrent(nn.Module):
    """Linear layers before and behind a recurrent one."""

    def __init__(self, recurrent: nn.RNNBase, *, last_state: bool) -> None:
        super().__init__()
        self.first = nn.Linear(12, 32)
        self.second = nn.Linear(32, 32)
        self.recurrent = recurrent
        self.head = nn.Linear(48, 64)
        self.fc = nn.Linear(64, 9)
        self.last_state = last_state

    def forward(self, x: Tensor) -> Tensor:
        output, state = self.recurrent(self.second(self.first(x).relu()).relu())
        if self.last_state:
            hidden = state[0] if isinstance(state, tuple) else state
            return self.fc(self.head(hidden[-1]).relu())
        return self.fc(self.head(output[:, -1]).relu())


class OnlyRecurrent(nn.Module):
    """A two-layer LSTM with a classifier: nothing structured to prune."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(12, 32, 2, batch_first=True)
        self.fc = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.lstm(x)[0][:, -1])


class Experts(nn.Module):
    """A soft mixture of experts: the gate's width is not the experts'."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(16, 4)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 24)) for _ in range(4)
        )
        self.fc = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.softmax(self.gate(x), -1).unsqueeze(-1)
        return self.fc((weights * torch.stack([e(x) for e in self.experts], 1)).sum(1))


class Gated(nn.Module):
    """A gate of one output, broadcast over all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, 32)
        self.gate = nn.Linear(32, 1)
        self.fc = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x).relu()
        return self.fc(h * torch.sigmoid(self.gate(h)))


class Dense(nn.Module):
    """Embedding bag, batch norm over features, and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(40, 32)
        self.hidden = nn.Linear(32, 64)
        self.norm = nn.BatchNorm1d(64)
        self.fc = nn.Linear(64, 4)
        self.extra = nn.Linear(64, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.norm(self.hidden(self.embedding(x))).relu()
        return self.fc(h), self.extra(h)


class FixedSize(nn.Module):
    """Code that depends on the width of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 32)
        self.second = nn.Linear(32, 32)
        self.fc = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.second(self.first(x).relu().view(-1, 32)).relu())


def tokens(count: int = 2) -> Tensor:
    return torch.arange(count * 10).reshape(count, 10) % 40
