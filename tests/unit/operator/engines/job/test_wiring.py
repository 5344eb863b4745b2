"""The engine exists if it is set up; otherwise an error names the missing setting."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from job_world import SPEC
from pydantic import ValidationError

from fulcrum_operator.engines.factory import default_engines
from fulcrum_operator.engines.job.engine import JobEngine
from fulcrum_operator.engines.placement import Site, unplaceable
from fulcrum_operator.engines.slots import EngineDesk
from fulcrum_operator.kubernetes.api import connect
from fulcrum_operator.kubernetes.credentials import Credentials
from fulcrum_operator.settings import JobEngineSettings, Settings
from fulcrum_operator.settings.pools import Pool
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.storage.store import Store

IMAGE = "registry.example/components:1"
STORE = "memory://bucket/fulcrum"


def engines_of(store: str = STORE, **job: Any) -> dict[str, EngineDesk]:
    async def scenario() -> dict[str, EngineDesk]:
        async with connect(Credentials(server="http://127.0.0.1:1")) as kube:
            settings = Settings(process={"enabled": False}, job={"image": IMAGE, **job})
            return default_engines(settings, Store(store), kube)

    return asyncio.run(scenario())


def test_engine_is_there_where_it_is_set_up() -> None:
    engines = engines_of(enabled=True, max_running=3)
    assert isinstance(engines["job"].engine, JobEngine)
    assert engines["job"].slots.limit == 3
    with pytest.raises(UserError, match=r"no engine is set up: .*job\.enabled"):
        engines_of(enabled=False)


def test_store_that_pods_cannot_reach_is_refused() -> None:
    with pytest.raises(UserError, match="store: engine job needs a URL that pods reach"):
        engines_of("/tmp/store", enabled=True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"enabled": True}, "image is needed with enabled", id="no image"),
        pytest.param({"scratch_size": "much"}, "scratch_size", id="no quantity"),
        pytest.param({"image_pull_policy": "Sometimes"}, "image_pull_policy", id="no policy"),
        pytest.param({"ttl_seconds": 5}, "ttl_seconds", id="gone before it is seen"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        JobEngineSettings(**fields)


def test_error_about_a_disabled_engine_names_its_switch() -> None:
    spec = SPEC.model_copy(update={"engine": "job"})
    (problem,) = unplaceable(spec, Site(("process",)))
    assert problem.path == "spec.engine"
    assert "job.enabled and job.image turn it on" in problem.message
    assert unplaceable(spec, Site(("job",))) == []


def test_pool_may_have_all_that_kubeflow_has_not() -> None:
    fields = {"engine": "job", "placement": {"compute": "gpu"}}
    spec = type(SPEC).model_validate(
        SPEC.model_dump(mode="json", by_alias=True, exclude_unset=True) | fields
    )
    pool = Pool(priority_class="high", ephemeral_storage="9Gi", queue="team")
    assert unplaceable(spec, Site(("job",), {"gpu": pool})) == []
    problems = unplaceable(
        spec.model_copy(update={"engine": "kubeflow"}), Site(("kubeflow",), {"gpu": pool})
    )
    assert {problem.path for problem in problems} == {
        "spec.placement.compute",
        "spec.placement.measure",
    }
    assert any("queue team" in problem.message for problem in problems)
