"""A real server: `make kubeflow-e2e KFP_URL=… S3=… IMAGE=…`; without these variables the stand-in.

Tokens, namespaces and the like are settings of the operator, taken from the environment as it does
(`FULCRUM_KUBEFLOW__TOKEN_PATH`, …); credentials of the bucket are those of the AWS environment here
and of the secret `fulcrum-store`, or of an identity, in the cluster. Pods and Workflows are seen
with the credentials that kubectl has.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubeflow.pretending import pretended_site
from kubeflow.site import NAME, Site, is_real
from kubeflow.stand_in_pipeline import compile_to
from kubeflow.table import PODS, rows

from fulcrum_operator.engines.kubeflow.engine import KubeflowEngine
from fulcrum_operator.kubernetes.finding import load_credentials
from fulcrum_operator.settings import Kubeflow, Settings
from fulcrum_pipelines.errors import FulcrumError
from fulcrum_pipelines.storage.store import Store

PATIENCE_S = 1200.0
"""Of one run: a whole job takes 3 to 5 minutes, and pulling the image some the first time."""
LOOK_S = 1.0
HERE = "tests/integration/kubeflow/real/"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests on a real server the time that they need."""
    if is_real(os.environ):
        here = Path(__file__).parent
        for item in items:
            if here in item.path.parents:
                item.add_marker(pytest.mark.timeout(4 * PATIENCE_S))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a table of these tests."""
    reports = [
        each
        for reports in terminalreporter.stats.values()
        for each in reports
        if isinstance(each, pytest.TestReport) and each.nodeid.startswith(HERE)
    ]
    if reports:
        where = os.environ["KFP_URL"] if is_real(os.environ) else "the stand-in"
        terminalreporter.section(f"Kubeflow Pipelines: {where}")
        for row in rows(reports):
            terminalreporter.write_line(row.replace(HERE, ""))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The server, with a pipeline of this session's own; what the session made is removed."""
    directory = tmp_path_factory.mktemp("kubeflow")
    if not is_real(os.environ):
        with pretended_site(directory) as made:
            yield made
            asyncio.run(made.close())
            assert made.server is not None
            assert not made.server.world.runs
            assert not made.server.world.pipelines
        return
    file = compile_to(directory / "pipeline.yaml")
    own = {"pipeline": f"{NAME}-{uuid.uuid4().hex[:12]}", "experiment": NAME}
    given = {"url": os.environ["KFP_URL"], "image": os.environ["IMAGE"]}
    settings = Settings(kubeflow={**given, **own}).kubeflow
    root = f"{os.environ['S3'].rstrip('/')}/{NAME}"
    made = Site(settings, root, file, patience_s=PATIENCE_S, look_s=LOOK_S)
    try:
        made.credentials = load_credentials(None)
    except FulcrumError as error:
        made.unseen = str(error)
    yield made
    asyncio.run(made.close())


@pytest.fixture(autouse=True)
def patience(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real run takes its time, and a real server is not asked 50 times a second."""
    if site.server is None:
        monkeypatch.setattr("engine_suite.END_TIMEOUT_S", site.patience_s)
        monkeypatch.setattr("engine_suite.LOOK_S", site.look_s)


@pytest.fixture
def kubeflow_settings(site: Site) -> Kubeflow:
    """Settings with an experiment of the test's own."""
    return site.own_settings()


@pytest.fixture
def store(site: Site) -> Store:
    """A store of the test's own."""
    return site.own_store()


@pytest.fixture
def engine(site: Site, kubeflow_settings: Kubeflow, store: Store) -> KubeflowEngine:
    """The engine with the pipeline that does what a job's name says; it sees no cluster."""
    return site.engine(store, kubeflow_settings)


@pytest.fixture
def cluster(site: Site) -> Site:
    """The site; skips if its cluster cannot be read."""
    if site.credentials is None:
        pytest.skip(f"needs a cluster whose pods may be listed and deleted: {site.unseen}")
    return site


@pytest.fixture(autouse=True)
def counted(site: Site, request: pytest.FixtureRequest) -> Iterator[None]:
    """Count the pods of a test, and remove its runs."""
    yield
    request.node.user_properties.append((PODS, asyncio.run(site.count())))
    asyncio.run(site.remove())
