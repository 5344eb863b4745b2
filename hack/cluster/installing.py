"""Prepare a fresh control plane for Fulcrum."""

from __future__ import annotations

from pathlib import Path

from cluster.control_plane import ControlPlane

ROOT = Path(__file__).resolve().parents[2]
ESTABLISHED_WITHIN = "60s"


def install(cluster: ControlPlane) -> None:
    """Apply the schemas, wait until they are served, then what the operator needs."""
    cluster.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    cluster.kubectl(
        *("wait", "--for=condition=Established", "customresourcedefinitions", "--all"),
        f"--timeout={ESTABLISHED_WITHIN}",
    )
    if (ROOT / "operator" / "deploy").is_dir():
        cluster.kubectl("apply", "--server-side", "-f", str(ROOT / "operator" / "deploy"))
