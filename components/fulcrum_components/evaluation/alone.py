"""Does a model answer each example by itself?

A mean, a softmax or a batch norm over axis 0 makes an answer depend on the other examples of the
batch. A measurement of such a model holds only for batches of that composition; serving has others.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fulcrum_components.data import Dataset
from fulcrum_components.evaluation.outputs import filled_up
from fulcrum_components.sessions import fixed_batch, open_session, run_session

EXAMPLES = 8


def alone_error(path: Path, dataset: Dataset) -> float | None:
    """Return the relative error of first outputs of examples among copies of themselves.

    The batches have one size, since some models take no other.

    Args:
        path: ONNX file.
        dataset: Data whose first examples are looked at.

    Returns:
        The root mean square of the difference over the standard deviation of the outputs, in the
        batch of different examples; None if examples come one at a time or outputs are all equal.
    """
    session = open_session(path)
    size = fixed_batch(session) or EXAMPLES
    count = min(size, EXAMPLES, len(dataset))
    if count < 2:
        return None
    examples = {k: v[:count] for k, v in next(dataset.batches(count)).inputs.items()}

    def run(first: int, last: int) -> np.ndarray:
        inputs = {name: filled_up(array[first:last], size) for name, array in examples.items()}
        return run_session(session, inputs, where=path.name)[: last - first].astype(np.float64)

    together = run(0, count)
    alone = np.concatenate([run(place, place + 1) for place in range(count)])
    spread = together.std(axis=0)
    if not np.isfinite(alone).all() or not spread.any():
        return None
    return float(np.sqrt(((alone - together) ** 2).sum() / (count * (spread**2).sum())))
