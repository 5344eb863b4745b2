"""Settings of all tests."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

pytest.register_assert_rewrite("engine_suite")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Exempt imported modules and collected tests from garbage collection.

    They live until the end. torch, statsmodels and thousands of tests make a full collection take
    seconds, and some libraries ask for one in each call (statsmodels' `multipletests` does).
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Keep all but unit tests in one process, one after the other.

    They share servers that are started once, and measure times; unit tests run beside them.
    """
    from xdist.scheduler import LoadScopeScheduling

    class InOneProcess(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid if nodeid.startswith("tests/unit/") else "others"

    return InOneProcess(config, log)
