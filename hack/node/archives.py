"""Writes a one-layer image without a daemon, in the archive form that `docker save` made common."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NON_ROOT = 65532
PROBE_IMAGE = "localhost/fulcrum-probe:dev"


def write_probe_image(archive: Path, probe: Path) -> None:
    """Write the image of the probe, which pauses unless it has other arguments."""
    config = {"User": f"{NON_ROOT}:{NON_ROOT}", "Entrypoint": ["/probe"], "Cmd": ["pause"]}
    write_image(archive, PROBE_IMAGE, {"probe": probe.read_bytes()}, config)


def write_image(
    archive: Path, name: str, files: Mapping[str, bytes], config: Mapping[str, Any]
) -> None:
    """Write an image with `files`, all executable; `config` is what Docker calls by that name.

    The same content gives the same bytes.
    """
    layer = _tar([(path, content, 0o755) for path, content in sorted(files.items())])
    described = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(layer)}"]},
        }
    ).encode()
    config_name, layer_name = f"{_digest(described)}.json", f"{_digest(layer)}/layer.tar"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": [layer_name]}]
    members = [(layer_name, layer), (config_name, described)]
    members.append(("manifest.json", json.dumps(manifest).encode()))
    archive.write_bytes(_tar([(path, content, 0o644) for path, content in members]))


def _tar(members: Sequence[tuple[str, bytes, int]]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, content, mode in members:
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return written.getvalue()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
