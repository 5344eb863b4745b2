"""The fixture `helm`, for all tests that need it."""

from __future__ import annotations

import os

import pytest

from helm.building import cached, helm_binary
from helm.running import Helm

REASON = "helm is not built; `make charts` builds it, in 2 to 5 minutes, as does FULCRUM_BUILD=1"


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm without a cluster: it renders and lints."""
    binary = helm_binary() if os.environ.get("FULCRUM_BUILD") else cached()
    if binary is None:
        pytest.skip(REASON)
    return Helm(binary, tmp_path_factory.mktemp("helm"))
