"""Limit what the operator's process loads before it does anything."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "onnxruntime", "onnx", "numpy", "scipy", "pandas", "kfp")


def test_operator_loads_none_of_what_a_pipeline_needs() -> None:
    loaded = f"sorted(set({HEAVY!r}) & sys.modules.keys())"
    code = f"import sys, fulcrum_operator.runtime.app; print({loaded})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
