"""Random small networks: each is a program of steps over images, sequences or vectors.

A seed gives the same network on every machine. All activations map zero to zero, and every layer
whose outputs can be distinguished has its own biases, so that a channel that was removed can be
masked in the original instead (`reference.py`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from small_models import ArrayData
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrizations, parametrize

from fulcrum_components.models.signature import Signature, TensorSpec

CLASSES = 4
EXAMPLES = 48
TOKENS = 20
LENGTH = 6
WIDTH = 16
SIDE = 8
SELDOM = 0.08
"""Share of the steps after which layers come that share a weight."""

Step = Callable[["RandomNet", Tensor], Tensor]


class RandomNet(nn.Module):
    """A network that runs its steps one after the other.

    Attributes:
        layers: What the steps use, by name.
        steps: Names of the steps, in order, for the reader of a failure.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        self.steps: list[str] = []
        self._program: list[Step | None] = []

    def add(self, name: str, step: Step | None) -> None:
        """Append a step; None returns the value there as another output."""
        self.steps.append(name)
        self._program.append(step)

    def layer(self, layer: nn.Module) -> str:
        """Keep a layer and return its name."""
        name = f"l{len(self.layers)}"
        self.layers[name] = layer
        return name

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return logits, and the value at each tap."""
        taps: list[Tensor] = []
        for step in self._program:
            if step is None:
                taps.append(x)
            else:
                x = step(self, x)
        return (x, *taps) if taps else x


@dataclass
class Network:
    """A random network with examples.

    Attributes:
        seed: It gives the same again.
        module: In evaluation mode.
        signature: Its inputs and outputs.
        data: Examples, labelled by the network itself.
    """

    seed: int
    module: RandomNet
    signature: Signature
    data: ArrayData
    examples: tuple[Tensor, ...] = field(default_factory=tuple)

    @property
    def story(self) -> str:
        """The steps, for the message of a failure."""
        return f"seed {self.seed}: {' > '.join(self.module.steps)}"


class _Builder:
    """Grows one network; the shape of the current value is (channels, side), or (width,)."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.seldom = random.Random(f"seldom {seed}")
        self.net = RandomNet()
        self.channels = 0
        self.side = 0
        self.width = 0

    def choose(self, *options: Callable[[], None]) -> None:
        self.random.choice(options)()
        if self.seldom.random() < SELDOM:
            self.share()

    def share(self) -> None:
        """Append layers that have one weight between them."""
        raise NotImplementedError

    def sharing(self, one: nn.Module, other: nn.Module) -> list[str]:
        """Make the weights of two layers one, plain or computed; return the layers' names."""
        match self.seldom.randrange(3):
            case 0:
                other.weight = one.weight
            case 1:
                for layer in (one, other):
                    parametrizations.weight_norm(layer)
                first, second = (layer.parametrizations.weight for layer in (one, other))
                second.original0, second.original1 = first.original0, first.original1
            case 2:
                for layer in (one, other):
                    torch.nn.utils.weight_norm(layer)
                other.weight_g, other.weight_v = one.weight_g, one.weight_v
        return [self.net.layer(layer) for layer in (one, other)]

    def twice(self, label: str, layers: list[str]) -> None:
        """Apply two layers, one after the other."""
        one, other = layers
        self.net.add(
            label,
            lambda net, x: torch.relu(net.layers[other](torch.relu(net.layers[one](x)))),
        )

    def activate(self) -> None:
        kind = self.random.choice((nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.LeakyReLU, nn.ReLU6))
        name = self.net.layer(kind())
        self.net.add(kind.__name__, lambda net, x: net.layers[name](x))

    def apply(self, label: str, layer: nn.Module) -> None:
        name = self.net.layer(layer)
        self.net.add(label, lambda net, x: net.layers[name](x))

    def parametrized(self, layer: nn.Module) -> tuple[str, nn.Module]:
        match self.random.randrange(8):
            case 0:
                return "weightNorm ", parametrizations.weight_norm(layer)
            case 1:
                return "spectralNorm ", parametrizations.spectral_norm(layer)
            case 2:
                return "oldWeightNorm ", torch.nn.utils.weight_norm(layer)
        return "", layer

    def tap(self) -> None:
        self.net.add("tap", None)


class _Images(_Builder):
    """Convolutions and what moves channels about."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.channels, self.side = 3, SIDE

    def grow(self, steps: int) -> None:
        self.conv()
        for _ in range(steps):
            self.choose(
                *(
                    self.conv,
                    self.conv,
                    self.conv_norm,
                    self.conv_norm,
                    self.depthwise,
                    self.residual,
                ),
                *(
                    self.dense,
                    self.gated,
                    self.shuffle,
                    self.flip,
                    self.roll,
                    self.pool,
                    self.squeeze,
                ),
                *(self.grouped, self.transposed, self.pixel_shuffle, self.norm, self.swap),
                *(self.reorder, self.every_second, self.pad, self.long_skip),
            )
        self.leave()

    def new_conv(self, outputs: int, **options: int) -> tuple[str, nn.Module]:
        size = self.random.choice((1, 3))
        layer = nn.Conv2d(self.channels, outputs, size, padding=size // 2, **options)
        return self.parametrized(layer)

    def conv(self) -> None:
        outputs = self.random.choice((8, 16, 24))
        prefix, layer = self.new_conv(outputs)
        self.apply(f"{prefix}conv{self.channels}-{outputs}", layer)
        self.channels = outputs
        self.activate()

    def conv_norm(self) -> None:
        outputs = self.random.choice((8, 16))
        self.apply(
            f"conv{self.channels}-{outputs}bn",
            nn.Sequential(
                nn.Conv2d(self.channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)
            ),
        )
        self.channels = outputs
        self.activate()

    def norm(self) -> None:
        kind = self.random.randrange(3)
        layers = (
            nn.GroupNorm(4, self.channels),
            nn.LayerNorm([self.channels, self.side, self.side]),
            nn.InstanceNorm2d(self.channels, affine=True),
        )
        self.apply(type(layers[kind]).__name__, layers[kind])

    def depthwise(self) -> None:
        times = self.random.choice((1, 2))
        self.apply(
            f"depthwise x{times}",
            nn.Conv2d(self.channels, times * self.channels, 3, padding=1, groups=self.channels),
        )
        self.channels *= times
        self.activate()
        if self.channels > 32:
            self.conv()

    def grouped(self) -> None:
        self.apply("grouped", nn.Conv2d(self.channels, 16, 3, padding=1, groups=4))
        self.channels = 16
        self.activate()

    def transposed(self) -> None:
        groups = self.random.choice((1, 2))
        self.apply(
            f"transposed g{groups}",
            nn.ConvTranspose2d(self.channels, 16, 3, padding=1, groups=groups),
        )
        self.channels = 16
        self.activate()

    def residual(self) -> None:
        first, second = (
            self.net.layer(nn.Conv2d(self.channels, self.channels, 3, padding=1)) for _ in range(2)
        )
        norm = self.net.layer(nn.BatchNorm2d(self.channels))

        def step(net: RandomNet, x: Tensor) -> Tensor:
            inner = torch.relu(net.layers[norm](net.layers[first](x)))
            return torch.relu(x + net.layers[second](inner))

        self.net.add("residual", step)

    def dense(self) -> None:
        name = self.net.layer(nn.Conv2d(self.channels, 8, 3, padding=1))
        self.net.add("cat", lambda net, x: torch.cat([x, torch.relu(net.layers[name](x))], 1))
        self.channels += 8
        if self.channels > 40:
            self.conv()

    def gated(self) -> None:
        name = self.net.layer(nn.Conv2d(self.channels, 32, 1))

        def step(net: RandomNet, x: Tensor) -> Tensor:
            value, gate = net.layers[name](x).chunk(2, 1)
            return value * torch.sigmoid(gate)

        self.net.add("glu", step)
        self.channels = 16

    def squeeze(self) -> None:
        down = self.net.layer(nn.Conv2d(self.channels, 8, 1))
        up = self.net.layer(nn.Conv2d(8, self.channels, 1))

        def step(net: RandomNet, x: Tensor) -> Tensor:
            pooled = x.mean((2, 3), keepdim=True)
            return x * torch.sigmoid(net.layers[up](torch.relu(net.layers[down](pooled))))

        self.net.add("squeeze-excite", step)

    def shuffle(self) -> None:
        groups, channels, side = self.random.choice((2, 4)), self.channels, self.side
        if self.random.random() < 0.5:
            self.apply(f"ChannelShuffle{groups}", nn.ChannelShuffle(groups))
            return
        self.net.add(
            f"shuffle{groups}",
            lambda net, x: (
                x.view(-1, groups, channels // groups, side, side)
                .transpose(1, 2)
                .reshape(-1, channels, side, side)
            ),
        )

    def share(self) -> None:
        one, other = (nn.Conv2d(self.channels, self.channels, 3, padding=1) for _ in range(2))
        self.twice("shared convs", self.sharing(one, other))

    def flip(self) -> None:
        self.net.add("flip", lambda net, x: x.flip(1))

    def roll(self) -> None:
        by = self.random.randrange(1, self.channels)
        self.net.add(f"roll{by}", lambda net, x: x.roll(by, 1))

    def swap(self) -> None:
        def step(net: RandomNet, x: Tensor) -> Tensor:
            first, second = x.chunk(2, 1)
            return torch.cat([second, first], 1)

        self.net.add("swap halves", step)

    def reorder(self) -> None:
        order = list(range(self.channels))
        self.random.shuffle(order)
        self.net.add("reorder", lambda net, x: x[:, order])

    def every_second(self) -> None:
        if self.channels < 16:
            return
        self.net.add("every second", lambda net, x: x[:, ::2])
        self.channels = len(range(0, self.channels, 2))

    def pad(self) -> None:
        self.net.add("pad", lambda net, x: nn.functional.pad(x, (0, 0, 0, 0, 4, 0)))
        self.channels += 4
        self.conv()

    def long_skip(self) -> None:
        """U-Net's way: down, up, and both together."""
        if self.side < 4:
            return
        down = self.net.layer(nn.Conv2d(self.channels, 16, 3, stride=2, padding=1))
        up = self.net.layer(nn.ConvTranspose2d(16, 8, 2, stride=2))

        def step(net: RandomNet, x: Tensor) -> Tensor:
            inner = torch.relu(net.layers[up](torch.relu(net.layers[down](x))))
            return torch.cat([x, inner], 1)

        self.net.add("u-net", step)
        self.channels += 8
        if self.channels > 40:
            self.conv()

    def pool(self) -> None:
        if self.side < 4:
            return
        kind = self.random.choice((nn.MaxPool2d, nn.AvgPool2d))
        self.apply(kind.__name__, kind(2))
        self.side //= 2

    def pixel_shuffle(self) -> None:
        if self.channels < 32 or self.side > 4:
            return
        self.apply("PixelShuffle", nn.PixelShuffle(2))
        self.channels, self.side = self.channels // 4, self.side * 2

    def leave(self) -> None:
        flat = self.channels * self.side**2
        ways: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
            "flatten": (lambda x: x.flatten(1), flat),
            "permute flatten": (lambda x: x.permute(0, 2, 3, 1).flatten(1), flat),
            "transpose flatten": (lambda x: x.transpose(1, 2).flatten(1), flat),
            "mean": (lambda x: x.mean((2, 3)), self.channels),
            "amax": (lambda x: x.amax((2, 3)), self.channels),
            "view": (lambda x: x.reshape(x.shape[0], -1), flat),
            "stack": (lambda x: torch.stack([x.mean((2, 3)), x.amax((2, 3))], -1).flatten(1),
                      2 * self.channels),
        }  # fmt: skip
        name = self.random.choice(sorted(ways))
        way, self.width = ways[name]
        self.net.add(name, lambda net, x: way(x))


class _Vectors(_Builder):
    """Linear layers and what moves features about."""

    def grow(self, steps: int) -> None:
        for _ in range(steps):
            self.choose(
                *(
                    self.linear,
                    self.linear,
                    self.linear_norm,
                    self.residual,
                    self.halves,
                    self.stack,
                ),
                *(self.flip, self.tied, self.gate, self.unsqueezed, self.norm),
            )
        if self.random.random() < 0.4:
            self.tap()
            self.activate()
        self.apply("head", nn.Linear(self.width, CLASSES))

    def linear(self) -> None:
        outputs = self.random.choice((16, 24, 32))
        prefix, layer = self.parametrized(nn.Linear(self.width, outputs))
        self.apply(f"{prefix}linear{self.width}-{outputs}", layer)
        self.width = outputs
        self.activate()

    def linear_norm(self) -> None:
        self.apply("linear bn", nn.Sequential(nn.Linear(self.width, 16), nn.BatchNorm1d(16)))
        self.width = 16
        self.activate()

    def norm(self) -> None:
        self.apply("LayerNorm", nn.LayerNorm(self.width))

    def residual(self) -> None:
        up = self.net.layer(nn.Linear(self.width, 32))
        down = self.net.layer(nn.Linear(32, self.width))
        self.net.add("mlp", lambda net, x: x + net.layers[down](torch.relu(net.layers[up](x))))

    def halves(self) -> None:
        self.even()

        def step(net: RandomNet, x: Tensor) -> Tensor:
            first, second = x.chunk(2, -1)
            return torch.cat([-second, first], -1)

        self.net.add("rotate halves", step)

    def even(self) -> None:
        if self.width % 2:
            self.linear()

    def stack(self) -> None:
        one, two = (self.net.layer(nn.Linear(self.width, 8)) for _ in range(2))
        self.net.add(
            "stack flatten",
            lambda net, x: torch.stack([net.layers[one](x), net.layers[two](x)], -1).flatten(1),
        )
        self.width = 16

    def share(self) -> None:
        one, other = (nn.Linear(self.width, self.width) for _ in range(2))
        self.twice("shared linears", self.sharing(one, other))

    def flip(self) -> None:
        self.net.add("flip", lambda net, x: x.flip(-1))

    def tied(self) -> None:
        name = self.net.layer(nn.Linear(self.width, 24))

        def step(net: RandomNet, x: Tensor) -> Tensor:
            layer = net.layers[name]
            return torch.relu(layer(x)) @ layer.weight

        self.net.add("tied", step)

    def gate(self) -> None:
        value, gate = (self.net.layer(nn.Linear(self.width, 16)) for _ in range(2))
        self.net.add(
            "gate", lambda net, x: net.layers[value](x) * torch.sigmoid(net.layers[gate](x))
        )
        self.width = 16

    def unsqueezed(self) -> None:
        name = self.net.layer(nn.Conv1d(1, 4, 3, padding=1))
        width = self.width
        self.net.add(
            "as one channel",
            lambda net, x: torch.relu(net.layers[name](x.unsqueeze(1))).reshape(-1, 4 * width),
        )
        self.width *= 4
        self.linear()


class _Sequences(_Builder):
    """Attention, recurrent layers and convolutions over tokens."""

    def grow(self, steps: int) -> None:
        self.embed()
        for _ in range(steps):
            self.choose(
                *(self.feed_forward, self.attention, self.own_attention, self.encoder),
                *(self.recurrent, self.convolution, self.norm, self.mixing),
            )
        self.leave()

    def norm(self) -> None:
        self.apply("LayerNorm", nn.LayerNorm(WIDTH))

    def share(self) -> None:
        """Score tokens by the table that looked them up, as language models do."""
        scores = nn.Linear(WIDTH, TOKENS)
        table = self.net.layers[self.table]
        assert isinstance(table, nn.Embedding)
        scores.weight = table.weight
        name, back = self.net.layer(scores), self.net.layer(nn.Linear(TOKENS, WIDTH))
        self.net.add(
            "shared table",
            lambda net, x: x + net.layers[back](torch.relu(net.layers[name](x))),
        )

    def embed(self) -> None:
        """Look tokens up; in some networks attention over them with padding masked comes next."""
        self.table = table = self.net.layer(nn.Embedding(TOKENS, WIDTH))
        if self.random.random() < 0.6:
            self.net.add("embedding", lambda net, x: net.layers[table](x))
            return
        name = self.net.layer(nn.MultiheadAttention(WIDTH, 4, batch_first=True))

        def step(net: RandomNet, x: Tensor) -> Tensor:
            h = net.layers[table](x)
            padding = (x == 0) & (torch.arange(LENGTH) > 0)  # the first token is never padding
            return h + net.layers[name](h, h, h, key_padding_mask=padding, need_weights=False)[0]

        self.net.add("embedding masked attention", step)

    def feed_forward(self) -> None:
        up, down = self.net.layer(nn.Linear(WIDTH, 32)), self.net.layer(nn.Linear(32, WIDTH))
        self.net.add("mlp", lambda net, x: x + net.layers[down](torch.relu(net.layers[up](x))))

    def attention(self) -> None:
        name = self.net.layer(nn.MultiheadAttention(WIDTH, 4, batch_first=True))
        causal = self.random.random() < 0.5

        def step(net: RandomNet, x: Tensor) -> Tensor:
            mask = nn.Transformer.generate_square_subsequent_mask(LENGTH) if causal else None
            return x + net.layers[name](x, x, x, need_weights=False, attn_mask=mask)[0]

        self.net.add("causal attention" if causal else "attention", step)

    def own_attention(self) -> None:
        q, k, v, out = (self.net.layer(nn.Linear(WIDTH, WIDTH)) for _ in range(4))

        def step(net: RandomNet, x: Tensor) -> Tensor:
            heads = [
                net.layers[name](x).view(-1, LENGTH, 2, WIDTH // 2).transpose(1, 2)
                for name in (q, k, v)
            ]
            mixed = torch.softmax(heads[0] @ heads[1].transpose(-1, -2) / 3, -1) @ heads[2]
            return x + net.layers[out](mixed.transpose(1, 2).reshape(-1, LENGTH, WIDTH))

        self.net.add("own attention", step)

    def encoder(self) -> None:
        self.apply("encoder", nn.TransformerEncoderLayer(WIDTH, 2, 32, batch_first=True))

    def recurrent(self) -> None:
        kind = self.random.choice((nn.LSTM, nn.GRU))
        name = self.net.layer(kind(WIDTH, WIDTH, batch_first=True))
        self.net.add(kind.__name__, lambda net, x: net.layers[name](x)[0])

    def convolution(self) -> None:
        one = self.net.layer(nn.Conv1d(WIDTH, 24, 3, padding=1))
        two = self.net.layer(nn.Conv1d(24, WIDTH, 1))
        self.net.add(
            "conv1d",
            lambda net, x: net.layers[two](
                torch.relu(net.layers[one](x.transpose(1, 2)))
            ).transpose(1, 2),
        )

    def mixing(self) -> None:
        name = self.net.layer(nn.Linear(LENGTH, LENGTH))
        self.net.add(
            "token mixing",
            lambda net, x: x + net.layers[name](x.transpose(1, 2)).transpose(1, 2),
        )

    def leave(self) -> None:
        ways: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
            "mean": (lambda x: x.mean(1), WIDTH),
            "last": (lambda x: x[:, -1], WIDTH),
            "flatten": (lambda x: x.flatten(1), WIDTH * LENGTH),
            "transpose flatten": (lambda x: x.transpose(1, 2).flatten(1), WIDTH * LENGTH),
        }
        name = self.random.choice(sorted(ways))
        way, self.width = ways[name]
        self.net.add(name, lambda net, x: way(x))


def make_network(seed: int, examples: int = EXAMPLES) -> Network:
    """Return the random network of `seed`."""
    torch.manual_seed(seed)
    chooser = random.Random(seed)
    kind = chooser.choice(("images", "images", "vectors", "sequences"))
    body: _Images | _Sequences | None = None
    if kind == "images":
        body = _Images(seed)
        shape, dtype = (3, SIDE, SIDE), "float32"
    elif kind == "sequences":
        body = _Sequences(seed)
        shape, dtype = (LENGTH,), "int64"
    else:
        shape, dtype = (12,), "float32"
    head = _Vectors(seed + 1)
    head.width = 12
    if body is not None:
        body.grow(chooser.randrange(1, 6))
        head.net, head.width = body.net, body.width
    head.grow(chooser.randrange(0, 4) + (2 if body is None else 0))
    x = _values(shape, dtype, seed)
    module = _settled(head.net, torch.from_numpy(x), seed)
    x = x[:examples]
    with torch.no_grad():
        outputs = module(torch.from_numpy(x))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    names = ("logits", *(f"tap{number}" for number in range(len(outputs) - 1)))
    signature = Signature(
        (TensorSpec("x", ("batch", *shape), dtype),),
        tuple(
            TensorSpec(name, ("batch", *value.shape[1:]), "float32")
            for name, value in zip(names, outputs, strict=True)
        ),
        "logits",
    )
    labels = outputs[0].argmax(1).numpy()
    data = ArrayData(x, labels)
    return Network(seed, module, signature, data, (torch.from_numpy(x[:4]),))


def _settled(module: RandomNet, x: Tensor, seed: int) -> RandomNet:
    """Return `module` with biases and statistics that differ from channel to channel.

    Layers are scaled until what they make differs from example to example by 1. As torch
    initialises them, signals fade from layer to layer, and after five an output depends so little
    on the input that no comparison sees what became of it.
    """
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        for name in ("bias", "in_proj_bias"):
            bias = getattr(part, name, None)
            if isinstance(bias, nn.Parameter):
                bias.data = 0.3 * torch.randn(bias.shape, generator=generator)
        if parametrize.is_parametrized(part, "weight"):
            for _ in range(60):  # spectral norms settle, as in a trained network
                _ = part.weight
    module.eval()

    def follow(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
        channels = inputs[0].transpose(0, 1).flatten(1)
        deviation = channels.std(1)
        shift = 0.2 * torch.randn(norm.num_features, generator=generator)
        factor = 0.5 + torch.rand(norm.num_features, generator=generator)
        norm.running_mean = channels.mean(1) + shift * deviation
        norm.running_var = deviation.square() * factor

    handles = [
        part.register_forward_pre_hook(follow)
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)
        else part.register_forward_hook(_scaled)
        for part in module.modules()
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d | nn.Linear | _ConvNd)
    ]
    with torch.no_grad():
        module(x)
    for handle in handles:
        handle.remove()
    return module


def _scaled(layer: nn.Module, _: object, output: Tensor) -> Tensor:
    """Scale a layer's weights until its output varies by 1; return what it makes then."""
    scale = 1 / output.std(0).mean().clamp_min(1e-3)
    if parametrize.is_parametrized(layer, "weight"):
        lengths = getattr(layer.parametrizations.weight, "original0", None)  # type: ignore[union-attr,arg-type]
    else:
        lengths = getattr(layer, "weight_g", getattr(layer, "weight", None))
    if not isinstance(lengths, nn.Parameter):
        return output  # a spectral norm is 1
    lengths.data *= scale
    bias = torch.zeros(1) if layer.bias is None else layer.bias
    assert isinstance(bias, Tensor)
    axes = output.ndim - 2 if isinstance(layer, _ConvNd) else 0
    bias = bias.reshape(-1, *[1] * axes)
    return (output - bias) * scale + bias


def _values(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    if dtype == "int64":
        return generator.integers(0, TOKENS, (EXAMPLES, *shape))
    return generator.normal(size=(EXAMPLES, *shape)).astype(np.float32)
