"""Find out what a module takes and gives, by its first layers and by trying.

`forward` says how many inputs there are and what they are called; the layers say which shapes could
be meant. A guess counts once the module runs on it with two sizes of batch and answers each example
as it does alone in a smaller batch, which shows that axis 0 really is the batch.
"""

from __future__ import annotations

import inspect
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.parameter import is_lazy

from fulcrum_components.blame import blame
from fulcrum_components.models.calling import take_by_position
from fulcrum_components.models.naming_outputs import output_names
from fulcrum_components.models.signature import BATCH, Signature, TensorSpec
from fulcrum_components.objective import output_tensors
from fulcrum_components.quiet import quiet
from fulcrum_pipelines.catalog import Meaning
from fulcrum_pipelines.errors import FulcrumError, UserError

LENGTH, SIZE = "length", "size"
COMMON = {LENGTH: (8, 12, 16, 32, 64, 128), SIZE: (32, 28, 224, 64)}
ALL = {LENGTH: tuple(range(1, 257)), SIZE: tuple(range(4, 257))}
DEFAULT_INPUTS = 3
MOST_CANDIDATES = 10
MOST_COMBINATIONS = 600
PATIENCE_S = 90.0
Shape = tuple[int | str, ...]
Axes = Mapping[str, int]


@dataclass(frozen=True)
class Guess:
    """Inputs and outputs of a module.

    Attributes:
        signature: Inputs and outputs on which it was tried.
        doubts: What only a person can know, by field (`inputs`, `meaning`), in sentences.
    """

    signature: Signature
    doubts: Mapping[str, str]


def probe(module: nn.Module, directory: Path) -> Guess:
    """Return inputs that `module` takes, and the outputs that it gives for them.

    Raises:
        UserError: No guess works; the message has what the first one came to.
    """
    names = _input_names(module)
    dummies = tuple(TensorSpec(name, (BATCH,), "float32") for name in names)
    take_by_position(module, Signature(dummies, (), "logits"), directory)
    options = [candidates(module, name) for name in names]
    combinations = sorted(
        itertools.islice(itertools.product(*map(enumerate, options)), MOST_COMBINATIONS),
        key=lambda ranked: sum(rank for rank, _ in ranked),
    )
    trial = _Trial(module, time.monotonic() + PATIENCE_S)
    for wide, sizes in ((False, COMMON), (True, COMMON), (False, ALL), (True, ALL)):
        for ranked in combinations:
            inputs = tuple(spec for _, spec in ranked)
            for axes in _sizes(inputs, sizes):
                if trial.works(inputs, axes, wide=wide):
                    return _finished(trial, inputs, axes)
    message = f"no guess of the inputs works; the first came to {trial.failure}"
    raise UserError(message, where=f"{directory}: forward")


def _input_names(module: nn.Module) -> list[str]:
    """Return the names of the parameters of `forward` that have to be given."""
    parameters = inspect.signature(module.forward).parameters.values()
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = [
        each.name
        for each in parameters
        if each.kind not in variable and each.default is inspect.Parameter.empty
    ]
    return names or ["x"]


def candidates(module: nn.Module, name: str) -> list[TensorSpec]:
    """Return what the input `name` of `module` could be, the likeliest first."""
    shapes = [*_by_name(name.lower()), *_by_layers(module)]
    return [TensorSpec(name, shape, dtype) for shape, dtype in dict.fromkeys(shapes)][
        :MOST_CANDIDATES
    ]


def _by_name(name: str) -> Iterator[tuple[Shape, str]]:
    if "mask" in name:
        for dtype in ("bool", "float32", "int64"):
            yield (BATCH, LENGTH), dtype
    elif "len" in name:
        yield (BATCH,), "int64"
    elif name.startswith("adj"):
        yield (BATCH, LENGTH, LENGTH), "float32"


def _by_layers(module: nn.Module) -> Iterator[tuple[Shape, str]]:
    """Yield the inputs of each layer, in the order in which they were made."""
    parameters = module.parameters()
    floating = next((p.dtype for p in parameters if p.is_floating_point()), torch.float32)
    kinds = dict.fromkeys(("float32", str(floating).removeprefix("torch.")))
    for layer in module.modules():
        if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
            yield (BATCH, LENGTH), "int64"
            yield (BATCH,), "int64"
            continue
        for shape in _shapes_of(layer):
            for kind in kinds:
                if kind != "bfloat16":
                    yield shape, kind


def _shapes_of(layer: nn.Module) -> Iterator[Shape]:
    match layer:
        case _ConvNd():
            axes = len(layer.kernel_size)
            kind = LENGTH if axes == 1 else SIZE
            channels = _inputs_of(layer)
            yield (BATCH, channels, *[kind] * axes)
            if channels == 1:
                yield (BATCH, *[kind] * axes)
        case nn.RNNBase():
            yield (BATCH, LENGTH, layer.input_size)
        case nn.Linear():
            features = _inputs_of(layer)
            yield (BATCH, features)
            yield (BATCH, LENGTH, features)
        case nn.MultiheadAttention():
            yield (BATCH, LENGTH, layer.embed_dim)
        case nn.BatchNorm1d():
            yield (BATCH, layer.num_features)
        case nn.BatchNorm2d():
            yield (BATCH, layer.num_features, SIZE, SIZE)
        case nn.LayerNorm():
            yield (BATCH, *layer.normalized_shape)
            yield (BATCH, LENGTH, *layer.normalized_shape)
        case nn.Bilinear():
            yield (BATCH, layer.in1_features)
            yield (BATCH, layer.in2_features)
        case _:
            for parameter in layer.parameters(recurse=False):
                if parameter.ndim == 2:
                    yield (BATCH, parameter.shape[0])
                    yield (BATCH, parameter.shape[1])


def _inputs_of(layer: _ConvNd | nn.Linear) -> int:
    """Return how many channels or features go in, also if a lazy layer does not know them yet."""
    if is_lazy(layer.weight):
        return DEFAULT_INPUTS
    axis = 0 if isinstance(layer, _ConvTransposeNd) else 1
    groups = layer.groups if isinstance(layer, _ConvNd) and axis else 1
    return int(layer.weight.shape[axis]) * groups


def _sizes(inputs: Iterable[TensorSpec], sizes: Mapping[str, tuple[int, ...]]) -> Iterator[Axes]:
    """Yield sizes of the axes whose size is not known; of two, the common ones only."""
    free = [axis for axis in (LENGTH, SIZE) if any(axis in spec.shape[1:] for spec in inputs)]
    chosen = [sizes[axis] if len(free) == 1 else COMMON[axis] for axis in free]
    for values in itertools.product(*chosen):
        yield dict(zip(free, values, strict=True))


class _Trial:
    """Runs a module on made-up inputs."""

    def __init__(self, module: nn.Module, deadline_s: float) -> None:
        self.module = module
        self._deadline_s = deadline_s
        tables = [m for m in module.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)]
        self._entries = min((table.num_embeddings for table in tables), default=2)
        self.failure = ""

    def works(self, inputs: tuple[TensorSpec, ...], axes: Axes, *, wide: bool) -> bool:
        """Return whether the module takes `inputs`; `wide`: also if its first output is not a row.

        Most models give one number or row of numbers an example, of one size. Guesses on which a
        model gives more axes, or one that is as long as the input, come later.
        """
        if time.monotonic() > self._deadline_s:
            return False
        try:
            three = self.run(inputs, axes, 3)
            two = self.run(inputs, axes, 2)
        except FulcrumError as error:
            self.failure = self.failure or error.message
            return False
        except Exception as error:  # user code may raise anything
            self.failure = self.failure or blame(error)
            return False
        if not wide and (three[0].ndim > 2 or axes.get(LENGTH) in three[0].shape[1:]):
            return False
        alone = len(three) == len(two) and all(map(_same_rows, three, two))
        if not alone:
            self.failure = self.failure or "outputs without a row for each example"
        return alone

    def run(
        self, inputs: tuple[TensorSpec, ...], axes: Axes, batch: int, scale: float = 1.0
    ) -> tuple[Tensor, ...]:
        """Return the outputs for the first `batch` of three made-up examples."""
        return output_tensors(self.result(inputs, axes, batch, scale))

    def result(
        self, inputs: tuple[TensorSpec, ...], axes: Axes, batch: int, scale: float = 1.0
    ) -> object:
        """Return what forward returns for the first `batch` of three made-up examples."""
        generator = np.random.default_rng(0)
        made = [self._values(spec, {**axes, BATCH: 3}, generator, scale)[:batch] for spec in inputs]
        with torch.no_grad(), quiet():
            return self.module(*(torch.from_numpy(value.copy()) for value in made))

    def _values(
        self, spec: TensorSpec, axes: Axes, generator: np.random.Generator, scale: float
    ) -> np.ndarray:
        sizes = spec.sizes(axes)
        if spec.dtype == "bool":
            return np.ones(sizes, bool)
        if spec.dtype.startswith("float"):
            return (scale * generator.normal(size=sizes)).astype(spec.dtype)
        if "len" in spec.name.lower():
            return np.full(sizes, axes.get(LENGTH, 1))
        return generator.integers(min(1, self._entries - 1), self._entries, sizes)


def _same_rows(three: Tensor, two: Tensor) -> bool:
    """Return whether both have a row an example, and the same for the same example."""
    if not (three.ndim and two.ndim and len(three) == 3 and len(two) == 2):
        return False
    return torch.allclose(three[:2].double(), two.double(), 1e-3, 1e-3, equal_nan=True)


def _finished(trial: _Trial, inputs: tuple[TensorSpec, ...], axes: Axes) -> Guess:
    doubts: dict[str, str] = {}
    dynamic = LENGTH in axes and _takes_other(trial, inputs, axes, LENGTH)
    fixed = {axis: size for axis, size in axes.items() if not (dynamic and axis == LENGTH)}
    specs = tuple(
        replace(spec, shape=tuple(fixed.get(size, size) for size in spec.shape))  # type: ignore[arg-type]
        for spec in inputs
    )
    if SIZE in axes and _takes_other(trial, inputs, axes, SIZE):
        doubts["inputs"] = "the model takes images of other sizes too; give that of your data"
    elif flat := _also_flat(trial, inputs):
        doubts["inputs"] = f"the model takes {flat} too; give the shape that your data have"
    outputs = trial.run(inputs, axes, 3)
    longer = trial.run(inputs, {**axes, LENGTH: 2 * axes[LENGTH]}, 3) if dynamic else outputs
    names = output_names(
        type(trial.module), trial.result(inputs, axes, 3), len(outputs), {s.name for s in inputs}
    )
    results = tuple(
        TensorSpec(name, _shape(one, other), str(one.dtype).removeprefix("torch."))
        for name, one, other in zip(names, outputs, longer, strict=True)
    )
    meaning, doubt = _meaning(outputs[0], trial.run(inputs, axes, 3, 20.0)[0])
    if doubt:
        doubts["meaning"] = doubt
    return Guess(Signature(specs, results, meaning), doubts)


def _takes_other(trial: _Trial, inputs: tuple[TensorSpec, ...], axes: Axes, axis: str) -> bool:
    return trial.works(inputs, {**axes, axis: 2 * axes[axis]}, wide=True)


def _also_flat(trial: _Trial, inputs: tuple[TensorSpec, ...]) -> str:
    """Return an image that a model takes where it takes a row, or nothing."""
    if len(inputs) != 1 or len(inputs[0].shape) != 2 or not isinstance(inputs[0].shape[1], int):
        return ""
    for channels in (1, 3):
        size = round((inputs[0].shape[1] / channels) ** 0.5)
        image = replace(inputs[0], shape=(BATCH, channels, size, size))
        fits = size > 1 and channels * size * size == inputs[0].shape[1]
        if fits and trial.works((image,), {}, wide=False):
            return f"[{BATCH}, {channels}, {size}, {size}]"
    return ""


def _shape(one: Tensor, longer: Tensor) -> Shape:
    """Return a shape in which axes that grow with the length are named."""
    pairs = zip(one.shape[1:], longer.shape[1:], strict=True)
    return (BATCH, *(size if size == other else LENGTH for size, other in pairs))


def _meaning(output: Tensor, extreme: Tensor) -> tuple[Meaning, str]:
    """Return what the first output seems to hold, and what is in doubt about it."""
    values = torch.cat([output, extreme]).double()
    single = values.ndim == 1 or values.shape[-1] == 1
    if bool(((values >= 0) & (values <= 1)).all()):
        sums = values if single else values.sum(-1)
        if single or bool(torch.allclose(sums, torch.ones_like(sums), atol=1e-3)):
            return "probabilities", ""
    if single:
        return (
            "value",
            "assumed to be a number (regression); write logits if it distinguishes classes",
        )
    return "logits", "assumed to be logits (before a softmax); write value if it is a regression"
