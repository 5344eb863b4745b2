"""Runs a model file over a data set: outcomes must be those of the file that will be served."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from fulcrum_components.evaluation.outcomes import Array, Outcomes
from fulcrum_components.evaluation.outputs import filled_up
from fulcrum_components.sessions import fixed_batch, open_session, run_session
from fulcrum_pipelines.baselines import SUM_TOLERANCE
from fulcrum_pipelines.catalog import Meaning
from fulcrum_pipelines.errors import UserError

if TYPE_CHECKING:
    from fulcrum_components.data import Batch, Dataset

_INTEGER_STEP = 1 / 512
"""How far 8-bit integers round a probability: half a step of 1/256. Baselines are held to the sum
of 1 more strictly, in stage evaluate."""


def run_onnx(
    path: Path,
    dataset: Dataset,
    meaning: Meaning,
    *,
    columns: Sequence[str] = (),
    batch_size: int = 64,
    threads: int = 1,
    observe: Callable[[Array], None] | None = None,
) -> Outcomes:
    """Return what the ONNX file `path` answers for each example of `dataset`, in its order.

    Examples are streamed: only the outputs are kept. Logits become probabilities; a single logit or
    probability an example becomes those of two classes.

    Args:
        path: The model.
        dataset: Examples with targets.
        meaning: What the model's first output holds.
        columns: Further columns of the data to keep for slices and groups.
        batch_size: Examples a call, where the model does not fix their number itself.
        threads: Intra-op threads.
        observe: Called with the first outputs of each batch, as the model gives them.

    Raises:
        UserError: If the model does not take the data, gives something not finite or something
            else than `meaning`, or where the data have no targets or no examples.
    """
    session = open_session(path, threads)
    outputs, targets = [], []
    kept: dict[str, list[Array]] = {name: [] for name in columns}
    seen = 0
    for batch in dataset.batches(fixed_batch(session) or batch_size, columns=columns):
        if batch.targets is None:
            raise UserError("the data have no targets to compare with", where=path.name)
        raw = _answers(session, batch, path.name)
        _check_finite(raw, seen, path.name)
        if observe is not None:
            observe(raw)
        outputs.append(_to_meaning(raw, meaning, seen, path.name))
        targets.append(np.asarray(batch.targets))
        for name, values in kept.items():
            values.append(np.asarray(batch.columns[name]))
        seen += len(raw)
    if not seen:
        raise UserError("the data set has no examples", where=path.name)
    return Outcomes(
        np.concatenate(outputs),
        _flat_targets(np.concatenate(targets), meaning),
        {name: np.concatenate(values) for name, values in kept.items()},
    )


def to_outcomes(raw: Array, targets: Array, meaning: Meaning, *, where: str) -> Outcomes:
    """Return the outcomes of raw outputs that came from elsewhere, such as a torch module.

    Args:
        raw: First outputs of the model for all examples, axis 0 is the example.
        targets: Right answers.
        meaning: What `raw` holds.
        where: What to name in an error.

    Raises:
        UserError: The outputs are not finite, or not what `meaning` says.
    """
    _check_finite(raw, 0, where)
    return Outcomes(_to_meaning(raw, meaning, 0, where), _flat_targets(targets, meaning))


def _answers(session: ort.InferenceSession, batch: Batch, where: str) -> Array:
    """Return the first output for `batch`, (examples, ...)."""
    count = len(next(iter(batch.inputs.values())))
    wanted = fixed_batch(session) or count
    inputs = {name: filled_up(values, wanted) for name, values in batch.inputs.items()}
    raw = run_session(session, inputs, where=where)
    if raw.ndim == 0 or len(raw) != wanted:
        message = (
            f"the first output has shape {list(raw.shape)} for {wanted} examples; "
            "its axis 0 must be the batch"
        )
        raise UserError(message, where=where)
    return raw[:count]


def _check_finite(raw: Array, seen: int, where: str) -> None:
    wrong = ~np.isfinite(raw.reshape(len(raw), -1)).all(axis=1)
    if wrong.any():
        index = seen + int(wrong.argmax())
        message = (
            f"the model gives NaN or infinity for example {index} of the data (counted from 0); "
            "look for NaN weights or inputs out of range"
        )
        raise UserError(message, where=where)


def _to_meaning(raw: Array, meaning: Meaning, seen: int, where: str) -> Array:
    """Return float32 probabilities (n, classes), or values (n,) or (n, k), wider if `raw` is."""
    if meaning == "value":
        return _squeezed(raw).astype(np.result_type(raw, np.float32))
    if raw.ndim == 1:
        raw = raw[:, None]
    if raw.ndim != 2:
        message = f"{meaning} must have shape (batch, classes), the model gives {list(raw.shape)}"
        raise UserError(message, where=where)
    wide = raw.astype(np.float64)
    if meaning == "probabilities":
        _check_probabilities(wide, seen, where)
        wide = np.clip(wide, 0, 1)
        return _both_classes(wide).astype(np.float32)
    if wide.shape[1] == 1:
        wide = np.concatenate([np.zeros_like(wide), wide], axis=1)
    exponentials = np.exp(wide - wide.max(axis=1, keepdims=True))
    probabilities: Array = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities.astype(np.float32)


def _both_classes(probabilities: Array) -> Array:
    if probabilities.shape[1] > 1:
        return probabilities
    return np.concatenate([1 - probabilities, probabilities], axis=1)


def _check_probabilities(values: Array, seen: int, where: str) -> None:
    low, high = -SUM_TOLERANCE, 1 + SUM_TOLERANCE
    wrong = ((values < low) | (values > high)).any(axis=1)
    if values.shape[1] > 1:
        rounding = SUM_TOLERANCE + values.shape[1] * _INTEGER_STEP
        wrong |= np.abs(values.sum(axis=1) - 1) > rounding
    if wrong.any():
        row = int(wrong.argmax())
        message = (
            f"the first output is taken for probabilities, but for example {seen + row} it is "
            f"{np.array2string(values[row], precision=3, threshold=6)}; {_what_is_seen(values)}"
        )
        raise UserError(message, where=where)


def _what_is_seen(values: Array) -> str:
    """Return what numbers (n, classes) that are no probabilities look like, and what to do."""
    low, high = float(values.min()), float(values.max())
    rows, columns = values.sum(axis=1), values.sum(axis=0)
    several = values.shape[1] > 1
    if low < -SUM_TOLERANCE:
        return (
            "set meaning: logits in fulcrum.yaml (for .pt2 and ONNX in spec.model), or end the "
            "model with a softmax"
        )
    if several and np.abs(columns - 1).max() <= SUM_TOLERANCE:
        return (
            f"each class sums to 1 over the examples of a batch ({len(values)}), and those "
            "of an example do not: take the softmax over the axis of the classes (1), not over the "
            "batch (0)"
        )
    total = float(rows.mean())
    if several and total > 0 and np.abs(rows / total - 1).max() <= SUM_TOLERANCE:
        return f"every example sums to {total:.4g}{_percent(total)}: divide the output by it"
    if high > 1 + SUM_TOLERANCE:
        return (
            f"values go from {low:.4g} to {high:.4g}: if they are percentages or probabilities "
            "times another constant, divide the output by it; if they are logits, set meaning: "
            "logits in fulcrum.yaml (for .pt2 and ONNX in spec.model)"
        )
    return (
        f"values are from 0 to 1, but those of an example sum to {rows.min():.4g} to "
        f"{rows.max():.4g} instead of 1 (one sigmoid a class?): end the model with a softmax over "
        "the classes, or divide them by their sum"
    )


def _percent(total: float) -> str:
    return " (percentages)" if abs(total / 100 - 1) <= SUM_TOLERANCE else ""


def _flat_targets(targets: Array, meaning: Meaning) -> Array:
    flat = _squeezed(targets)
    if meaning == "value":
        return flat.astype(np.float64)
    whole = flat.dtype == bool or np.issubdtype(flat.dtype, np.integer)
    return flat.astype(np.int64) if whole else flat


def _squeezed(values: Array) -> Array:
    """Return values (n, ...) without further axes of length 1: (n,) for (n, 1) or (n, 1, 1)."""
    return values.reshape(len(values), *(size for size in values.shape[1:] if size != 1))
