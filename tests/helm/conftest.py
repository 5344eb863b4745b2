"""helm for the tests of the chart."""

from __future__ import annotations

import os

import pytest

from helm.building import helm_binary
from helm.fixture import helm

__all__ = ["helm"]


def pytest_runtestloop(session: pytest.Session) -> None:
    """Build before the first test, since a build takes longer than a test may."""
    wanted = any("helm" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and os.environ.get("FULCRUM_BUILD") and not session.config.option.collectonly:
        helm_binary()
