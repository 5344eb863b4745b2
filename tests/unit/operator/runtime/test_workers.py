"""Test how the dispatcher handles the end of a reconcile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from fulcrum_operator.kubernetes.errors import Forbidden, NotLeader, Unavailable
from fulcrum_operator.kubernetes.object_cache import Key
from fulcrum_operator.metrics import Metrics
from fulcrum_operator.runtime.workers import Dispatcher, Item
from fulcrum_operator.settings import Reconcile, Settings
from fulcrum_pipelines.errors import FulcrumError

KEY = ("team", "mnist")


@dataclass(frozen=True)
class End:
    """How a first look ends, and what comes of it.

    Attributes:
        name: Of the case.
        error: That it raised.
        looks: How often the object is reconciled, if the second reconcile succeeds.
        noted: Whether an Event is recorded for its readers.
    """

    name: str
    error: Exception | None
    looks: int
    noted: bool = False


ENDS = (
    End("well", None, 1),
    End("no answer", Unavailable("no answer"), 2, noted=True),
    End("a defect", ValueError("a defect"), 2),
    End("a right is missing", Forbidden("not allowed"), 2, noted=True),
    End("deposed", NotLeader("another leads"), 1),
    End("namespace ends", Forbidden("it ends", causes=("NamespaceTerminating",)), 1),
)


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.name)
def test_end_of_a_look(end: End) -> None:
    errors, looks, noted = [end.error, None], list[Key](), list[Item]()

    async def look(key: Key) -> float | None:
        looks.append(key)
        if (error := errors.pop(0)) is not None:
            raise error
        return None

    async def troubled(item: Item, error: FulcrumError) -> None:
        noted.append(item)

    async def work() -> None:
        dispatcher = Dispatcher(
            Reconcile(workers=1, first_backoff_s=0.01),
            Metrics(Settings()),
            leads=lambda: True,
            reconcilers={"jobs": look},
            troubled=troubled,
        )
        dispatcher.add("jobs", KEY)
        task = asyncio.create_task(dispatcher.run())
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(work())
    assert looks == [KEY] * end.looks
    assert noted == ([("jobs", KEY)] if end.noted else [])
