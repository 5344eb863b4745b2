"""The plan of a run: its key, its stages, and one spelling for one content."""

from __future__ import annotations

import math

import pytest
from builders.plans import make_plan
from pydantic import ValidationError

from fulcrum_pipelines.contract import Plan, canonical_json, digest_of, to_json


def test_stages_are_those_of_the_recipe_in_order() -> None:
    assert make_plan(recipe={"quantize": {}}).stages == ("evaluate", "quantize", "validate")
    recipe = {"finetune": {"epochs": 1}, "prune": {"nm": {}}}
    assert make_plan(recipe=recipe).stages == ("evaluate", "prune", "finetune", "validate")


def test_run_names_job_identity_and_attempt() -> None:
    plan = make_plan()
    assert plan.run == f"{plan.name}-{plan.uid[:12]}-{plan.attempt}"
    assert plan.run != plan.model_copy(update={"attempt": 2}).run


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../cache/team"},
        {"name": "a/b"},
        {"name": ""},
        {"name": "A b"},
        {"namespace": "../others"},
        {"namespace": "a/b"},
        {"occurrence": "../x"},
        {"occurrence": "a\n"},
        {"occurrence": "0123456789ab-1"},
        {"occurrence": "b-2f8b6c1e-5f4-12"},
    ],
    ids=repr,
)
def test_plan_whose_run_has_the_path_of_something_else_is_refused(
    changes: dict[str, str],
) -> None:
    with pytest.raises(ValidationError):
        Plan.model_validate({**make_plan().model_dump(), **changes})


@pytest.mark.parametrize(
    "occurrence", ["01234567-0123-0123-0123-012345678901", "19024073", "a" * 64]
)
def test_ids_of_kubeflow_runs_name_runs(occurrence: str) -> None:
    plan = Plan.model_validate({**make_plan().model_dump(), "occurrence": occurrence})
    assert plan.run == f"{plan.name}-{occurrence}"


def test_equal_plans_have_equal_digests() -> None:
    assert digest_of(to_json(make_plan())) == digest_of(to_json(make_plan()))


def test_order_of_keys_does_not_matter() -> None:
    assert canonical_json({"a": 1, "b": 2}) == canonical_json({"b": 2, "a": 1})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_say_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": value})
