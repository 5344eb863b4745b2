"""Remove channels on a copy first, and keep only what computes what it should.

A copy that was pruned is compared with the module before, in which the same channels are masked.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fulcrum_components.pruning.channel_graph import ChannelGraph
from fulcrum_components.pruning.history import Removal, tie_again
from fulcrum_components.pruning.masking import MaskingError, require_same
from fulcrum_pipelines.errors import UserError

FIXED_SIZE = "the model's code depends on its size"

Chosen = dict[str, list[int]]
"""For each root of a group the channels to remove."""


@dataclass(frozen=True)
class Trial:
    """Result of a trial removal.

    Attributes:
        module: A copy of the module without it.
        removals: What it is.
        failed: For the other roots, why their channels must stay.
    """

    module: nn.Module
    removals: tuple[Removal, ...]
    failed: dict[str, str]


class Trials:
    """Removes channels from copies of a module.

    Args:
        module: The module; it is left as it was.
        example_inputs: Real examples, a batch of 2 or more.
        rearranged: Roots whose channels' order is found by experiment.
        heads: Whether attention heads may go.
    """

    def __init__(
        self,
        module: nn.Module,
        example_inputs: tuple[Tensor, ...],
        rearranged: Collection[str],
        *,
        heads: bool,
    ) -> None:
        self._module = module
        self._inputs = example_inputs
        self._rearranged = rearranged
        self._heads = heads

    def together(self, chosen: Chosen) -> Trial | None:
        """Remove all of `chosen` at once; None if the rest would not be what it should be."""
        try:
            return self._removed(self._module, chosen)
        except Exception:  # `one_by_one` finds which group is to blame, and says so
            return None

    def one_by_one(self, chosen: Chosen) -> Trial:
        """Remove `chosen` group by group, and leave out those that cannot go."""
        current, failed = self._module, {}
        removals: list[Removal] = []
        for root, channels in chosen.items():
            try:
                trial = self._removed(current, {root: channels})
            except MaskingError as error:
                failed[root] = str(error)
            except UserError as error:
                failed[root] = error.message
            except Exception:  # user code and torch-pruning may raise anything here
                failed[root] = FIXED_SIZE
            else:
                current = trial.module
                removals += trial.removals
        return Trial(current, tuple(removals), failed)

    def _removed(self, module: nn.Module, chosen: Chosen) -> Trial:
        pruned = copy.deepcopy(module)
        graph = ChannelGraph(pruned, self._inputs, self._rearranged)
        groups = {root: graph.group(root, heads=self._heads) for root in chosen}
        removals, holes = [], []
        for root, channels in chosen.items():
            removal, made = graph.prune(groups[root], channels)
            removals.append(removal)
            holes += made
        tie_again(module, pruned)
        one_more = tuple(torch.cat([value, value[:1]]) for value in self._inputs)
        require_same(module, pruned, holes, (self._inputs, one_more))
        return Trial(pruned, tuple(removals), {})
