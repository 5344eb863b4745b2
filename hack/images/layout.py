"""Reads an OCI image layout: a folder of blobs by digest, with an index."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Blob:
    """A file of the layout."""

    path: Path
    size: int

    @property
    def name(self) -> str:
        """Its name in the layout and in an archive of it."""
        return f"blobs/sha256/{self.path.name}"

    @property
    def is_hollow(self) -> bool:
        """Whether its content was given up, so that the file occupies no space."""
        return self.size > 0 and self.path.stat().st_blocks == 0

    def hollow(self) -> None:
        """Give up the content and keep name and size, by which the layer counts as present."""
        with self.path.open("r+b") as file:
            file.truncate(0)
            file.truncate(self.size)


@dataclass(frozen=True)
class Layout:
    """The one image of a layout, with layers from the lowest to the highest."""

    folder: Path
    manifest: Blob
    config: Blob
    layers: tuple[Blob, ...]

    @classmethod
    def read(cls, folder: Path) -> Layout:
        """Return what the index of `folder` names."""
        (entry,) = json.loads((folder / "index.json").read_text())["manifests"]
        manifest = _blob(folder, entry)
        content = json.loads(manifest.path.read_text())
        layers = dict.fromkeys(_blob(folder, layer) for layer in content["layers"])
        return cls(folder, manifest, _blob(folder, content["config"]), tuple(layers))

    def index(self, name: str) -> dict[str, Any]:
        """Return an index under which containerd and podman know the image as `name`."""
        return {
            "schemaVersion": 2,
            "manifests": [
                {
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": f"sha256:{self.manifest.path.name}",
                    "size": self.manifest.size,
                    "annotations": {
                        "io.containerd.image.name": name,
                        "org.opencontainers.image.ref.name": name,
                    },
                }
            ],
        }

    def docker_manifest(self, name: str) -> list[dict[str, Any]]:
        """Return the list under which `docker load` finds the same blobs."""
        ids = json.loads(self.config.path.read_text())["rootfs"]["diff_ids"]
        layers = [f"blobs/sha256/{layer.removeprefix('sha256:')}" for layer in ids]
        return [{"Config": self.config.name, "RepoTags": [name], "Layers": layers}]

    def forget_others(self) -> None:
        """Remove blobs of earlier images."""
        kept = {blob.path for blob in (self.manifest, self.config, *self.layers)}
        for path in (self.folder / "blobs" / "sha256").iterdir():
            if path not in kept:
                path.unlink()


def _blob(folder: Path, entry: dict[str, Any]) -> Blob:
    path = folder / "blobs" / "sha256" / entry["digest"].removeprefix("sha256:")
    return Blob(path, entry["size"])
