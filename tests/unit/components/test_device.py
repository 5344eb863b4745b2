"""Pruning and fine-tuning compute on the device that they are given, all of their tensors.

A device that torch really has is in `test_cuda.py`; here a stand-in refuses what CUDA refuses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from far_device import far_device
from model_files import write_bundle
from safetensors.torch import save_file
from small_models import image_data, image_net, measure_of, problem
from torch import Tensor, nn

from fulcrum_components.device import CPU, choose_device, device_of, placed
from fulcrum_components.finetuning import finetune
from fulcrum_components.models.pt2 import load_pt2
from fulcrum_components.pruning import prune
from fulcrum_components.stages import torch_models
from fulcrum_components.stages.recording import record
from fulcrum_components.stages.worker import execute
from fulcrum_pipelines.contract import Plan, ResolvedSpec
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import FinetuneDetails, PruneDetails
from fulcrum_pipelines.resources.compressionjob import Finetune, Prune
from fulcrum_pipelines.storage.store import Store

TRAINING = {
    "epochs": 2,
    "batchSize": 50,
    "distillation": {},
    "earlyStopping": {},
    "gradientClip": 1.0,
    "penalties": [{"kind": "l1", "weight": 1e-4}, {"kind": "group", "weight": 1e-4}],
}
TAYLOR = {"sparsity": 0.5, "importance": "taylor", "iterations": 2, "schedule": "linear"}
METHODS = (
    pytest.param({"structured": TAYLOR, "recoveryEpochs": 1}, id="taylor-with-recovery"),
    pytest.param({"structured": {"sparsity": 0.5}, "sensitivity": True}, id="magnitude"),
    pytest.param({"structured": {"sparsity": 0.5, "scope": "global"}}, id="global"),
    pytest.param({"structured": {"sparsity": 0.5, "importance": "bnScale"}}, id="batch-norm-scale"),
    pytest.param({"unstructured": {"sparsity": 0.5}, "recoveryEpochs": 1}, id="unstructured"),
    pytest.param({"nm": {}, "sensitivity": True}, id="nm"),
    pytest.param({"truncate": {"threshold": 0.5}}, id="truncate"),
)


def pruned(options: dict[str, Any], device: torch.device) -> dict[str, Tensor]:
    """Prune a small network on `device`; return its tensors, which are on the CPU again."""
    module, teacher = image_net(), image_net(seed=1)
    given, x = problem(image_data(), device=device), torch.from_numpy(image_data(4).x)
    training = Finetune.model_validate({**TRAINING, "epochs": 1, "earlyStopping": None})

    def recover(trained: nn.Module, sparse_layers: tuple[str, ...]) -> None:
        finetune(trained, teacher, given, training, sparse_layers=sparse_layers)

    def evaluate(trial: nn.Module) -> list[Measured]:
        with torch.no_grad():
            return [Measured(float(trial.eval()(x.to(device_of(trial))).abs().mean()))]

    asked = Prune.model_validate(options)
    result = prune(module, asked, given, example_inputs=(x,), recover=recover, evaluate=evaluate)
    assert result.figures.device == device.type
    assert result.figures.batch_norm_examples == len(image_data())
    return tensors(module)


class Measured:
    name = "mean"

    def __init__(self, value: float) -> None:
        self.value = value


def tensors(module: nn.Module) -> dict[str, Tensor]:
    found = {name: value.detach() for name, value in module.state_dict().items()}
    assert {value.device for value in found.values()} == {CPU}
    return found


@pytest.mark.parametrize("options", METHODS)
def test_pruning_on_a_device_is_pruning_on_the_cpu(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = pruned(options, CPU)
    with far_device(monkeypatch) as far:
        found = pruned(options, far)

    torch.testing.assert_close(found, expected)


def trained(device: torch.device) -> dict[str, Tensor]:
    module = image_net()
    with torch.no_grad():
        module[0].weight[::2] = 0
    given = problem(image_data(), device=device)
    result = finetune(
        module,
        image_net(seed=1),
        given,
        Finetune.model_validate(TRAINING),
        validation=image_data(50, 1),
        measure=measure_of(given),
        sparse_layers=("0.weight",),
    )
    assert result.details.device == device.type
    assert result.details.sparsity_kept == 1
    return tensors(module)


def test_training_on_a_device_is_training_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = trained(CPU)
    with far_device(monkeypatch) as far:
        found = trained(far)

    torch.testing.assert_close(found, expected)


CODE = """
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = torch.nn.Linear(4, 16), torch.nn.BatchNorm1d(16)
        self.scores, self.feature = torch.nn.Linear(16, 3), torch.nn.Linear(16, 2)

    def forward(self, x):
        hidden = self.norm(self.first(x)).relu()
        return self.scores(hidden), self.feature(hidden)
"""
MANIFEST = """
entryPoint: model.py:Net
weights: model.safetensors
inputs:
  - {name: x, shape: [batch, 4], dtype: float32}
outputs:
  - {name: scores, shape: [batch, 3], dtype: float32}
  - {name: feature, shape: [batch, 2], dtype: float32}
meaning: logits
"""


def specification(directory: Path, **recipe: Any) -> ResolvedSpec:
    """Return a job on a small network that is right about most of its test data."""
    bundle = write_bundle(directory / "bundle", model_py=CODE, fulcrum_yaml=MANIFEST)
    space: dict[str, Any] = {}
    exec(CODE, space)
    network = space["Net"]()
    save_file(network.state_dict(), bundle / "model.safetensors")
    for seed, name in enumerate(("train", "validation", "test")):
        x = np.random.default_rng(seed).normal(size=(200, 4)).astype(np.float32)
        y = network.eval()(torch.from_numpy(x))[0].argmax(dim=1).numpy()
        np.savez(directory / f"{name}.npz", x=x, y=y)
    names = ("train", "validation", "test")
    sources = {name: {"uri": f"file://{directory / name}.npz"} for name in names}
    fields = {
        "model": {"uri": f"file://{bundle}"},
        "data": {"task": "classification", **sources},
        "recipe": recipe,
        "gates": [{"name": "small", "kind": "size", "max": 0.9}],
    }
    return ResolvedSpec.model_validate(fields)


def test_stages_compute_on_the_device_that_the_recipe_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {
        "device": "cuda",
        "prune": {
            "structured": {**TAYLOR, "round": 1},
            "recoveryEpochs": 1,
            "sensitivity": True,
        },
        "finetune": {"epochs": 2, "distillation": {}},
    }
    plan = Plan(
        name="net", uid="0" * 12, spec=specification(tmp_path, **recipe), fulcrum_version="test"
    )
    store = Store(str(tmp_path / "store"))
    digest = store.put_record(plan)
    devices = []
    for stage in ("evaluate", "prune", "finetune"):
        work_dir = tmp_path / stage
        work_dir.mkdir()
        with far_device(monkeypatch) as far:
            monkeypatch.setattr(torch_models, "choose_device", {"cuda": far}.__getitem__)
            evidence = execute(stage, store, digest, work_dir, use_cache=False)
        record(store, plan, evidence, ())
        if isinstance(evidence.details, PruneDetails | FinetuneDetails):
            devices.append(evidence.details.device)
    assert devices == [far.type] * 2


def test_cuda_that_is_missing_is_refused_with_the_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == CPU
    with pytest.raises(UserError, match="use auto or cpu") as caught:
        choose_device("cuda")
    assert caught.value.where == "spec.recipe.device"


@pytest.mark.parametrize(
    "recipe",
    [
        {"prune": {"structured": {"sparsity": 0.5}}},
        {"finetune": {"epochs": 1}},
        {"prune": {"nm": {}}, "finetune": {"epochs": 1}, "quantize": {"method": "dynamic"}},
        {},  # a component of another pipeline that only measures
    ],
    ids=lambda recipe: "+".join(recipe) or "nothing",
)
def test_cuda_that_is_missing_fails_before_the_model_is_measured(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    spec = specification(tmp_path, device="cuda", **recipe)
    plan = Plan(name="net", uid="0" * 12, spec=spec, fulcrum_version="test")
    store = Store(str(tmp_path / "store"))
    with pytest.raises(UserError, match="finds no CUDA device") as caught:
        execute("evaluate", store, store.put_record(plan), tmp_path, use_cache=True)
    assert caught.value.where == "spec.recipe.device"


def test_moved_modules_come_back_with_their_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].weight = module[0].weight
    with far_device(monkeypatch) as far:
        with placed(far, module, None):
            assert device_of(module) == far
            assert module[1].weight is module[0].weight
        assert device_of(module) == CPU
    assert module[1].weight is module[0].weight


class Masking(nn.Module):
    """Makes a tensor in its forward, on a device that an exported program names."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.arange(x.shape[1], device=x.device)


def test_exported_program_makes_its_tensors_on_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(4, 3)
    module = nn.Sequential(nn.Linear(3, 3), Masking())
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(module.eval(), (x,), dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "model.pt2")
    loaded, _ = load_pt2(tmp_path / "model.pt2")
    expected = loaded(x)
    with far_device(monkeypatch) as far, placed(far, loaded):
        found = loaded(x.to(far)).to(CPU)

    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(loaded(x), expected)
