"""Models and data for jobs on real nodes: small ones, and ones that misbehave on request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model_files import LAYERS_CODE, MODEL_CODE, write_bundle

DATA_CODE = """
import time

import numpy as np


def load(split, wait="0", fill_mb="0", act=""):
    if act == "raise":
        raise KeyError("no such sensor")
    for number in range(int(fill_mb)):
        with open(f"/scratch/filler-{number}", "wb") as file:
            file.write(b"x" * 2**20)
    time.sleep(float(wait))
    x = np.random.default_rng(len(split)).normal(size=(200, 4)).astype(np.float32)
    return {"x": x, "y": np.argmax(x[:, :3], axis=1)}
"""
MISBEHAVIOUR = {
    "raises": "raise RuntimeError('a bundle that is wrong on purpose')",
    "hangs": "import time; time.sleep(3600)",
    "exits": "import os; os._exit(0)",
    "forges": (
        "import sys\n"
        "    sys.modules['__main__'].record_bytes = lambda evidence: b'[1, 2'  # of the worker"
    ),
}
"""What `build` of a bundle does before it returns a model, by the bundle's name."""


def put_sources(client: Any, directory: Path, bucket: str, prefix: str) -> None:
    """Write all of them into a bucket, through an S3 client."""
    bundles = {"small": MODEL_CODE} | {
        name: misbehaving(code) for name, code in MISBEHAVIOUR.items()
    }
    for name, code in bundles.items():
        bundle = write_bundle(directory / name, model_py=code, layers_py=LAYERS_CODE)
        for file in bundle.iterdir():
            key = f"{prefix}/{name}/model/{file.name}"
            client.put_object(Bucket=bucket, Key=key, Body=file.read_bytes())
    client.put_object(Bucket=bucket, Key=f"{prefix}/small/data.py", Body=DATA_CODE.encode())


def misbehaving(code: str) -> str:
    """Return a bundle's module whose `build` does `code` first."""
    head, definition, body = MODEL_CODE.partition(
        "def build(classes: int = 3) -> torch.nn.Module:\n"
    )
    assert definition
    return f"{head}{definition}    {code}\n{body}"
