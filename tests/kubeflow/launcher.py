"""Stand-in for Kubeflow's launcher, which stores the artifacts after a stage's process has ended.

A server of version 2.17 was seen to refuse every artifact whose URI is outside the root of its run,
and then to end the pod with exit code 1, even if the stage had succeeded. A path without a file is
passed over.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp import dsl

from fulcrum_components.stages.ui import fill_artifacts
from fulcrum_pipelines.evidence import StageEvidence
from fulcrum_pipelines.storage.store import Store

BUCKET = "minio://mlpipeline/"


class LauncherError(Exception):
    """A pod failed after its stages.

    Attributes:
        task: Whose pod.
        words: What the launcher says.
    """

    def __init__(self, task: str, words: str) -> None:
        self.task = task
        self.words = words
        super().__init__(f"{task}: {words}")


@dataclass(frozen=True)
class Stored:
    """An artifact in Kubeflow's bucket.

    Attributes:
        uri: Its address.
        content: Of its file; None if there is no file.
        metadata: Beside it.
    """

    uri: str
    content: bytes | None
    metadata: dict[str, Any]


def launch(
    task: str, records: Sequence[StageEvidence], store: Store, run_id: str
) -> dict[str, Stored]:
    """Let the stages of a task fill its artifacts, and store them.

    Returns:
        Them by their names.

    Raises:
        LauncherError: One is not where it has to be.
    """
    root = f"{BUCKET}v2/artifacts/fulcrum/{run_id}/"
    kinds = {
        "model": dsl.Model,
        "metrics": dsl.Metrics,
        "confusion": dsl.ClassificationMetrics,
        "summary": dsl.HTML,
    }
    with tempfile.TemporaryDirectory() as folder:
        made = {name: kind(name, f"{root}{task}/{name}") for name, kind in kinds.items()}
        for name, artifact in made.items():
            artifact.set_path(f"{folder}/{task}/{name}")
        fill_artifacts(records, store, **made)
        return {name: _stored(task, each, root) for name, each in made.items()}


def _stored(task: str, artifact: Any, root: str) -> Stored:
    if not artifact.uri.startswith(root):
        words = f'URI "{artifact.uri}" does not have expected bucket prefix "{root}"'
        raise LauncherError(task, f"failed to upload output artifact {artifact.name}: {words}")
    path = Path(artifact.path)
    return Stored(artifact.uri, path.read_bytes() if path.exists() else None, artifact.metadata)
