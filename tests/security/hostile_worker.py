"""Tries everything as a model's code in a worker would: `python hostile_worker.py DIRECTORY`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import fsspec
from e2e.bundles import attempts, hostile

from fulcrum_components.stages.broker import BROKER
from fulcrum_components.stages.brokered import install
from fulcrum_pipelines.storage.store import object_path
from security.supervised import ARTIFACT, STORE, disk


def main() -> None:
    """Reach the store through the broker, or without one by credentials."""
    directory = Path(sys.argv[1])
    if BROKER in os.environ:
        install()
    else:
        fsspec.core.url_to_fs = lambda url: disk(directory, url)
    what = hostile.targets(
        STORE,
        other_run="runs/other-1/evidence.json",
        artifact=object_path(ARTIFACT),
        api_server="127.0.0.1:6443",
        other_pod="127.0.0.1:80",
        modules=str(directory / "modules"),
        writable=f"{directory / 'scratch'}:{directory / 'home'}",
    )
    attempts.run(what)


if __name__ == "__main__":
    main()
