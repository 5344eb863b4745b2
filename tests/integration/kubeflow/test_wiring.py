"""The engine exists if it is set up, costs nothing otherwise, and reports mistakes."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fulcrum_operator.engines.factory import default_engines
from fulcrum_operator.engines.kubeflow.engine import KubeflowEngine
from fulcrum_operator.engines.slots import EngineDesk
from fulcrum_operator.kubernetes.api import connect
from fulcrum_operator.kubernetes.credentials import Credentials
from fulcrum_operator.settings import Settings
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.storage.store import Store

ROOT = Path(__file__).parents[3]
KUBEFLOW = {"url": "http://ml-pipeline.kubeflow:8888", "image": "components:1"}
STORE = "memory://bucket/fulcrum"


def engines_of(store: str = STORE, **settings: Any) -> dict[str, EngineDesk]:
    async def scenario() -> dict[str, EngineDesk]:
        async with connect(Credentials(server="http://127.0.0.1:1")) as kube:
            return default_engines(Settings(**settings), Store(store), kube)

    return asyncio.run(scenario())


def test_engine_is_there_where_it_is_set_up() -> None:
    assert set(engines_of()) == {"process"}
    engines = engines_of(kubeflow={**KUBEFLOW, "max_running": 7})
    assert isinstance(engines["kubeflow"].engine, KubeflowEngine)
    assert engines["kubeflow"].slots.limit == 7


def test_engine_process_can_be_left_out() -> None:
    """If the operator is a pod, no users' code may run beside it."""
    assert set(engines_of(process={"enabled": False}, kubeflow=KUBEFLOW)) == {"kubeflow"}
    with pytest.raises(UserError, match=r"no engine is set up: process\.enabled, job\.enabled or"):
        engines_of(process={"enabled": False})


@pytest.mark.parametrize(
    ("store", "settings", "message"),
    [
        pytest.param("/tmp/store", {}, "store: engine kubeflow needs a URL", id="local store"),
        pytest.param(
            STORE,
            {"in_job_namespace": True},
            "namespaces: kubeflow.in_job_namespace needs the list",
            id="all namespaces",
        ),
    ],
)
def test_settings_that_cannot_work_are_reported(
    store: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        engines_of(store, kubeflow={**KUBEFLOW, **settings})


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("fulcrum_operator.runtime.app", "kfp kfp_server_api torch numpy"),
        ("fulcrum_operator.engines.kubeflow.engine", "kfp torch numpy"),
    ],
)
def test_client_is_loaded_only_with_the_engine_and_the_sdk_never(module: str, absent: str) -> None:
    code = f"import sys, {module}; print(sorted(set({absent.split()!r}) & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_documented_account_of_pods_has_no_more_rights_than_kubeflow_needs() -> None:
    text = (ROOT / "docs" / "kubeflow.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (block,) = (block for block in blocks if "kind: ServiceAccount\n" in block)
    account, role, binding = yaml.safe_load_all(block)
    assert binding["subjects"][0]["name"] == account["metadata"]["name"]
    assert f"service_account: {account['metadata']['name']}" in text
    rights = {
        (resource, verb): rule.get("resourceNames")
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert rights == {
        ("secrets", "get"): ["mlpipeline-minio-artifact"],
        ("configmaps", "get"): ["kfp-launcher"],
        ("workflowtaskresults", "create"): None,
        ("workflowtaskresults", "patch"): None,
    }
