"""The metrics of the catalogue, each computed by a module of this package."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from fulcrum_components.evaluation.metrics.definition import MetricDefinition
from fulcrum_pipelines import catalog
from fulcrum_pipelines.errors import UserError


def _defined() -> Iterator[MetricDefinition]:
    for found in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{found.name}")
        yield from (each for each in vars(module).values() if isinstance(each, MetricDefinition))


DEFINED: dict[str, MetricDefinition] = {each.name: each for each in _defined()}
"""All that the modules define, whether the catalogue knows it or not."""

METRICS: dict[str, MetricDefinition] = {name: DEFINED[name] for name in catalog.METRICS}
"""By name, in the order of reports."""

__all__ = ["DEFINED", "METRICS", "MetricDefinition", "find_metric"]


def find_metric(name: str, task: str, *, where: str = "") -> MetricDefinition:
    """Return the metric called `name`.

    Raises:
        UserError: If `task` has none of that name.
    """
    known = catalog.TASKS[task].metrics
    if name not in known:
        message = f"no metric '{name}' for {task}; use one of {', '.join(known)}"
        raise UserError(message, where=where)
    return METRICS[name]
