"""Settings of all tests."""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Generator
from types import MethodType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

UNIT_TESTS, CLUSTER_TESTS = "tests/unit/", "tests/integration/cluster/"
SLOW_CLUSTER_TESTS = tuple(
    f"{CLUSTER_TESTS}operator/test_{name}.py" for name in ("api_faults", "job_engine", "s3")
)
"""About half of the time of all that run beside a control plane; they get one of their own."""

pytest.register_assert_rewrite("engine_suite")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Exempt modules and collected tests from garbage collection, as after each test file."""
    _freeze_heap()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, None, None]:
    """Exempt what a test file leaves behind, such as the caches of torch's exporter."""
    yield
    if nextitem is not None and nextitem.path != item.path:
        _freeze_heap()


def pytest_runtest_setup() -> None:
    """Let torch's exporter collect its translations once a process, not for each export.

    It parses the sources of 500 functions for that, which is half of what a small export costs.
    Nothing here changes the translations, as a custom one would.
    """
    exporter = sys.modules.get("torch.onnx._internal.exporter._registration")
    if exporter is not None and isinstance(exporter.ONNXRegistry.from_torchlib, MethodType):
        once = functools.cache(exporter.ONNXRegistry.from_torchlib)
        exporter.ONNXRegistry.from_torchlib = staticmethod(once)


def pytest_unconfigure() -> None:
    """Let the interpreter clear everything at its end; nanobind reports what is left as leaks."""
    gc.unfreeze()


def _freeze_heap() -> None:
    """Collect garbage, then let the collector ignore all objects that are left.

    Otherwise a full collection takes seconds in a process with torch and thousands of tests. Timing
    a model asks for one, and so does each call of statsmodels' `multipletests`.
    """
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run unit tests last: they are short, so processes that share the tests end together."""
    items.sort(key=_is_unit_test)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Share the tests over the processes: a control plane's as one, others by file, units singly.

    Tests beside a control plane mostly wait, so two of the processes have one. More control planes
    would need more of the CPU than they save.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByServers(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith(UNIT_TESTS):
                return nodeid
            if nodeid.startswith(SLOW_CLUSTER_TESTS):
                return SLOW_CLUSTER_TESTS[0]
            return CLUSTER_TESTS if nodeid.startswith(CLUSTER_TESTS) else nodeid.partition("::")[0]

    return ByServers(config, log)


def _is_unit_test(item: pytest.Item) -> bool:
    return item.nodeid.startswith(UNIT_TESTS)
