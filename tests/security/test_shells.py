"""No shell waits, with credentials in its environment, beside a stage that runs a model's code."""

from __future__ import annotations

import pytest
import yaml

from fulcrum_pipelines.compiled import FUSED, IR_PATH, pipeline_of
from fulcrum_pipelines.contract import STAGES
from fulcrum_pipelines.runner.local import without_shells


@pytest.mark.parametrize("tasks", [(*STAGES, *FUSED), ("evaluate", "validate"), ("compute",)])
def test_every_task_takes_its_shells_place(tasks: tuple[str, ...]) -> None:
    pipeline, *_ = yaml.safe_load_all(without_shells(pipeline_of(IR_PATH.read_text(), tasks)))
    executors = pipeline["deploymentSpec"]["executors"].values()
    scripts = ["\n".join(each["container"]["command"]) for each in executors]
    assert len(scripts) == len(tasks)
    for script in scripts:
        assert script.count("exec python3 -m kfp.dsl.executor_main") == 1
        assert script.count("python3 -m") == 1


def test_a_task_that_starts_otherwise_is_noticed() -> None:
    compiled = IR_PATH.read_text().replace("python3 -m kfp.dsl", "python3 -u -m kfp.dsl", 1)
    with pytest.raises(ValueError, match="does not start with"):
        without_shells(compiled)
