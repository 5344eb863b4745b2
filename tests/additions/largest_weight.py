"""Largest weight of a channel, an example of how to add a criterion."""

from __future__ import annotations

import torch_pruning as tp
from torch import Tensor

from fulcrum_components.pruning.criteria.definition import Criterion


def _channel_scores(group: tp.dependency.Group) -> Tensor:
    """Return the largest magnitude of each channel's weights, divided by the group's mean."""
    root, channels = group[0]
    largest = root.target.module.weight.detach().flatten(1).abs().amax(dim=1)[channels]
    return largest / largest.mean()


LARGEST_WEIGHT = Criterion("largestWeight", _channel_scores)
