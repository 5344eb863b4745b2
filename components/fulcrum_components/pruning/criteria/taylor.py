"""Taylor: the first-order estimate |weight * gradient| of the loss without a channel.

Molchanov et al. 2019.
"""

from __future__ import annotations

import torch_pruning as tp

from fulcrum_components.pruning.criteria.definition import Criterion

TAYLOR = Criterion("taylor", tp.importance.GroupTaylorImportance(), needs_gradients=True)
