"""The plan of a run: its key, its stages, and one spelling for one content."""

from __future__ import annotations

import math

import pytest
from builders.plans import make_plan

from fulcrum_pipelines.contract import canonical_json, digest_of, to_json


def test_stages_are_those_of_the_recipe_in_order() -> None:
    assert make_plan(recipe={"quantize": {}}).stages == ("evaluate", "quantize", "validate")
    recipe = {"finetune": {"epochs": 1}, "prune": {"nm": {}}}
    assert make_plan(recipe=recipe).stages == ("evaluate", "prune", "finetune", "validate")


def test_run_names_job_identity_and_attempt() -> None:
    plan = make_plan()
    assert plan.run == f"{plan.name}-{plan.uid[:12]}-{plan.attempt}"
    assert plan.run != plan.model_copy(update={"attempt": 2}).run


def test_equal_plans_have_equal_digests() -> None:
    assert digest_of(to_json(make_plan())) == digest_of(to_json(make_plan()))


def test_order_of_keys_does_not_matter() -> None:
    assert canonical_json({"a": 1, "b": 2}) == canonical_json({"b": 2, "a": 1})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_say_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": value})
