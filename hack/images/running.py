"""Runs a command in an image as a restricted pod does: not root, and only `/tmp` can be written."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SCRIPT = """
root=$1; user=$2; shift 2
mount --bind "$root" "$root" && mount -o remount,bind,ro "$root"
mount -t tmpfs tmpfs "$root/tmp" && mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
exec chroot --userspec="$user" "$root" /usr/bin/env -i "$@"
"""


def run(
    root: Path, configuration: dict[str, Any], command: Sequence[str]
) -> subprocess.CompletedProcess[str]:
    """Run `command` under `root` with the image's user and environment, and without network."""
    settings = configuration["config"]
    isolated = ["unshare", "--mount", "--net", "--pid", "--fork", "--propagation=private"]
    isolated += ["sh", "-ec", SCRIPT, "sh", str(root), settings["User"], *settings["Env"]]
    return subprocess.run(
        [*isolated, *command], capture_output=True, text=True, timeout=300, check=False
    )
