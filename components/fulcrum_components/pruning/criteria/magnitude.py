"""Magnitude: the squared L2 norm of a channel's weights.

Li et al. 2017, grouped over coupled layers as in Fang et al. 2023.
"""

from __future__ import annotations

import torch_pruning as tp

from fulcrum_components.pruning.criteria.definition import Criterion

MAGNITUDE = Criterion("magnitude", tp.importance.GroupMagnitudeImportance(p=2))
