"""Resolves the names of Services for pods, on this machine's end of the bridge."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from pathlib import Path

from cluster.control_plane import ControlPlane
from cluster.errors import ClusterError

DOMAIN = "cluster.local"
NAME, USER, PORT = "coredns", "system:coredns", 53
START_TIMEOUT_S = 60.0
COREFILE = """\
.:{port} {{
    bind {address}
    errors
    cache 5
    kubernetes {domain} in-addr.arpa {{
        kubeconfig {kubeconfig}
    }}
}}
"""
RULES = [
    {"apiGroups": [""], "resources": ["services", "namespaces"], "verbs": ["list", "watch"]},
    {
        "apiGroups": ["discovery.k8s.io"],
        "resources": ["endpointslices"],
        "verbs": ["list", "watch"],
    },
]


def start(plane: ControlPlane, binary: Path, address: str) -> None:
    """Start it with its own rights, and wait until it answers.

    Raises:
        ClusterError: It ended, or does not answer in time.
    """
    plane.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(_rights()))
    corefile = plane.directory / "Corefile"
    kubeconfig = plane.kubeconfig_for(USER)
    corefile.write_text(
        COREFILE.format(port=PORT, address=address, domain=DOMAIN, kubeconfig=kubeconfig)
    )
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(plane.directory)}
    plane.processes.start(NAME, [str(binary), "-conf", str(corefile)], environment)
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not _listens(address):
        plane.processes.check(NAME)
        if time.monotonic() > deadline_s:
            message = f"{NAME}: no answer in {START_TIMEOUT_S:.0f} s; {plane.processes.log(NAME)}"
            raise ClusterError(message)
        time.sleep(0.1)


def _listens(address: str) -> bool:
    """Return whether it takes connections, which it does once it knows all Services."""
    with contextlib.suppress(OSError), socket.create_connection((address, PORT), timeout=1):
        return True
    return False


def _rights() -> dict[str, object]:
    group, metadata = "rbac.authorization.k8s.io", {"name": USER}
    api = f"{group}/v1"
    role = {"apiVersion": api, "kind": "ClusterRole", "metadata": metadata, "rules": RULES}
    binding = {
        "apiVersion": api,
        "kind": "ClusterRoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": USER},
        "subjects": [{"apiGroup": group, "kind": "User", "name": USER}],
    }
    return {"apiVersion": "v1", "kind": "List", "items": [role, binding]}
