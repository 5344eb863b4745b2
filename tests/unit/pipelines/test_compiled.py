"""The pipeline of a run: its own tasks out of the compiled one, as kfp would compile them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from builders.plans import make_plan

from fulcrum_pipelines.compiled import (
    IR_PATH,
    Fuse,
    Part,
    pipeline_of,
    stages_of,
    stages_of_task,
    tasks_of,
)
from fulcrum_pipelines.contract import RECIPE_STAGES
from fulcrum_pipelines.definition import compile_ir

RECIPES: dict[str, dict[str, Any]] = {
    "prune": {"unstructured": {"sparsity": 0.5}},
    "finetune": {"epochs": 1},
    "quantize": {"method": "dynamic"},
}
SETS = [
    tuple(name for bit, name in enumerate(RECIPE_STAGES) if number >> bit & 1)
    for number in range(8)
]
CANDIDATE = {"recipe": {}, "candidate": {"uri": "file:///models/new.onnx"}}
ASKED: dict[str, dict[str, Any]] = {
    "candidate": CANDIDATE,
    **{"-".join(names): {"recipe": {name: RECIPES[name] for name in names}} for names in SETS},
}


@pytest.mark.parametrize("fuse", ["None", "Compute", "All"])
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_pipeline_of_a_run_is_what_kfp_compiles_for_it(asked: dict[str, Any], fuse: Fuse) -> None:
    plan = make_plan(**asked)
    tasks = tasks_of(plan.stages, fuse)
    found = list(yaml.safe_load_all(pipeline_of(IR_PATH.read_text(), tasks)))
    assert found == list(yaml.safe_load_all(compile_ir(tasks)))


@pytest.mark.parametrize(
    ("fuse", "tasks"),
    [
        ("None", ("evaluate", "finetune", "quantize", "validate")),
        ("Compute", ("compute", "validate")),
        ("All", ("whole",)),
    ],
)
def test_tasks_of_a_run_have_all_its_stages_once(fuse: Fuse, tasks: tuple[str, ...]) -> None:
    plan = make_plan(recipe={"finetune": {"epochs": 1}, "quantize": {}})
    assert tasks_of(plan.stages, fuse) == tasks
    assert tuple(stage for task in tasks for stage in stages_of_task(plan, task)) == plan.stages


@pytest.mark.parametrize(
    ("asked", "stages"),
    [
        (CANDIDATE, ("evaluate", "convert", "validate")),
        ({"recipe": {}}, ("evaluate", "validate")),
    ],
    ids=["candidate", "model that is only measured"],
)
def test_run_without_a_recipe_has_the_stages_that_it_needs(
    asked: dict[str, Any], stages: tuple[str, ...]
) -> None:
    plan = make_plan(**asked)
    assert plan.stages == stages
    assert stages_of(plan, "compute") == stages[:-1]
    assert stages_of(plan, "measure") == ("validate",)


def test_parts_together_are_the_whole_plan() -> None:
    plan = make_plan(recipe={"finetune": {"epochs": 1}, "quantize": {}})
    assert stages_of(plan, "compute") == ("evaluate", "finetune", "quantize")
    assert stages_of(plan, "measure") == ("validate",)
    assert stages_of(plan, "all") == plan.stages


@pytest.mark.parametrize("part", ["all", "compute", "measure"])
def test_task_that_the_plan_has_not_runs_nothing(part: Part) -> None:
    plan = make_plan(recipe={"quantize": {}})
    assert stages_of_task(plan, "prune") == ()
    assert "prune" not in stages_of(plan, part)
