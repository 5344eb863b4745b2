"""Says as JSON what a model file holds: `python -m fulcrum_components.models.describe FILE`.

`fulcrum init` asks this in a process of its own, because the command itself has neither torch nor
onnx. An ONNX or `.pt2` file gives `{"inputs": [...], "outputs": [...], "meaning": ...}`, a file of
weights `{"tensors": [...]}`; what is wrong with the file goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from fulcrum_components.models.loading import load_model
from fulcrum_components.models.signature import Signature, TensorSpec
from fulcrum_components.models.weights import SAFETENSORS, STATE_DICTS, read_weights
from fulcrum_pipelines.errors import FulcrumError


def describe(path: Path) -> dict[str, Any]:
    """Return what the model file `path` holds.

    Raises:
        UserError: It is no model, or is damaged.
    """
    if path.suffix in (*SAFETENSORS, *STATE_DICTS):
        tensors = read_weights(path)
        return {
            "tensors": [_tensor(name, list(t.shape), str(t.dtype)) for name, t in tensors.items()]
        }
    with tempfile.TemporaryDirectory() as cache:
        return _signature(load_model(str(path), cache_dir=Path(cache), where="model").signature)


def _signature(signature: Signature) -> dict[str, Any]:
    def listed(specs: tuple[TensorSpec, ...]) -> list[dict[str, Any]]:
        return [_tensor(spec.name, list(spec.shape), spec.dtype) for spec in specs]

    return {
        "inputs": listed(signature.inputs),
        "outputs": listed(signature.outputs),
        "meaning": signature.meaning,
    }


def _tensor(name: str, shape: list[int | str], dtype: str) -> dict[str, Any]:
    return {"name": name, "shape": shape, "dtype": dtype.removeprefix("torch.")}


def main() -> int:
    """Print the description; the exit code is 2 where the file is wrong."""
    parser = argparse.ArgumentParser(description="Say what a model file holds.")
    parser.add_argument("file", type=Path)
    try:
        print(json.dumps(describe(parser.parse_args().file)))
    except FulcrumError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
