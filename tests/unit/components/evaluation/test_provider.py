"""Outcomes are computed by CUDA only where that shows what the CPU would serve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort
import pytest
from onnx_graphs import GraphBuilder
from onnxruntime.quantization import quantize_dynamic

from fulcrum_components.evaluation.provider import why_cpu
from fulcrum_components.sessions import CPU_PROVIDER, CUDA_PROVIDER, open_session
from fulcrum_pipelines.errors import InfrastructureError

BOTH = (CUDA_PROVIDER, CPU_PROVIDER)


@dataclass(frozen=True)
class Case:
    name: str
    reason: str = ""
    device: str = "auto"
    available: tuple[str, ...] = BOTH
    has_gpu: bool = True
    quantized: bool = False


CASES = (
    Case("auto"),
    Case("cuda", device="cuda"),
    Case("cpu", "recipe.device is cpu", device="cpu"),
    Case("onnxruntime without CUDA", "onnxruntime has no CUDA", available=(CPU_PROVIDER,)),
    Case(
        "cuda, onnxruntime without",
        "onnxruntime has no CUDA",
        device="cuda",
        available=(CPU_PROVIDER,),
    ),
    Case("no GPU", "this process has no GPU", has_gpu=False),
    Case("quantized candidate", "operations on integers", device="cuda", quantized=True),
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    graph = GraphBuilder()
    return graph.save(tmp_path / "model.onnx", (16,), graph.gemm("x", "first", 16, 4), 4)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reason_for_the_cpu(case: Case, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: list(case.available))
    models = [model]
    if case.quantized:
        models.append(model.with_name("integers.onnx"))
        quantize_dynamic(model, models[-1])

    found = why_cpu(case.device, models, has_gpu=case.has_gpu)
    assert (case.reason in found) if case.reason else not found


@pytest.mark.skipif(CUDA_PROVIDER in ort.get_available_providers(), reason="CUDA is here")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_silent_fallback_to_the_cpu_is_an_error(model: Path) -> None:
    assert open_session(model).get_providers() == [CPU_PROVIDER]
    with pytest.raises(InfrastructureError, match=r"set recipe\.device: cpu"):
        open_session(model, provider=CUDA_PROVIDER)
