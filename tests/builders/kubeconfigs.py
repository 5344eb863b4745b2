"""Kubeconfig files, and login plugins for them."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

VERSION = "client.authentication.k8s.io/v1"
SERVER = "https://host:6443"


def encoded(text: str) -> str:
    """Return base64, as kubeconfigs hold it."""
    return base64.b64encode(text.encode()).decode()


def write_file(path: Path, **sections: Any) -> Path:
    """Write one file; `sections` are `current` and, by name, contexts, clusters and users."""
    content: dict[str, Any] = {"apiVersion": "v1", "kind": "Config"}
    if "current" in sections:
        content["current-context"] = sections.pop("current")
    for section, entries in sections.items():
        inner = section.removesuffix("s")
        content[section] = [{"name": name, inner: entry} for name, entry in entries.items()]
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(yaml.safe_dump(content))
    return path


def write_kubeconfig(directory: Path, user: Any, cluster: Mapping[str, Any] | None = None) -> Path:
    """Write a kubeconfig with two contexts, and files beside it."""
    for name in ("ca.pem", "cert.pem", "key.pem", "token"):
        (directory / name).write_text(f"{name} of file\n")
    return write_file(
        directory / "config",
        current="main",
        contexts={
            "main": {"cluster": "c", "user": "u"},
            "other": {"cluster": "c", "user": "u", "namespace": "elsewhere"},
        },
        clusters={"c": {"server": f"{SERVER}/", **(cluster or {})}},
        users={"u": user},
    )


def write_plugin(path: Path, code: str) -> Path:
    """Write a login plugin: a Python script with `info`, its input, and `answer`.

    `answer(**status)` prints an ExecCredential in the version that was asked for.
    """
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "info = json.loads(os.environ['KUBERNETES_EXEC_INFO'])\n"
        "def answer(version=info['apiVersion'], kind='ExecCredential', **status):\n"
        "    print(json.dumps({'apiVersion': version, 'kind': kind, 'status': status}))\n"
        f"{code}\n"
    )
    path.chmod(0o755)
    return path


def exec_user(command: Path | str, **fields: Any) -> dict[str, Any]:
    """Return a user who logs in with a plugin."""
    return {"exec": {"apiVersion": VERSION, "command": str(command), **fields}}


def web_token(**claims: Any) -> str:
    """Return an unsigned JSON Web Token."""
    parts = ({"alg": "RS256"}, claims)
    texts = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts)
    return ".".join([*(text.rstrip("=") for text in texts), "c2lnbmF0dXJl"])
