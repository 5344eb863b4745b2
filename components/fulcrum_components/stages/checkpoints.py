"""Keep a training's newest checkpoint in the store, so that another machine can take it up.

The file that names the others is copied last and read first, so an end at any moment leaves the
former checkpoint or the new one.
"""

from __future__ import annotations

from pathlib import Path

from fulcrum_components.finetuning.checkpoint import RECORD_NAME
from fulcrum_components.stages.context import StageContext
from fulcrum_pipelines.storage.store import checkpoint_path


class StoredCheckpoints:
    """The local directory that training writes checkpoints to, mirrored in the store."""

    def __init__(self, context: StageContext) -> None:
        self._store = context.store
        self._path = checkpoint_path(context.inputs_digest, context.plan.namespace)
        self.directory: Path = context.work_dir / "checkpoints"

    def fetch(self) -> None:
        """Bring what an earlier attempt left, if it left anything, to the local directory."""
        for name in self._store.names(self._path):
            self._store.download(f"{self._path}/{name}", self.directory / name)

    def keep(self) -> None:
        """Copy the newest local checkpoint to the store, and drop the former one there."""
        before = set(self._store.names(self._path))
        local = {path.name for path in self.directory.iterdir()}
        for name in sorted(local - {RECORD_NAME} - before):
            self._store.upload(self.directory / name, f"{self._path}/{name}")
        self._store.upload(self.directory / RECORD_NAME, f"{self._path}/{RECORD_NAME}")
        for name in before - local:
            self._store.delete(f"{self._path}/{name}")

    def drop(self) -> None:
        """Remove the checkpoint; the training is over."""
        self._store.delete(self._path)
