"""A plan in parts: the compiled pipeline without the tasks of the other part."""

from __future__ import annotations

import pytest
import yaml
from builders.plans import make_plan

from fulcrum_pipelines.local import IR_PATH, Part, part_of, stages_of

COMPUTED = {"evaluate", "optional-prune", "optional-finetune", "optional-quantize"}


def tasks_of(compiled: str) -> dict[str, list[str]]:
    """Return each task with those that it waits for."""
    pipeline, *_ = yaml.safe_load_all(compiled)
    tasks = pipeline["root"]["dag"]["tasks"]
    return {name: task.get("dependentTasks", []) for name, task in tasks.items()}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("all", {*COMPUTED, "validate"}),
        ("compute", COMPUTED),
        ("measure", {"validate"}),
    ],
)
def test_part_has_its_tasks_and_waits_for_no_others(part: Part, expected: set[str]) -> None:
    whole = tasks_of(IR_PATH.read_text())
    tasks = tasks_of(part_of(IR_PATH.read_text(), part))
    assert tasks.keys() == expected
    for name, earlier in tasks.items():
        assert earlier == [each for each in whole[name] if each in expected]


@pytest.mark.parametrize("part", ["compute", "measure"])
def test_all_else_of_the_pipeline_is_as_it_was_compiled(part: Part) -> None:
    whole, kept = (
        list(yaml.safe_load_all(text))
        for text in (IR_PATH.read_text(), part_of(IR_PATH.read_text(), part))
    )
    for documents in (whole, kept):
        del documents[0]["root"]["dag"]["tasks"]
    assert whole == kept


def test_parts_together_are_the_whole_plan() -> None:
    plan = make_plan(recipe={"finetune": {"epochs": 1}, "quantize": {}})
    assert stages_of(plan, "compute") == ("evaluate", "finetune", "quantize")
    assert stages_of(plan, "measure") == ("validate",)
    assert stages_of(plan, "all") == plan.stages
