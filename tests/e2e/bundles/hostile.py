"""Writes the hostile bundle, and reads from a log what it got."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import yaml
from e2e.bundles import attempts
from model_files import MANIFEST, write_bundle

MODEL = """
import attempts
import torch

from layers import Net


def build(**targets: str) -> torch.nn.Module:
    attempts.run(targets)
    return Net(3)
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
        api_server: `host:port` at which pods would reach the API server, by commas.
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


def write_hostile_bundle(directory: Path, what: Mapping[str, str]) -> Path:
    """Write a bundle that works as a model, and tries `what` whenever it is built.

    It takes and gives what `model_files.SIGNATURE` says.
    """
    write_bundle(directory, model_py=MODEL)
    shutil.copyfile(attempts.__file__, directory / "attempts.py")
    manifest = {**yaml.safe_load(MANIFEST), "arguments": dict(what)}
    (directory / "fulcrum.yaml").write_text(yaml.safe_dump(manifest))
    return directory


def got(log: str, times: int = 1) -> dict[str, str]:
    """Return what the bundle got, by attempt, from the log of its pod or stages.

    Args:
        log: What they printed.
        times: How often each attempt was made at least.

    Raises:
        ValueError: An attempt was made less often, so the log says nothing.
    """
    found = [
        json.loads(line.partition(attempts.MARK)[2])
        for line in log.splitlines()
        if attempts.MARK + "{" in line
    ]
    counts = Counter(one["name"] for one in found)
    names = attempts.attempts(dict.fromkeys(attempts.TARGETS, ""))
    if missing := [name for name in names if counts[name] < times]:
        message = f"the log has less than {times} attempts of: {', '.join(sorted(missing))}"
        raise ValueError(message)
    return {one["name"]: one["got"] for one in found if one["got"]}
