"""Says as JSON what a model file holds: `python -m fulcrum_components.models.describe FILE`.

`fulcrum init` runs this in a separate process, because the command itself has neither torch nor
onnx, and because code beside the weights runs here. An ONNX or `.pt2` file gives `{"inputs": [...],
"outputs": [...], "meaning": ...}`, a file of weights `{"tensors": [...]}`. Where code beside the
weights builds their module, it is tried: `entry_point` and `files` name it, inputs and outputs are
those that work, `doubts` what a person must decide, and `problems` why something is missing. What
is wrong with the file goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from fulcrum_components.models.entry import find_entry
from fulcrum_components.models.loading import load_model
from fulcrum_components.models.probing import probe
from fulcrum_components.models.signature import Signature, TensorSpec
from fulcrum_components.models.weights import SAFETENSORS, STATE_DICTS, read_weights
from fulcrum_components.quiet import quiet
from fulcrum_pipelines.errors import FulcrumError, UserError


def describe(path: Path) -> dict[str, Any]:
    """Return what the model file `path` holds.

    Raises:
        UserError: It is no model, or is damaged.
    """
    if path.suffix in (*SAFETENSORS, *STATE_DICTS):
        tensors = read_weights(path)
        listed = [_tensor(name, list(t.shape), str(t.dtype)) for name, t in tensors.items()]
        with quiet():
            return {"tensors": listed, **_code(path, tensors)}
    with tempfile.TemporaryDirectory() as cache:
        return _signature(load_model(str(path), cache_dir=Path(cache), where="model").signature)


def _code(path: Path, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Return what the code beside the weights `path` says of their module."""
    search = find_entry(path, tensors)
    if search.entry is None:
        return {"problems": list(search.problems)} if search.problems else {}
    code = {"entry_point": search.entry.point, "files": list(search.entry.files)}
    try:
        guess = probe(search.entry.module, path.parent.resolve())
    except UserError as error:
        return {**code, "problems": [str(error)]}
    return {**code, **_signature(guess.signature), "doubts": dict(guess.doubts)}


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
