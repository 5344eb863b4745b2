"""Settings of all tests."""

from pathlib import Path

import pytest

UNIT = Path(__file__).parent / "unit"

pytest.register_assert_rewrite("engine_suite")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep all but unit tests in one process, one after the other.

    They share servers that are started once, and measure times; unit tests run beside them.
    """
    for item in items:
        if UNIT not in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("machine"))
