"""Does a step that must keep a model's function keep it?

Two ways to compute one function differ by rounding, and by how much depends on the model: a sum of
ten terms hardly notices another order, a deep network in half precision does. So the tolerance is
the model's own noise, seen on the same examples where the same function is rounded in other ways:
without optimisation of its graph, and with weights and inputs that are moved by one unit in the
last place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

from fulcrum_components.sessions import session_options
from fulcrum_pipelines.errors import QualityError, UserError
from fulcrum_pipelines.texts import reason

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = Mapping[str, Array]
Run = Callable[[Arrays], Sequence[Array]]

NOISE_FACTOR = 64.0
"""How many times its noise an output may differ. Eight families of small networks (convolution,
attention, LSTM, GRU, embeddings, graph), two seeds each, two sizes of batch: torch and the exported
file, and the file with and without optimisation, differed by at most 1.4 times noise plus one unit
in the last place. The rest is for networks deeper than those; a wrong operator is off by 1e4 to 1e7
times the noise."""
UNITS = 64.0
"""How many units in the last place of the output's largest number it may differ besides, where
noise happens to round to nothing."""

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)


@dataclass(frozen=True)
class Function:
    """The function of a model, and the same function with other rounding.

    Attributes:
        run: Returns all outputs for some inputs.
        variations: Return what `run` does but for rounding.
    """

    run: Run
    variations: tuple[Run, ...] = ()


def require_same(
    step: str,
    before: Function,
    after: Run,
    batches: Iterable[Arrays],
    outputs: Sequence[str],
    *,
    advice: str = "",
) -> float:
    """Compare what a step made with what went into it, and return the largest difference.

    Args:
        step: What was done, to follow "after": `the upgrade from operator set 9 to 17`.
        before: What went in.
        after: What came out.
        batches: Real examples, in batches of more than one size.
        outputs: Names of the outputs.
        advice: What to do about a difference.

    Raises:
        QualityError: An output differs by more than rounding explains, or `before` gives other
            outputs when it runs again on the same inputs.
    """
    largest = 0.0
    for inputs in batches:
        expected = before.run(inputs)
        size = len(next(iter(inputs.values())))
        noises = _noises(before, inputs, expected)
        found = after(inputs)
        again = before.run(inputs)
        for index, name in enumerate(outputs):
            where = f"output '{name}' at batch {size}"
            unit = np.asarray(UNITS * _unit(expected[index]))
            allowed = NOISE_FACTOR * noises[index] + unit
            if _excess(expected[index], again[index], unit) > 0:
                message = (
                    "is another when the model runs again on the same inputs, so it cannot be "
                    "compared with anything; does the model hold randomness?"
                )
                raise QualityError(message, where=where)
            _require_close(step, expected[index], found[index], allowed, where, advice)
            largest = max(largest, float(_distance(expected[index], found[index]).max(initial=0.0)))
    return largest


def _require_close(
    step: str, expected: Array, found: Array, allowed: Array, where: str, advice: str
) -> None:
    if expected.shape != found.shape:
        message = f"has shape {list(found.shape)} after {step}, {list(expected.shape)} before"
        raise QualityError(message, where=where)
    if _excess(expected, found, allowed) > 0:
        distance = _distance(expected, found)
        worst = np.unravel_index(int((distance - allowed).argmax()), distance.shape)
        tolerance = np.broadcast_to(allowed, distance.shape)[worst]
        message = (
            f"differs after {step} by {distance[worst]:.3g} ({expected[worst]:.6g} became "
            f"{found[worst]:.6g}; rounding explains {tolerance:.2g})"
        )
        raise QualityError(f"{message}; {advice}" if advice else message, where=where)


def _excess(expected: Array, found: Array, allowed: Array) -> float:
    """Return how far the largest difference is above what is allowed; infinite for NaN."""
    if expected.shape != found.shape:
        return np.inf
    return float((_distance(expected, found) - allowed).max(initial=-np.inf))


def _distance(one: Array, other: Array) -> Array:
    """Return the differences: none between two NaN or equal infinities, else with one infinite."""
    first, second = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore"):
        distance = np.abs(first - second)
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    return np.where(same, 0.0, np.where(np.isnan(distance), np.inf, distance))


def _noises(function: Function, inputs: Arrays, expected: Sequence[Array]) -> list[Array]:
    """Return how much rounding moves each output, the most over the examples of the batch.

    Position by position, since outputs may hold numbers of very different sizes side by side.
    """
    varied = [run(inputs) for run in function.variations]
    varied.append(function.run({name: _moved(value, 0) for name, value in inputs.items()}))
    noises = []
    for index, output in enumerate(expected):
        distances = [
            _distance(output, other[index])
            for other in varied
            if other[index].shape == output.shape
        ]
        noise = np.max([np.where(np.isinf(each), 0.0, each) for each in distances], axis=0)
        noises.append(noise.max(axis=0, keepdims=True) if noise.ndim else noise)
    return noises


def _unit(output: Array) -> float:
    """Return one unit in the last place of the output's largest number; 0 for whole numbers."""
    if not np.issubdtype(output.dtype, np.floating):
        return 0.0
    finite = np.abs(output[np.isfinite(output)]).max(initial=0.0)
    return float(finite) * float(np.finfo(output.dtype).eps)


def _moved(values: Array, seed: int) -> Array:
    """Return floating-point values each moved up or down by one unit in the last place."""
    if not np.issubdtype(values.dtype, np.floating):
        return values
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=values.shape)
    moved: Array = values * (1 + signs * float(np.finfo(values.dtype).eps))
    return moved.astype(values.dtype)


def of_onnx(model: Path | onnx.ModelProto) -> Function:
    """Return what an ONNX model computes.

    Raises:
        UserError: ONNX Runtime does not take it.
    """
    level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    loaded = onnx.load(str(model)) if isinstance(model, Path) else model
    return Function(
        run_onnx(model), (run_onnx(model, level), run_onnx(_with_moved_weights(loaded)))
    )


def run_onnx(
    model: Path | onnx.ModelProto,
    level: ort.GraphOptimizationLevel = ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
) -> Run:
    """Return how an ONNX model is run, with all of its outputs.

    Raises:
        UserError: ONNX Runtime does not take it.
    """
    options = session_options(1)
    options.graph_optimization_level = level
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    try:
        session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise UserError(f"ONNX Runtime does not load it: {reason(error)}") from error

    def run(inputs: Arrays) -> Sequence[Array]:
        try:
            return [np.asarray(value) for value in session.run(None, dict(inputs))]
        except Exception as error:
            size = len(next(iter(inputs.values())))
            message = f"does not run with a batch of {size}: {reason(error)}"
            raise UserError(message) from error

    return run


def _with_moved_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in which matrices and kernels are rounded another way.

    Vectors and scalars stay: they may be sizes or scales that must be exact.
    """
    moved = onnx.ModelProto()
    moved.CopyFrom(model)
    for seed, tensor in enumerate(moved.graph.initializer):
        if len(tensor.dims) > 1 and tensor.data_type in _FLOATS:
            values = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(_moved(values, seed), tensor.name))
    return moved


def of_module(module: torch.nn.Module, run: Run) -> Function:
    """Return what a module computes; `run` calls it.

    The variation changes its parameters for the time of a call, since layers such as LSTM keep
    references to them that a functional call does not replace.
    """

    def with_moved_weights(inputs: Arrays) -> Sequence[Array]:
        with _moved_parameters(module):
            return run(inputs)

    return Function(run, (with_moved_weights,))


@contextmanager
def _moved_parameters(module: torch.nn.Module) -> Iterator[None]:
    """Round the matrices and kernels of `module` another way, and put them back as they were."""
    import torch  # takes seconds, which stages that see ONNX files only do not spend

    weights = [each for each in module.parameters() if each.ndim > 1 and each.is_floating_point()]
    generator = torch.Generator().manual_seed(0)
    before = [each.data.clone() for each in weights]
    try:
        for weight in weights:
            signs = torch.randint(0, 2, weight.shape, generator=generator) * 2 - 1
            unit = torch.finfo(weight.dtype).eps
            weight.data.mul_((1 + signs * unit).to(weight))
        yield
    finally:
        for weight, values in zip(weights, before, strict=True):
            weight.data.copy_(values)
