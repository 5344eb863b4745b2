"""All pruning criteria by their names in `spec.recipe.prune.structured.importance`."""

from __future__ import annotations

from fulcrum_components.pruning.criteria.batch_norm_scale import BATCH_NORM_SCALE
from fulcrum_components.pruning.criteria.definition import Criterion
from fulcrum_components.pruning.criteria.magnitude import MAGNITUDE
from fulcrum_components.pruning.criteria.taylor import TAYLOR

CRITERIA: dict[str, Criterion] = {
    criterion.name: criterion for criterion in (MAGNITUDE, BATCH_NORM_SCALE, TAYLOR)
}

__all__ = ["CRITERIA", "Criterion"]
