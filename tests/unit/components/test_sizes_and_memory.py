"""Sizes, memory and the environment."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from outcome_makers import write_mlp

from fulcrum_components import process_status
from fulcrum_components.environment import describe_environment, peak_memory_bytes
from fulcrum_components.memory import compare_sizes, peak_memory
from fulcrum_components.sizes import gzip_bytes


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_gzip_bytes_are_those_of_gzip(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(np.random.default_rng(0).integers(0, 4, size, dtype=np.uint8).tobytes())
    assert gzip_bytes(path) == len(gzip.compress(path.read_bytes(), 6, mtime=0))


def test_a_larger_model_takes_more_memory(tmp_path: Path) -> None:
    small, large = write_mlp(tmp_path / "s.onnx", 64), write_mlp(tmp_path / "l.onnx", 50_000)
    inputs = {batch: {"x": np.zeros((batch, 64), dtype=np.float32)} for batch in (1, 4)}
    found = compare_sizes(large, small, inputs)
    assert found.baseline_bytes == large.stat().st_size
    assert found.candidate_gzip_bytes < found.candidate_bytes
    assert found.baseline_peak_memory_bytes is not None
    assert found.candidate_peak_memory_bytes is not None
    weights = 74 * 50_000 * 4
    saved = found.baseline_peak_memory_bytes - found.candidate_peak_memory_bytes
    assert 0.8 * weights < saved < 5 * weights
    assert "at batch 4" in found.memory_note


def test_memory_that_cannot_be_measured_is_absent_with_the_reason(tmp_path: Path) -> None:
    model = write_mlp(tmp_path / "model.onnx", 8)
    found, note = peak_memory(model, {"z": np.zeros((1, 64), dtype=np.float32)})
    assert found is None
    assert "could not be measured: " in note
    assert "model.onnx" in note


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("memory_probe", {"torch", "onnx"}),
        ("stages.quantize", {"torch"}),
        ("stages.validate", {"torch"}),
    ],
)
def test_what_sees_onnx_files_only_imports_no_torch(module: str, unwanted: set[str]) -> None:
    code = f"import sys, fulcrum_components.{module}; print({unwanted!r} & {{*sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "set()"


def test_the_environment_names_machine_and_versions() -> None:
    found = describe_environment()
    assert found.cpu_model
    assert found.logical_cpus >= 1
    assert found.python == ".".join(map(str, sys.version_info[:3]))
    assert {"numpy", "onnxruntime", "torch"} <= set(found.libraries)
    assert all(re.match(r"\d", version) for version in found.libraries.values())
    assert "smep" not in found.cpu_flags


def test_peak_memory_is_at_least_what_is_held() -> None:
    held = np.ones(4_000_000)
    assert peak_memory_bytes() > held.nbytes


def test_a_field_that_the_kernel_lacks_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert process_status.status_bytes("VmNothing") is None
    monkeypatch.setattr(process_status, "_STATUS", tmp_path / "absent")
    assert process_status.status_bytes("VmHWM") is None
    assert peak_memory_bytes() > 0
