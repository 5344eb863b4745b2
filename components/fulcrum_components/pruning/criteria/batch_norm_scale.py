"""Batch-norm scale: the magnitude of the factor that a channel is multiplied by (Liu et al. 2017).

Groups without batch norm have no score.
"""

from __future__ import annotations

import torch_pruning as tp

from fulcrum_components.pruning.criteria.definition import Criterion

BATCH_NORM_SCALE = Criterion("bnScale", tp.importance.BNScaleImportance())
