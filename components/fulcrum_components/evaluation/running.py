"""Runs a model file over a data set: outcomes must be those of the file that will be served."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from fulcrum_components.evaluation.outputs import filled_up
from fulcrum_components.sessions import CPU_PROVIDER, fixed_batch, open_session, run_session
from fulcrum_components.tasks import Array, Outcomes, find_task
from fulcrum_pipelines.catalog import Meaning
from fulcrum_pipelines.errors import UserError

if TYPE_CHECKING:
    from fulcrum_components.data import Batch, Dataset


def run_onnx(
    path: Path,
    dataset: Dataset,
    task: str,
    meaning: Meaning,
    *,
    columns: Sequence[str] = (),
    batch_size: int = 64,
    threads: int = 1,
    provider: str = CPU_PROVIDER,
    observe: Callable[[Array], None] | None = None,
) -> Outcomes:
    """Return what the ONNX file `path` answers for each example of `dataset`, in its order.

    Examples are streamed: only what the task keeps of each batch stays in memory.

    Args:
        path: The model.
        dataset: Examples with targets.
        task: What the model is for.
        meaning: What the model's first output holds.
        columns: Further columns of the data to keep for slices and groups.
        batch_size: Examples a call, if the model does not fix their number itself.
        threads: Intra-op threads.
        provider: Of ONNX Runtime; see `why_cpu`.
        observe: Called with the first outputs of each batch, as the model gives them.

    Raises:
        UserError: If the model does not take the data, gives something not finite or something
            else than `meaning`, or if the data have no targets or no examples.
    """
    session = open_session(path, threads, provider)
    answered, parts = find_task(task), list[Outcomes]()
    kept: dict[str, list[Array]] = {name: [] for name in columns}
    seen = 0
    for batch in dataset.batches(fixed_batch(session) or batch_size, columns=columns):
        if batch.targets is None:
            raise UserError("the data have no targets to compare with", where=path.name)
        raw = _answers(session, batch, path.name)
        _check_finite(raw, seen, path.name)
        if observe is not None:
            observe(raw)
        targets = np.asarray(batch.targets)
        parts.append(answered.outcomes(raw, targets, meaning, first=seen, where=path.name))
        for name, values in kept.items():
            values.append(np.asarray(batch.columns[name]))
        seen += len(raw)
    if not seen:
        raise UserError("the data set has no examples", where=path.name)
    return Outcomes(
        np.concatenate([part.outputs for part in parts]),
        np.concatenate([part.targets for part in parts]),
        {name: np.concatenate(values) for name, values in kept.items()},
    )


def to_outcomes(raw: Array, targets: Array, task: str, meaning: Meaning, *, where: str) -> Outcomes:
    """Return the outcomes of raw outputs that came from elsewhere, such as a torch module.

    Args:
        raw: First outputs of the model for all examples, axis 0 is the example.
        targets: Right answers.
        task: What the model is for.
        meaning: What `raw` holds.
        where: What to name in an error.

    Raises:
        UserError: The outputs are not finite, or not what `meaning` says.
    """
    _check_finite(raw, 0, where)
    return find_task(task).outcomes(raw, targets, meaning, first=0, where=where)


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
