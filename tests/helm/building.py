"""Builds helm from its pinned Go module, once a machine and user, beside the control plane."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cluster.building import Module, build, say_aside
from cluster.cache import cache_directory
from cluster.toolchain import toolchain

HERE = Path(__file__).parent


def module() -> Module:
    """Return the module of helm."""
    main = "helm.sh/helm/v4"
    return Module(HERE / "module", main, {"helm": f"{main}/cmd/helm"})


def helm_binary(say: Callable[[str], None] = say_aside) -> Path:
    """Return the command helm, built now if it is not cached."""
    return build(module(), ["helm"], say)["helm"]


def cached() -> Path | None:
    """Return the command helm if it was built already."""
    made = module()
    path = cache_directory() / made.digest(toolchain(made.go_version)) / "helm"
    return path if path.exists() else None
