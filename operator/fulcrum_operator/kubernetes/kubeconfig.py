"""Reads credentials from where Kubernetes keeps them: a kubeconfig, or files in a pod."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fulcrum_operator.kubernetes.credentials import Credentials
from fulcrum_pipelines.errors import UserError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
UNSUPPORTED = ("exec", "auth-provider")
ACCEPTED = "accepted are a client certificate, token, tokenFile"


def load_credentials(
    kubeconfig: Path | None = None,
    context: str = "",
    environment: Mapping[str, str] = os.environ,
    account: Path = SERVICE_ACCOUNT,
) -> Credentials:
    """Return the credentials that kubectl would use here.

    In this order: the file given, the first file in KUBECONFIG, the pod's service account, the
    file in the home directory.

    Args:
        kubeconfig: A file.
        context: Its context; the current one by default.
        environment: Where KUBECONFIG and the address of the cluster are looked up.
        account: Directory of the pod's service account.

    Raises:
        UserError: There are none, or they are of a kind that is not supported.
    """
    named = [part for part in environment.get("KUBECONFIG", "").split(os.pathsep) if part]
    if kubeconfig is None and named:
        kubeconfig = Path(named[0])
    if kubeconfig is not None:
        return from_kubeconfig(kubeconfig, context)
    if "KUBERNETES_SERVICE_HOST" in environment and (account / "token").exists():
        return in_cluster(environment, account)
    if (home := Path.home() / ".kube" / "config").exists():
        return from_kubeconfig(home, context)
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
    )


def from_kubeconfig(path: Path, context: str = "") -> Credentials:
    """Return the credentials of one context of the file `path`.

    Raises:
        UserError: The file is missing or wrong; the message has the field's path.
    """
    try:
        content = yaml.safe_load(_read(path))
    except yaml.YAMLError as error:
        raise UserError(f"is not YAML: {error}", where=str(path)) from error
    if not isinstance(content, dict):
        raise UserError("is not a kubeconfig: it must be a mapping", where=str(path))
    if not (context := context or str(content.get("current-context") or "")):
        raise UserError("current-context is not set; name one with --context", where=str(path))
    chosen = _entry(path, content, "contexts", context)
    cluster = _entry(path, content, "clusters", str(chosen.get("cluster", "")))
    user_name = str(chosen.get("user") or "")
    user = _entry(path, content, "users", user_name) if user_name else {}
    _refuse_plugins(path, user_name, user)
    if not cluster.get("server"):
        raise UserError(
            f"clusters[{chosen.get('cluster')}].cluster.server is missing", where=str(path)
        )
    return Credentials(
        server=str(cluster["server"]).rstrip("/"),
        ca_pem=_pem(path, cluster, "certificate-authority"),
        insecure=cluster.get("insecure-skip-tls-verify") is True,
        certificate_pem=_pem(path, user, "client-certificate"),
        key_pem=_pem(path, user, "client-key"),
        token=str(user.get("token") or ""),
        token_path=path.parent / user["tokenFile"] if user.get("tokenFile") else None,
        proxy_url=str(cluster.get("proxy-url") or ""),
        tls_server_name=str(cluster.get("tls-server-name") or ""),
        namespace=str(chosen.get("namespace") or "default"),
    )


def _refuse_plugins(path: Path, name: str, user: Mapping[str, Any]) -> None:
    for field in UNSUPPORTED:
        if field in user:
            message = f"users[{name}].user.{field}: login plugins are not supported; {ACCEPTED}"
            raise UserError(message, where=str(path))
    if "username" in user or "password" in user:
        message = f"users[{name}].user.username: passwords are not supported; {ACCEPTED}"
        raise UserError(message, where=str(path))


def _entry(path: Path, content: Mapping[str, Any], section: str, name: str) -> dict[str, Any]:
    """Return what the list `section` has under `name`; its inner key is the singular."""
    entries = {str(each.get("name")): each for each in content.get(section) or ()}
    if name not in entries:
        known = ", ".join(sorted(entries)) or "none"
        raise UserError(f"{section} has no {name!r}; it has: {known}", where=str(path))
    return dict(entries[name].get(section.removesuffix("s")) or {})


def _pem(path: Path, entry: Mapping[str, Any], field: str) -> str:
    """Return a PEM from its base64 in the file, or from the file that is named relative to it."""
    if encoded := entry.get(f"{field}-data"):
        try:
            return base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise UserError(f"{field}-data is not base64 of a PEM", where=str(path)) from error
    return _read(path.parent / entry[field]) if entry.get(field) else ""


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or error}", where=str(path)) from error
