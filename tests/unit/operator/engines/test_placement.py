"""Map names in a manifest to pools, and report unknown names."""

from __future__ import annotations

from typing import get_args

import pytest
from job_world import SPEC

from fulcrum_operator.engines.placement import (
    ENGINES_WITH_NODES,
    SWITCHES,
    Placement,
    beyond_kubeflow,
    place,
)
from fulcrum_operator.settings.pools import Pool
from fulcrum_pipelines.compiled import Fuse
from fulcrum_pipelines.resources.compressionjob import CompressionJobSpec
from fulcrum_pipelines.validation.problem import Problem

GPU = Pool(node_selector={"pool": "gpu-a"}, accelerator_count=1)
CPU = Pool(node_selector={"pool": "cpu"})
POOLS = {"gpu-a": GPU, "cpu": CPU}


def spec(engine: str = "kubeflow", **placement: str) -> CompressionJobSpec:
    fields = SPEC.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return CompressionJobSpec.model_validate({**fields, "engine": engine, "placement": placement})


def without_placement(engine: str) -> CompressionJobSpec:
    return SPEC.model_copy(update={"engine": engine, "placement": None})


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param({"compute": "gpu-a", "measure": "cpu"}, Placement(GPU, CPU), id="both"),
        pytest.param({"compute": "gpu-a"}, Placement(GPU, GPU), id="validate goes with the rest"),
        pytest.param({"measure": "cpu"}, Placement(Pool(), CPU), id="computed anywhere"),
        pytest.param({}, Placement(Pool(), Pool()), id="nothing named"),
    ],
)
def test_names_become_pools(asked: dict[str, str], expected: Placement) -> None:
    assert place(spec(**asked), POOLS) == expected


@pytest.mark.parametrize(
    ("asked", "default", "measure", "expected"),
    [
        ({}, "Compute", GPU, "Compute"),
        ({}, "All", GPU, "All"),
        ({}, "All", CPU, "Compute"),
        ({"fuse": "None"}, "All", GPU, "None"),
        ({"fuse": "All"}, "None", GPU, "All"),
    ],
)
def test_job_says_which_stages_share_a_pod_and_else_the_settings(
    asked: dict[str, str], default: Fuse, measure: Pool, expected: Fuse
) -> None:
    named = {} if measure is GPU else {"measure": "cpu"}
    placement = place(spec(compute="gpu-a", **named, **asked), POOLS)
    assert isinstance(placement, Placement)
    assert placement.fused(default) == expected


def test_pool_named_default_is_for_jobs_that_name_none() -> None:
    assert place(without_placement("kubeflow"), {"default": GPU}) == Placement(GPU, GPU)


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({"compute": "gpu-b"}, "spec.placement.compute"),
        ({"measure": "x"}, "spec.placement.measure"),
    ],
)
def test_unknown_pool_error_lists_known_pools(asked: dict[str, str], path: str) -> None:
    problem = place(spec(**asked), POOLS)
    assert isinstance(problem, Problem)
    assert problem.path == path
    assert next(iter(asked.values())) in problem.message
    assert problem.allowed == "cpu, default, gpu-a"


def test_placement_means_nothing_on_the_operators_own_machine() -> None:
    problem = place(spec(engine="process", compute="gpu-a"), POOLS)
    assert isinstance(problem, Problem)
    assert "runs on the operator's own machine" in str(problem)
    assert isinstance(place(without_placement("process"), POOLS), Placement)


@pytest.mark.parametrize(
    ("placement", "messages"),
    [
        pytest.param(Placement(GPU, CPU), [], id="all can be given"),
        pytest.param(
            Placement(Pool(priority_class="high"), CPU),
            ["spec.placement.compute: its pool has priority_class high"],
            id="priority class",
        ),
        pytest.param(
            Placement(CPU, Pool(ephemeral_storage="9Gi")),
            ["spec.placement.measure: its pool has ephemeral_storage 9Gi"],
            id="local disk",
        ),
        pytest.param(
            Placement(CPU, Pool(image="arm")),
            ["spec.placement.measure: its pool has another image"],
            id="two images",
        ),
    ],
)
def test_placement_beyond_kubeflow_is_reported(placement: Placement, messages: list[str]) -> None:
    problems = [str(each) for each in beyond_kubeflow(placement)]
    assert [
        problem.startswith(start) for problem, start in zip(problems, messages, strict=True)
    ] == [True] * len(messages)


def test_each_engine_of_the_schema_names_the_setting_that_turns_it_on() -> None:
    allowed = get_args(CompressionJobSpec.model_fields["engine"].annotation)
    assert set(SWITCHES) == set(allowed)
    assert set(ENGINES_WITH_NODES) <= set(allowed)
