"""Runs the operator beside the control plane, with no more rights than it has in a real cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from cluster.control_plane import ControlPlane
from cluster.installing import ROOT

OPERATOR = "operator"
NAMESPACE, SERVICE_ACCOUNT = "fulcrum-system", "fulcrum-operator"
TOKEN_VALID_FOR_S = 30 * 86_400  # never renewed; a cluster for trying out is gone by then
GRACE_S = 10.0  # it ends its runs and gives its lease back
COMMAND = (str(Path(sys.executable).with_name("fulcrum")), "operator")


def start_operator(cluster: ControlPlane, command: Sequence[str] = COMMAND) -> None:
    """Start the operator, or the present code in its place, as its service account.

    It is stopped with the control plane. Its store and its work are beside the cluster's state, so
    that they outlive the cluster.
    """
    kubeconfig = cluster.token_kubeconfig(NAMESPACE, SERVICE_ACCOUNT, TOKEN_VALID_FOR_S)
    settings = {
        "namespace": NAMESPACE,
        "kubeconfig": str(kubeconfig),
        "store": str(cluster.directory.parent / "store"),
        "source_root": str(ROOT),
        "log_format": "text",
        "http": {"port": 0},  # a free one, which the log names
        "process": {"work_root": str(cluster.directory.parent / "work")},
    }
    config = cluster.directory / "operator.yaml"
    config.write_text(yaml.safe_dump(settings))
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    cluster.processes.stop([OPERATOR], GRACE_S)
    cluster.processes.start(OPERATOR, [*command, "--config", str(config)], environment)
