"""Read back what pruning removed, from the files before and after it, over all weights.

The share that a method reports is of what it may touch. Embeddings, normalisations and output
layers can be most of a model, and a user who reads "50 % removed" thinks of all of it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from torch import Tensor, nn

from fulcrum_components.graph import constants

MAX_NAMED = 3


def removed_share(before: Path, after: Path) -> float:
    """Return the share of the weights of file `before` that `after` lacks, or has zero since.

    Weights that were zero before count as removed only if they are gone: channels that never did
    anything make the file smaller too.
    """
    count_before, zeros_before = _weights(before)
    count_after, zeros_after = _weights(after)
    removed = count_before - count_after + max(0, zeros_after - zeros_before)
    return removed / count_before if count_before else 0.0


def _weights(path: Path) -> tuple[int, int]:
    """Return how many weights are in an ONNX file, and how many of them are zero."""
    arrays = [numpy_helper.to_array(tensor) for tensor in constants(onnx.load(str(path)).graph)]
    floating = [array for array in arrays if np.issubdtype(array.dtype, np.floating)]
    count = sum(array.size for array in floating)
    return count, count - sum(int(np.count_nonzero(array)) for array in floating)


def changed_nothing(before: nn.Module, after: nn.Module) -> bool:
    """Return whether all parameters are what they were."""
    left = dict(after.named_parameters())
    return all(
        name in left and value.shape == left[name].shape and bool((value == left[name]).all())
        for name, value in before.named_parameters()
    )


def removed_nothing(before: nn.Module, after: nn.Module) -> bool:
    """Return whether all parameters of the folded module have the shapes and zeros that they had.

    Other values may have changed: training between steps removes nothing.
    """
    left = dict(after.named_parameters())
    return all(
        name in left and _as_dense(value, left[name]) for name, value in before.named_parameters()
    )


def left_whole(before: nn.Module, after: nn.Module) -> tuple[str, ...]:
    """Say by kind of layer which weights have their shape and zeros still, largest share first.

    `before` is folded, so that its weights have the names that they have in `after`. Each line is
    like "Embedding: 46.2 % of all weights (encoder.words)".
    """
    whole: Counter[str] = Counter()
    names: dict[str, list[str]] = {}
    total = 0
    left = dict(after.named_parameters())
    for name, value in before.named_parameters():  # each tied weight once
        total += value.numel()
        if value.dim() > 1 and name in left and _as_dense(value, left[name]):
            layer = name.rpartition(".")[0]
            kind = type(before.get_submodule(layer)).__name__
            whole[kind] += value.numel()
            names.setdefault(kind, []).append(layer or name)
    return tuple(
        f"{kind}: {count / total:.1%} of all weights ({_named(names[kind])})"
        for kind, count in whole.most_common()
    )


def _as_dense(before: Tensor, after: Tensor) -> bool:
    return before.shape == after.shape and bool(before.count_nonzero() == after.count_nonzero())


def _named(names: list[str]) -> str:
    shown = ", ".join(dict.fromkeys(names[:MAX_NAMED]))
    return shown if len(names) <= MAX_NAMED else f"{shown} and {len(names) - MAX_NAMED} more"
