"""When to stop, and which epoch was the best, decided from the validation losses alone."""

from __future__ import annotations

from collections.abc import Sequence

from fulcrum_pipelines.resources.compressionjob import EarlyStopping


def best_epoch(losses: Sequence[float], min_delta: float) -> int:
    """Return the number, from 1, of the last epoch that was a gain of more than `min_delta`.

    A pure function of the history, so a resumed training has no other state to restore.
    """
    best = 0
    for index, loss in enumerate(losses):
        if index == 0 or loss < losses[best] - min_delta:
            best = index
    return best + 1


def should_stop(losses: Sequence[float], options: EarlyStopping | None) -> bool:
    """Return whether `options.patience` epochs passed without a gain."""
    if options is None or not losses:
        return False
    return len(losses) - best_epoch(losses, options.min_delta) >= options.patience
