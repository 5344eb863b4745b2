"""Both models of a comparison are measured by one provider of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fulcrum_components.sessions import CPU_PROVIDER, CUDA_PROVIDER
from fulcrum_components.stages import shared_measures, validate
from fulcrum_pipelines.resources.compressionjob import Data


@pytest.mark.parametrize(
    ("before", "now", "again"),
    [
        pytest.param(CPU_PROVIDER, CPU_PROVIDER, False, id="cpu"),
        pytest.param(CUDA_PROVIDER, CUDA_PROVIDER, False, id="cuda"),
        pytest.param(CUDA_PROVIDER, CPU_PROVIDER, True, id="cuda-then-cpu"),
        pytest.param(CPU_PROVIDER, CUDA_PROVIDER, True, id="cpu-then-cuda"),
    ],
)
def test_baseline_is_run_again_if_another_provider_measured_it(
    before: str, now: str, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Data.model_validate({"task": "classification", "test": {"uri": "t.npz"}})
    details = SimpleNamespace(kind="evaluate", provider=before)
    context: Any = SimpleNamespace(
        spec=SimpleNamespace(data=data, baseline_model=None),
        signature=SimpleNamespace(meaning="logits"),
        plan=SimpleNamespace(stages=("evaluate", "prune", "validate")),
        evidence=lambda stage: SimpleNamespace(details=details),
        fetch=lambda stage, name: Path(stage) / name,
        digest=lambda stage, name: stage,
        report=lambda message, fraction: None,
    )
    monkeypatch.setattr(validate, "load_outcomes", lambda path: "kept")
    monkeypatch.setattr(
        validate, "run_onnx", lambda path, *_, provider, **__: f"{path.parent} by {provider}"
    )

    levers = validate._levers(context, SimpleNamespace(), now)

    baseline = f"evaluate by {now}" if again else "kept"
    assert [lever.outcomes for lever in levers] == [baseline, f"prune by {now}"]


@pytest.mark.parametrize(
    ("device", "stages", "reason", "warned"),
    [
        pytest.param("cuda", ["prune"], "", False, id="CUDA is asked for and there"),
        pytest.param("cuda", ["prune"], "no GPU", True, id="CUDA is asked for and not there"),
        pytest.param("auto", ["prune"], "no GPU", False, id="any device will do"),
        pytest.param("cpu", ["prune"], "asked", False, id="the CPU is asked for"),
        pytest.param("cuda", ["prune", "quantize"], "", False, id="quantized models need the CPU"),
    ],
)
def test_cpu_instead_of_the_cuda_that_was_asked_for_is_warned_of(
    device: str, stages: Sequence[str], reason: str, warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_measures, "why_cpu", lambda *_, **__: reason)
    context: Any = SimpleNamespace(
        spec=SimpleNamespace(recipe=SimpleNamespace(device=device)),
        plan=SimpleNamespace(stages=("evaluate", *stages, "validate")),
        warnings=[],
    )

    provider = shared_measures.outcome_provider(context, Path("model.onnx"))

    assert provider == (CPU_PROVIDER if reason or "quantize" in stages else CUDA_PROVIDER)
    assert context.warnings == [
        f"recipe.device is cuda, but the CPU computed the outcomes: {reason}" for _ in range(warned)
    ]
