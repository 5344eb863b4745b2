"""Check what stages require of the outputs after the first."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from two_outputs import WIDTH, data, signature, write

from fulcrum_components.stages import further_outputs, torch_models
from fulcrum_pipelines.resources.compressionjob import Data, Distillation, Finetune, Gate


def context(*, distillation: bool = False, dtype: str = "float32", **fields: Any) -> Any:
    """Return as much of a stage's context as these questions need."""
    gates = fields.pop("gates", ())
    parsed = Data.model_validate({"task": "classification", "test": {"uri": "t.npz"}} | fields)
    options = Finetune(epochs=1, distillation=Distillation() if distillation else None)
    recipe = SimpleNamespace(finetune=options)
    spec = SimpleNamespace(data=parsed, gates=gates, recipe=recipe)
    return SimpleNamespace(signature=signature(["batch", 4], dtype), spec=spec)


@pytest.mark.parametrize(
    ("fields", "lost"),
    [
        pytest.param({}, True, id="default"),
        pytest.param({"ignoredOutputs": ["second"]}, False, id="ignored"),
        pytest.param(
            {"gates": [Gate(name="a", kind="fidelity", output="second", max=0.9)]},
            False,
            id="allowed-by-its-gate",
        ),
    ],
)
def test_candidate_that_loses_an_output_is_objected_to(
    fields: dict[str, Any], lost: bool, tmp_path: Path
) -> None:
    baseline = write(tmp_path / "a.onnx", [("Identity", ["x"], "second")], ["batch", 4])
    candidate = write(tmp_path / "b.onnx", [("Relu", ["x"], "second")], ["batch", 4])

    found = further_outputs.lost_on(context(**fields), data(), baseline, candidate)

    assert bool(found) == lost
    assert not further_outputs.lost_on(context(**fields), data(), baseline, baseline)


@pytest.mark.parametrize(
    ("fields", "positions"),
    [
        pytest.param({}, (1,), id="floating"),
        pytest.param({"dtype": "int64"}, (), id="whole-numbers"),
        pytest.param({"ignoredOutputs": ["second"]}, (), id="ignored"),
    ],
)
def test_distillation_keeps_what_can_be_learned(
    fields: dict[str, Any], positions: tuple[int, ...]
) -> None:
    assert further_outputs.taught_outputs(context(**fields)) == positions


def test_finetuning_without_a_teacher_warns_of_outputs_that_nothing_keeps() -> None:
    (warning,) = further_outputs.untaught(context())
    assert "second" in warning
    assert "distillation" in warning
    assert not further_outputs.untaught(context(distillation=True))
    assert not further_outputs.untaught(context(ignoredOutputs=["second"]))


class Two(nn.Module):
    """Scores and a feature, each from a separate layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.scores, self.feature = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.scores(x), self.feature(x)


@pytest.mark.parametrize(
    ("damaged", "fields", "errors"),
    [
        pytest.param("feature", {}, {"second: relative error": 1.0}, id="its-own-layer"),
        pytest.param("scores", {}, {"second: relative error": 0.0}, id="another-layer"),
        pytest.param("feature", {"ignoredOutputs": ["second"]}, {}, id="ignored"),
    ],
)
def test_pruning_measures_each_output_that_counts(
    damaged: str, fields: dict[str, Any], errors: dict[str, float]
) -> None:
    original, module = Two(), Two()
    nn.init.zeros_(module.get_submodule(damaged).weight)
    place = context(**fields)
    place.required_dataset = lambda name: data()

    found = torch_models.kept_metrics(module, original, place)

    assert {each.name: each.value for each in found} == pytest.approx(errors, abs=0.1)
    assert all(each.direction == "lower" for each in found)
