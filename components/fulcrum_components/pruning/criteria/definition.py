"""The definition of a pruning criterion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch_pruning as tp
from numpy.typing import NDArray
from torch import Tensor

from fulcrum_components.pruning.channel_graph import ChannelGroup


@dataclass(frozen=True)
class Criterion:
    """How important each channel is.

    Scores must be comparable between groups, since global pruning ranks all channels together.
    torch-pruning's group scores are: a layer's score is summed over what a channel touches,
    averaged over the coupled layers, and divided by the group's mean.

    Attributes:
        name: As in `spec.recipe.prune.structured.importance`.
        channel_scores: Returns for the layers that a channel touches the score of each channel,
            shape (channels,), or None if it has no score. The lowest go first.
        needs_gradients: Whether it reads the parameters' gradients of the loss, which need
            data.train; see `accumulate_gradients`.
    """

    name: str
    channel_scores: Callable[[tp.dependency.Group], Tensor | None]
    needs_gradients: bool = False

    def unit_scores(self, group: ChannelGroup) -> NDArray[np.float64] | None:
        """Return a score for each unit of `group`, shape (units,), or None without a score."""
        scores = self.channel_scores(group.dependencies)
        if scores is None:
            return None
        channels = np.nan_to_num(scores.detach().cpu().double().numpy())
        return np.asarray(channels[group.units].mean(axis=1))
