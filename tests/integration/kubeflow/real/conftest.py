"""A real server, if there is one: `make kubeflow-e2e KFP_URL=… S3=… IMAGE=…`.

Tokens, namespaces and the like are settings of the operator, taken from the environment as it does
(`FULCRUM_KUBEFLOW__TOKEN_PATH`, …); credentials of the bucket are those of the AWS environment here
and of the secret `fulcrum-store`, or of an identity, in the cluster.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubeflow.stand_in_pipeline import compile_to

from fulcrum_operator.engines.kubeflow.client import KubeflowClient
from fulcrum_operator.engines.kubeflow.engine import KubeflowEngine
from fulcrum_operator.engines.kubeflow.uploading import Uploads
from fulcrum_operator.settings import Kubeflow, Settings
from fulcrum_pipelines.store import Store

NEEDED = ("KFP_URL", "S3", "IMAGE")
NAME = "fulcrum-e2e"
RUN_TIMEOUT_S = 900.0
"""Of one run: pulling the components' image takes minutes the first time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip all of it, and say why, where there is no server."""
    missing = [name for name in NEEDED if not os.environ.get(name)]
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.timeout(4 * RUN_TIMEOUT_S))
            if missing:
                reason = f"needs a real Kubeflow Pipelines: {', '.join(missing)} not set"
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real run takes its time."""
    monkeypatch.setattr("engine_suite.END_TIMEOUT_S", RUN_TIMEOUT_S)


@pytest.fixture(scope="session")
def kubeflow_settings() -> Kubeflow:
    """Settings for the server."""
    given = {"url": os.environ["KFP_URL"], "image": os.environ["IMAGE"]}
    settings = Settings(kubeflow={**given, "experiment": NAME, "pipeline": NAME})
    return settings.kubeflow


@pytest.fixture
def store() -> Store:
    """A store of the test's own."""
    return Store(f"{os.environ['S3'].rstrip('/')}/{NAME}/{uuid.uuid4().hex}")


@pytest.fixture(scope="session")
def stand_in_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in, compiled."""
    return compile_to(tmp_path_factory.mktemp("compiled") / "pipeline.yaml")


@pytest.fixture
def engine(
    kubeflow_settings: Kubeflow, store: Store, stand_in_file: Path
) -> Iterator[KubeflowEngine]:
    """The engine with the stand-in as its pipeline; what earlier tests left is removed."""
    asyncio.run(remove_all(kubeflow_settings))
    yield KubeflowEngine(store, kubeflow_settings, {}, compiled=lambda _: stand_in_file.read_text())
    asyncio.run(remove_all(kubeflow_settings))


async def remove_all(settings: Kubeflow) -> None:
    """Delete the runs of these tests, so that only a test's own are listed."""
    client = KubeflowClient(settings)
    experiment = await Uploads(client, settings).experiment(settings.namespace)
    if experiment is None:
        return
    for run in await client.runs(namespace=settings.namespace, experiment_id=experiment):
        await client.delete_run(run.run_id)
