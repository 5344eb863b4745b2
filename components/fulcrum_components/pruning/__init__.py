"""Pruning: removing channels, neurons, heads or single weights from a trained module."""

from fulcrum_components.pruning.batch_norm import reestimate_batch_norm
from fulcrum_components.pruning.counting import count_macs_and_parameters
from fulcrum_components.pruning.history import History, replay
from fulcrum_components.pruning.pruner import PruneResult, Recover, prune
from fulcrum_components.pruning.sensitivity import layer_sensitivity

__all__ = [
    "History",
    "PruneResult",
    "Recover",
    "count_macs_and_parameters",
    "layer_sensitivity",
    "prune",
    "reestimate_batch_norm",
    "replay",
]
