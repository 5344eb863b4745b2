"""Runs the hostile code under a stage's supervisor, or beside its credentials for comparison.

    python -m security.supervised protected|open DIRECTORY

It is the first process of separate name spaces, as in a pod.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from builders.plans import make_plan
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

from fulcrum_components.stages import component
from fulcrum_components.stages.broker import Broker
from fulcrum_pipelines.contract import digest_of
from fulcrum_pipelines.runner.isolation import UNTOUCHABLE, hide_process

STORE = "s3://bucket/fulcrum"
CONTENT = b"weights"
ARTIFACT = digest_of(CONTENT)
ROUNDS = 2
"""The second finds what the first left."""


def disk(directory: Path, url: str) -> tuple[Any, str]:
    """Return a bucket on disk that stands in for a remote one."""
    filesystem = DirFileSystem(path=str(directory / "s3"), fs=LocalFileSystem(auto_mkdir=True))
    return filesystem, url.partition("://")[2]


def stage(directory: Path) -> None:
    """Supervise the hostile code, as a stage's process does."""
    hide_process()
    with contextlib.closing(
        Broker(make_plan(), "prune", STORE, lambda url: disk(directory, url))
    ) as broker:
        command = [sys.executable, "-m", "security.hostile_worker", str(directory)]
        code, _, _ = component._supervise(command, None, str(directory / "scratch"), broker.fd)
    assert code == 0


def main() -> None:
    """Run the attempts twice, as two stages would."""
    how, directory = sys.argv[1], Path(sys.argv[2])
    if how == "stage":
        stage(directory)
        return
    (directory / "scratch").mkdir()
    protected = how == "protected"
    if protected:
        hide_process()
    module = ["security.supervised", "stage"] if protected else ["security.hostile_worker"]
    environment = {**os.environ, **UNTOUCHABLE} if protected else None
    for _ in range(ROUNDS):
        command = [sys.executable, "-m", *module, str(directory)]
        subprocess.run(command, env=environment, check=True)


if __name__ == "__main__":
    main()
