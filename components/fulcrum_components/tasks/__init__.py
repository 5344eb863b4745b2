"""The tasks of the catalogue, each a module of this package: target, loss, outcome and unit."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

from fulcrum_components.tasks.definition import Task
from fulcrum_components.tasks.outcomes import Array, Outcomes


def _defined() -> Iterator[Task]:
    for found in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{found.name}")
        for kind in vars(module).values():
            own = inspect.isclass(kind) and kind.__module__ == module.__name__
            if own and issubclass(kind, Task) and not inspect.isabstract(kind):
                yield kind()


TASKS: dict[str, Task] = {each.name: each for each in _defined()}
"""By name, all that the modules define."""

__all__ = ["TASKS", "Array", "Outcomes", "Task", "find_task"]


def find_task(name: str) -> Task:
    """Return the task called `name`, one of the catalogue."""
    return TASKS[name]
