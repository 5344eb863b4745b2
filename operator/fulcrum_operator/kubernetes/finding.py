"""Finds the credentials of this process: those of its pod, or a kubeconfig."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from fulcrum_operator.kubernetes.credentials import Credentials
from fulcrum_pipelines.errors import UserError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PACKAGE = "kubernetes"


def load_credentials(
    kubeconfig: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    account: Path = SERVICE_ACCOUNT,
) -> Credentials:
    """Return the credentials that kubectl would use here.

    In this order: the file given, the files in KUBECONFIG, the pod's service account, the file in
    the home directory.

    Args:
        kubeconfig: A file.
        environment: Has KUBECONFIG and the address of the cluster.
        account: Directory of the pod's service account.

    Raises:
        UserError: They are missing, or of an unsupported kind.
    """
    named = [part for part in environment.get("KUBECONFIG", "").split(os.pathsep) if part]
    if kubeconfig is not None:
        return _from_kubeconfig(kubeconfig)
    if named:
        return _from_kubeconfig(*map(Path, named))
    if "KUBERNETES_SERVICE_HOST" in environment and (account / "token").exists():
        return in_cluster(environment, account)
    if (home := Path.home() / ".kube" / "config").exists():
        return _from_kubeconfig(home)
    message = "no cluster is configured: set KUBECONFIG, or name a file with --kubeconfig"
    raise UserError(message)


def in_cluster(environment: Mapping[str, str], account: Path = SERVICE_ACCOUNT) -> Credentials:
    """Return the credentials of the pod that this process runs in."""
    host = environment["KUBERNETES_SERVICE_HOST"]
    port = environment.get("KUBERNETES_SERVICE_PORT", "443")
    return Credentials(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        ca_pem=_read(account / "ca.crt"),
        token_path=account / "token",
        namespace=_read(account / "namespace").strip(),
        origin=str(account),
    )


def _from_kubeconfig(*paths: Path) -> Credentials:
    """Import the reader of kubeconfigs late: the package it uses takes tens of megabytes.

    Raises:
        UserError: It is not installed, as in the operator's image.
    """
    try:
        from fulcrum_operator.kubernetes.kubeconfig import from_kubeconfig
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != PACKAGE:
            raise
        message = (
            f"reading a kubeconfig needs the package {PACKAGE}: "
            "pip install 'fulcrum-operator[kubeconfig]'"
        )
        raise UserError(message, where=", ".join(map(str, paths))) from error
    return from_kubeconfig(*paths)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or error}", where=str(path)) from error
