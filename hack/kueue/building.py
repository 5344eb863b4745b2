"""Builds Kueue's controller and what a cluster needs of it, once a machine and user."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster.building import Module, build, say_aside
from cluster.errors import ClusterError
from cluster.toolchain import go_environment, toolchain

NAME = "kueue"
MAIN = "sigs.k8s.io/kueue"
MODULE = Module(Path(__file__).parent, MAIN, {NAME: f"{MAIN}/cmd/{NAME}"})
CONFIG = "config/default"


@dataclass(frozen=True)
class Built:
    """The files that Kueue runs from.

    Attributes:
        controller: The command.
        manifests: Schemas, roles, webhooks and settings, as the module has them.
    """

    controller: Path
    manifests: Path


def built(kubectl: Path, say: Callable[[str], None] = say_aside) -> Built:
    """Return Kueue, built now if it is not cached; `kubectl` puts its manifests together."""
    controller = build(MODULE, [NAME], say)[NAME]
    manifests = _manifests_beside(controller)
    if not manifests.exists():
        partial = manifests.with_suffix(".partial")
        partial.write_text(_run([str(kubectl), "kustomize", str(_source() / CONFIG)]))
        partial.rename(manifests)
    return Built(controller, manifests)


def _manifests_beside(controller: Path) -> Path:
    return controller.with_name("manifests.yaml")


def _source() -> Path:
    """Return the folder with the module's own files; downloaded now if it is gone."""
    go = str(toolchain(MODULE.go_version).installed())
    _run([go, "mod", "download", MAIN])
    return Path(_run([go, "list", "-m", "-f", "{{.Dir}}", MAIN]).strip())


def _run(command: list[str]) -> str:
    done = subprocess.run(
        command,
        cwd=MODULE.directory,
        env=go_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        message = f"{' '.join(command)}: {done.stderr[-2000:]}"
        raise ClusterError(message)
    return done.stdout
