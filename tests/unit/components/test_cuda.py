"""What only a machine with a GPU can show; `test_device.py` has a stand-in for the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx_graphs import GraphBuilder
from small_models import Recurrent, image_data, image_net, problem
from torch import nn

from fulcrum_components.device import CPU, choose_device, device_of
from fulcrum_components.finetuning import finetune
from fulcrum_components.pruning import prune
from fulcrum_components.sessions import CUDA_PROVIDER, open_session, run_session
from fulcrum_pipelines.resources.compressionjob import Finetune, Prune

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]


def pruned(device: torch.device) -> nn.Module:
    module, x = image_net(), torch.from_numpy(image_data(4).x)
    options = Prune.model_validate({"structured": {"sparsity": 0.5, "importance": "taylor"}})
    result = prune(module, options, problem(image_data(), device=device), example_inputs=(x,))
    assert result.figures.device == device.type
    assert device_of(module) == CPU
    return module


def test_taylor_pruning_chooses_the_channels_of_the_cpu() -> None:
    found, expected = pruned(choose_device("cuda")), pruned(CPU)
    torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=1e-3, atol=1e-4)


def test_layers_around_a_recurrent_one_can_go() -> None:
    module, x = Recurrent(nn.LSTM(32, 48, batch_first=True), last_state=True), torch.randn(4, 6, 12)
    options = Prune.model_validate({"structured": {"sparsity": 0.5}})
    asked = problem(device=choose_device("cuda"))
    result = prune(module, options, asked, example_inputs=(x,))
    assert result.figures.achieved_sparsity == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_twice_gives_the_same_bits(precision: str) -> None:
    options = Finetune.model_validate(
        {"epochs": 2, "batchSize": 50, "distillation": {}, "weightNorm": True}
    ).model_copy(update={"precision": precision})
    asked = problem(image_data(), device=choose_device("cuda"))
    states = []
    for _ in range(2):
        module = image_net()
        details = finetune(module, image_net(seed=1), asked, options).details
        assert (details.device, details.precision) == ("cuda", precision)
        states.append(module.state_dict())
    torch.testing.assert_close(*states, rtol=0, atol=0)


@pytest.mark.skipif(
    CUDA_PROVIDER not in ort.get_available_providers(), reason="onnxruntime has no CUDA"
)
def test_outcomes_by_cuda_are_those_of_the_cpu(tmp_path: Path) -> None:
    graph = GraphBuilder()
    path = graph.save(tmp_path / "model.onnx", (64,), graph.gemm("x", "first", 64, 8), 8)
    inputs = {"x": np.random.default_rng(0).normal(size=(100, 64)).astype(np.float32)}
    session = open_session(path, provider=CUDA_PROVIDER)
    assert session.get_providers()[0] == CUDA_PROVIDER
    found, expected = (
        run_session(each, inputs, where="") for each in (session, open_session(path))
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
