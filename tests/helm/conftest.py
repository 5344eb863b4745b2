"""helm for the tests of the chart; skipped where it would first have to be built."""

from __future__ import annotations

import os

import pytest

from helm.building import cached, helm_binary
from helm.running import Helm

REASON = "helm is not built; FULCRUM_BUILD=1 or `make charts` builds it, in 2 to 5 minutes"


def pytest_runtestloop(session: pytest.Session) -> None:
    """Build before the first test, since a build takes longer than a test may."""
    wanted = any("helm" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and os.environ.get("FULCRUM_BUILD") and not session.config.option.collectonly:
        helm_binary()


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm without a cluster: it renders and lints."""
    binary = cached()
    if binary is None:
        pytest.skip(REASON)
    return Helm(binary, tmp_path_factory.mktemp("helm"))
