"""Operators beside the control plane that all tests share, each for its own namespace only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster.control_plane import ControlPlane
from operator_site import Site, open_site
from operators import Jobs, OperatorProcess


@pytest.fixture(scope="module")
def site(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A namespace that all tests of a file share."""
    made = open_site(control_plane, tmp_path_factory.mktemp("site"))
    yield made
    made.close()
    control_plane.kubectl("delete", "namespace", made.namespace, "--wait=false")


@pytest.fixture(scope="module")
def operator(site: Site) -> Iterator[OperatorProcess]:
    """One operator for all tests of a file, which may restart it; a file may have another one."""
    made = site.new_operator()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def own_site(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[Site]:
    """A namespace of the test's own."""
    made = Site(control_plane, namespace, tmp_path)
    yield made
    made.close()


@pytest.fixture
def new_operator(own_site: Site) -> Callable[..., OperatorProcess]:
    """Make operators that look after the test's namespace; they share store and work directory."""
    return own_site.new_operator


@pytest.fixture
def jobs(own_site: Site) -> Jobs:
    """The jobs of the test's namespace."""
    return own_site.jobs


@pytest.fixture
def starts(own_site: Site) -> Callable[[], int]:
    """Count the runs that the stand-in was started for."""
    return lambda: own_site.starts().total()
