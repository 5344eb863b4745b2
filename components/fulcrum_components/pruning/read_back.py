"""What pruning removed, read back from the files before and after it, over all weights.

The share that a method reports is of what it may touch. Embeddings, normalisations and output
layers can be most of a model, and a user who reads "50 % removed" thinks of all of it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from torch import nn

from fulcrum_components.graph import constants

MAX_NAMED = 3


def removed_share(before: Path, after: Path) -> float:
    """Return the share of the non-zero weights of file `before` that `after` lacks or has zero."""
    count = _nonzero(before)
    return 1.0 - _nonzero(after) / count if count else 0.0


def _nonzero(path: Path) -> int:
    arrays = (numpy_helper.to_array(tensor) for tensor in constants(onnx.load(str(path)).graph))
    return sum(
        int(np.count_nonzero(array)) for array in arrays if np.issubdtype(array.dtype, np.floating)
    )


def changed_nothing(before: nn.Module, after: nn.Module) -> bool:
    """Tell whether all parameters are what they were."""
    left = dict(after.named_parameters())
    return all(
        name in left and value.shape == left[name].shape and bool((value == left[name]).all())
        for name, value in before.named_parameters()
    )


def left_whole(before: nn.Module, after: nn.Module) -> tuple[str, ...]:
    """Say by kind of layer which weights are as many as before, the largest share first.

    Each line is like "Embedding: 46.2 % of all weights (encoder.words)".
    """
    whole: Counter[str] = Counter()
    names: dict[str, list[str]] = {}
    total = 0
    left = {name: value.count_nonzero() for name, value in after.named_parameters()}
    for layer_name, layer in before.named_modules():
        for key, value in layer.named_parameters(recurse=False):
            name = f"{layer_name}.{key}" if layer_name else key
            count = int(value.count_nonzero())
            total += count
            if value.dim() > 1 and name in left and int(left[name]) == count:
                kind = type(layer).__name__
                whole[kind] += count
                names.setdefault(kind, []).append(layer_name or key)
    return tuple(
        f"{kind}: {count / total:.1%} of all weights ({_named(names[kind])})"
        for kind, count in whole.most_common()
    )


def _named(names: list[str]) -> str:
    shown = ", ".join(dict.fromkeys(names[:MAX_NAMED]))
    return shown if len(names) <= MAX_NAMED else f"{shown} and {len(names) - MAX_NAMED} more"
