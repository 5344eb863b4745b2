"""Read pools as a platform engineer writes them, and report mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fulcrum_operator.settings import load_settings
from fulcrum_pipelines.errors import UserError

POOLS = """
pools:
  gpu-a:
    node_selector: {pool: gpu-a}
    tolerations:
      - {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}
      - {key: dedicated, value: ml, effect: NoExecute, toleration_seconds: 60}
    accelerator_count: 1
    cpu: "4"
    memory: 16Gi
"""


def test_pool_is_read_from_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(POOLS)
    pool = load_settings(path).pools["gpu-a"]
    assert pool.node_selector == {"pool": "gpu-a"}
    assert (pool.accelerator, pool.accelerator_count) == ("nvidia.com/gpu", 1)
    assert [each.as_json() for each in pool.tolerations] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {
            "key": "dedicated",
            "operator": "Equal",
            "value": "ml",
            "effect": "NoExecute",
            "tolerationSeconds": 60,
        },
    ]


def test_promised_defaults() -> None:
    assert load_settings(None).pools == {}
    assert load_settings(None).kubeflow.url == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("pools: {a: {memory: 8 GB}}", "pools.a.memory: String should match", id="GB"),
        pytest.param("pools: {a: {cpu: -1}}", "pools.a.cpu: Input should be", id="not a text"),
        pytest.param("pools: {a: {gpus: 1}}", "pools.a.gpus: Extra inputs", id="unknown field"),
        pytest.param("pools: {a: {accelerator_count: -1}}", "greater than or equal", id="minus"),
        pytest.param(
            "pools: {a: {tolerations: [{key: k, operator: Exists, value: v}]}}",
            "value is only for operator Equal",
            id="value that is not compared",
        ),
        pytest.param(
            "pools: {a: {tolerations: [{value: v}]}}",
            "a toleration without key needs operator Exists",
            id="no key",
        ),
        pytest.param(
            "pools: {a: {tolerations: [{key: k, toleration_seconds: 5}]}}",
            "toleration_seconds is only for effect NoExecute",
            id="seconds without effect",
        ),
        pytest.param("kubeflow: {url: 'http://k'}", "image is needed with url", id="no image"),
        pytest.param("kubeflow: {url: 'k:8888'}", "kubeflow.url: String should", id="no scheme"),
        pytest.param(
            "kubeflow: {ui_url: 'https://k/{run}'}", "may have {run_id} and", id="unknown part"
        ),
        pytest.param(
            "kubeflow: {namespace: a, in_job_namespace: true}", "exclude each other", id="both"
        ),
        pytest.param("kubeflow: {token: t, token_path: /t}", "exclude each other", id="two tokens"),
    ],
)
def test_mistakes_are_reported(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        load_settings(path)
    assert message in str(error.value)


def test_token_comes_from_the_environment_and_is_never_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FULCRUM_KUBEFLOW__TOKEN", "very-secret")
    settings = load_settings(None)
    assert settings.kubeflow.token is not None
    assert settings.kubeflow.token.get_secret_value() == "very-secret"
    assert "very-secret" not in repr(settings)
