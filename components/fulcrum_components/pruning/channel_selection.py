"""Which channels go, given a score for each: the arithmetic of structured pruning, without torch.

A *unit* is what can be removed alone: a channel, or with channel groups (grouped convolution, the
heads of an attention) the channels at the same place of every group. Counts here are in units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Candidates:
    """Unit counts that a layer may have after pruning.

    Attributes:
        units: Units that the layer had before any pruning.
        step: Kept counts are multiples of this, or all units.
    """

    units: int
    step: int

    def counts(self) -> list[int]:
        """Return the allowed counts from the smallest up; never 0, always all units."""
        return [*range(self.step, self.units, self.step), self.units]


def unit_step(groups: int, multiple: int) -> int:
    """Return the step in units that makes the channel count a multiple of `multiple`.

    With `groups` channels a unit, k units are k * groups channels.
    """
    return multiple // math.gcd(groups, multiple)


def uniform_count(candidates: Candidates, sparsity: float) -> int:
    """Return the allowed count nearest to the share asked for; between two, the larger."""
    wanted = candidates.units * (1.0 - sparsity)
    return min(candidates.counts(), key=lambda count: (abs(count - wanted), -count))


def global_counts(
    scores: list[Scores], candidates: list[Candidates], weights: list[int], remove: float
) -> list[int]:
    """Return how many units each layer keeps when all layers are ranked together.

    Units are taken in blocks of a layer's step, so that every layer ends at an allowed count; a
    block's rank is the mean score of its units, and each layer loses its lowest units first. Blocks
    are taken in rank order as long as the number of removed channels comes nearer to `remove`.

    Args:
        scores: For each layer the score of each unit that it still has, comparable between layers.
        candidates: For each layer its allowed counts.
        weights: For each layer the channels that one unit is.
        remove: Channels to remove from the present counts, over all layers.
    """
    blocks = sorted(
        (float(np.mean(part)), layer, place, len(part))
        for layer, score in enumerate(scores)
        for place, part in enumerate(_blocks(score, candidates[layer]))
    )
    kept = [len(score) for score in scores]
    removed = 0
    closed: set[int] = set()
    for _, layer, _, size in blocks:
        after = removed + size * weights[layer]
        if layer in closed or abs(after - remove) >= abs(removed - remove):
            closed.add(layer)  # its later blocks may not overtake this one
            continue
        removed = after
        kept[layer] -= size
    return kept


def _blocks(scores: Scores, candidates: Candidates) -> list[Scores]:
    """Return the layer's lowest units in the portions in which they may go, lowest first."""
    ordered = np.sort(scores, kind="stable")
    counts = [count for count in candidates.counts() if count < len(scores)]
    edges = [0, *(len(scores) - count for count in reversed(counts))]
    return [ordered[low:high] for low, high in pairwise(edges)]


def lowest(scores: Scores, count: int) -> list[int]:
    """Return the indices of the `count` lowest scores, ascending; among equals the later ones."""
    order = np.lexsort((-np.arange(len(scores)), scores))
    return sorted(int(index) for index in order[:count])
