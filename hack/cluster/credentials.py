"""Identities in a control plane: certificates, and a kubeconfig for any user."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from cluster.certificates import (
    CLIENT,
    SERVER,
    Authority,
    Pair,
    write_private,
    write_token_keys,
)
from cluster.programs import CONTROLLER_MANAGER, SCHEDULER, Files, Reach

KUBELETS_CLIENT = "kube-apiserver-kubelet-client"


def prepare(files: Files, server: str, reach: Reach) -> None:
    """Make what the programs and the administrator need; authorities and keys stay, once made."""
    both = (SERVER, CLIENT)
    Authority(files.pki, "etcd-ca").issue("etcd", "etcd", usages=both)
    authority = Authority(files.pki, "ca")
    authority.issue("serving", "kube-apiserver", usages=both, addresses=reach.addresses)
    authority.issue("kubelet-client", KUBELETS_CLIENT)
    if not (files.pki / "tokens.key").exists():
        write_token_keys(files.pki / "tokens.pub", files.pki / "tokens.key")
    admin = authority.issue("admin", "admin", ["system:masters"])
    _write(files, server, "admin", _certificate(admin))
    for name in (CONTROLLER_MANAGER, SCHEDULER):
        _write(files, server, name, _certificate(authority.issue(name, f"system:{name}")))


def for_user(files: Files, server: str, user: str, groups: Sequence[str]) -> Path:
    """Return the kubeconfig of a user with a certificate."""
    name = _file_name(user, groups)
    pair = Authority(files.pki, "ca").issue(name, user, groups)
    return _write(files, server, name, _certificate(pair))


def for_token(files: Files, server: str, name: str, token: str) -> Path:
    """Return a kubeconfig with a bearer token, the file of which is called like `name`."""
    return _write(files, server, _file_name(name, ["token"]), {"token": token})


def _write(files: Files, server: str, name: str, user: Mapping[str, str]) -> Path:
    authority = _encoded(files.pair("ca").certificate)
    cluster = {"server": server, "certificate-authority-data": authority}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "fulcrum", "cluster": cluster}],
        "users": [{"name": name, "user": dict(user)}],
        "contexts": [{"name": "fulcrum", "context": {"cluster": "fulcrum", "user": name}}],
        "current-context": "fulcrum",
    }
    path = files.kubeconfig(name)
    path.parent.mkdir(exist_ok=True, mode=0o700)
    write_private(path, yaml.safe_dump(content).encode())
    return path


def _certificate(pair: Pair) -> dict[str, str]:
    return {
        "client-certificate-data": _encoded(pair.certificate),
        "client-key-data": _encoded(pair.key),
    }


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _file_name(user: str, groups: Sequence[str]) -> str:
    """Return a name for files; users who look alike in it differ in the digest."""
    digest = hashlib.sha256(json.dumps([user, *groups]).encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9.-]', '_', user)}-{digest}"
