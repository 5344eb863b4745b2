"""Runs this machine's own tools, and says which are missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster.errors import ClusterError

TIMEOUT_S = 600.0  # importing an image of 5 GB on a busy machine
TOOLS = ("containerd", "ctr", "runc", "nft", "ip", "unshare", "nsenter", "mount")
CNI_PLUGINS = Path("/usr/lib/cni")
MEMORY_GROUPS = Path("/sys/fs/cgroup/memory")


def missing() -> list[str]:
    """Return what keeps this machine from having nodes; nothing if it can."""
    if not sys.platform.startswith("linux"):
        return [f"Linux, and this is {sys.platform}"]
    wanted = [name for name in TOOLS if shutil.which(name) is None]
    wanted += [] if (CNI_PLUGINS / "bridge").exists() else [f"CNI plugins in {CNI_PLUGINS}"]
    wanted += [] if MEMORY_GROUPS.is_dir() else [f"cgroup v1, which is at {MEMORY_GROUPS}"]
    return ([] if os.geteuid() == 0 else ["root"]) + wanted


def run(command: Sequence[str], timeout_s: float = TIMEOUT_S) -> str:
    """Return what `command` printed.

    Raises:
        ClusterError: It failed, with what it complained of.
    """
    try:
        done = subprocess.run(
            list(command), capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        message = f"{' '.join(command)}: {error}"
        raise ClusterError(message) from error
    if done.returncode:
        message = f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-2000:]}"
        raise ClusterError(message)
    return done.stdout


def path_of(tool: str) -> str:
    """Return where `tool` is.

    Raises:
        ClusterError: It is nowhere.
    """
    found = shutil.which(tool)
    if found is None:
        message = f"{tool} is not on PATH; `make e2e` installs what nodes need"
        raise ClusterError(message)
    return found
