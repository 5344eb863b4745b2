"""Writes the hostile bundle, and reads from a log what it got."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import yaml
from e2e.bundles import attempts
from safetensors.numpy import save_file

FEATURES, CLASSES = 16, 4
MODEL = f"""
import torch

import attempts


def build(**targets: str) -> torch.nn.Module:
    attempts.run(targets)
    return torch.nn.Sequential(
        torch.nn.Linear({FEATURES}, {2 * CLASSES}),
        torch.nn.ReLU(),
        torch.nn.Linear({2 * CLASSES}, {CLASSES}),
    )
"""
METADATA = "169.254.169.254:80"


def targets(
    store: str,
    *,
    other_run: str,
    artifact: str,
    api_server: str,
    other_pod: str,
    metadata: str = METADATA,
    modules: str = "/opt/fulcrum",
    writable: str = "/scratch:/tmp",
) -> dict[str, str]:
    """Return what the bundle is to try.

    Args:
        store: URL of the store, as in the pod's environment.
        other_run: Path in it of another run's evidence, which is there.
        artifact: Path in it of an artifact that is there.
        api_server: `host:port` at which pods would reach the API server.
        other_pod: `host:port` of a pod that listens.
        metadata: `host:port` of the cloud's metadata.
        modules: Directory that Python modules are imported from.
        writable: Directories that all stages of a run can write to, with colons between them.
    """
    return {
        "store": store,
        "other_run": other_run,
        "artifact": artifact,
        "api_server": api_server,
        "other_pod": other_pod,
        "metadata": metadata,
        "modules": modules,
        "writable": writable,
    }


def write_hostile_bundle(directory: Path, what: Mapping[str, str], seed: int = 0) -> Path:
    """Write a bundle that works as a model, and tries `what` whenever it is built."""
    directory.mkdir(parents=True)
    (directory / "model.py").write_text(MODEL)
    shutil.copyfile(attempts.__file__, directory / "attempts.py")
    generator = np.random.default_rng(seed)
    shapes = {
        "0.weight": (2 * CLASSES, FEATURES),
        "0.bias": (2 * CLASSES,),
        "2.weight": (CLASSES, 2 * CLASSES),
        "2.bias": (CLASSES,),
    }
    tensors = {name: generator.normal(size=shape).astype("f4") for name, shape in shapes.items()}
    save_file(tensors, directory / "model.safetensors")
    manifest = {
        "entryPoint": "model.py:build",
        "arguments": dict(what),
        "weights": "model.safetensors",
        "inputs": [{"name": "x", "shape": ["batch", FEATURES]}],
        "outputs": [{"name": "logits", "shape": ["batch", CLASSES]}],
        "meaning": "logits",
    }
    (directory / "fulcrum.yaml").write_text(yaml.safe_dump(manifest))
    return directory


def got(log: str) -> dict[str, str]:
    """Return what the bundle got, by attempt, from the log of its pod or stage.

    Raises:
        ValueError: Not every attempt is told of, so the log says nothing.
    """
    told = [
        json.loads(line.partition(attempts.MARK)[2])
        for line in log.splitlines()
        if attempts.MARK + "{" in line
    ]
    names = set(attempts.attempts(dict.fromkeys(attempts.TARGETS, "")))
    if missing := names - {one["name"] for one in told}:
        message = f"the log tells nothing of: {', '.join(sorted(missing))}"
        raise ValueError(message)
    return {one["name"]: one["got"] for one in told if one["got"]}
