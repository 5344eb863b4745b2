"""A job through the operator, which dies between asking for the run and writing its status."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from kubeflow.operated import operated, run_with_a_kill, runs_named
from kubeflow.site import Site

from fulcrum_operator.settings import Kubeflow
from fulcrum_pipelines.storage.store import Store

QUIET_S = 10.0


@pytest.fixture
def kubeconfig(site: Site) -> Path:
    """A file with credentials for the cluster that Kubeflow is in."""
    if site.server is not None:
        pytest.skip("needs a cluster; the tests of the operator run it on a control plane")
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    path = Path(named) if named else Path.home() / ".kube" / "config"
    if site.credentials is None or not path.exists():
        pytest.skip(f"needs a kubeconfig: {site.unseen or f'there is no {path}'}")
    if site.credentials.login is not None:
        pytest.skip("needs a kubeconfig with a certificate or a token, not one with a login")
    return path


def test_operator_that_is_killed_after_it_asked_makes_one_run(
    site: Site, kubeflow_settings: Kubeflow, store: Store, kubeconfig: Path, tmp_path: Path
) -> None:
    with operated(site, kubeflow_settings, store, kubeconfig, tmp_path) as given:
        key = run_with_a_kill(given, "submitted", quiet_s=QUIET_S, timeout_s=site.patience_s)
        (run_id,) = asyncio.run(runs_named(kubeflow_settings, key))

        async def workflows() -> int:
            namespace = site.pod_namespace(kubeflow_settings)
            async with site.seeing(store, kubeflow_settings) as seen:
                return len(await seen.cluster.workflows(run_id, namespace) or ())

        assert asyncio.run(workflows()) == 1
