"""The probe's image is what `docker load` and containerd read, and is the same every time."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

from node.archives import PROBE_IMAGE, write_probe_image


def read(archive: Path) -> dict[str, bytes]:
    """Return the archive's files by name."""
    found = {}
    with tarfile.open(archive) as opened:
        for name in opened.getnames():
            file = opened.extractfile(name)
            assert file
            found[name] = file.read()
    return found


def test_config_and_layer_are_found_from_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "probe").write_bytes(b"program")
    write_probe_image(tmp_path / "image.tar", tmp_path / "probe")
    files = read(tmp_path / "image.tar")
    [described] = json.loads(files["manifest.json"])
    assert described["RepoTags"] == [PROBE_IMAGE]
    config, [layer] = json.loads(files[described["Config"]]), described["Layers"]
    digest = hashlib.sha256(files[layer]).hexdigest()
    assert config["rootfs"]["diff_ids"] == [f"sha256:{digest}"]
    assert config["config"]["User"] == "65532:65532"
    with tarfile.open(fileobj=io.BytesIO(files[layer])) as unpacked:
        member = unpacked.getmember("probe")
        assert (member.mode, member.size) == (0o755, len(b"program"))


def test_same_program_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "probe").write_bytes(b"program")
    for name in ("one.tar", "other.tar"):
        write_probe_image(tmp_path / name, tmp_path / "probe")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "other.tar").read_bytes()
