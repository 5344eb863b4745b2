"""Both models of a comparison are measured by one provider of ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fulcrum_components.sessions import CPU_PROVIDER, CUDA_PROVIDER
from fulcrum_components.stages import validate
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
