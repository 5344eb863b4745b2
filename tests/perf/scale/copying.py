"""Multiplies a job that has ended, past the API server.

Ten thousand creations and ten thousand statuses through it would take longer than the measurement
itself, and none of that is the operator's work. etcd notifies the API server's cache of new keys,
so all clients see the copies at once.
"""

from __future__ import annotations

import base64
import json
import ssl
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.control_plane import ControlPlane
from perf.scale.jobs import NAMESPACE

FOLDER = f"/registry/fulcrum.dev/compressionjobs/{NAMESPACE}"
AT_A_TIME = 25
"""A request to etcd may have 1.5 MB."""


@dataclass(frozen=True)
class Copier:
    """Writes into the etcd of a control plane.

    Attributes:
        cluster: Whose.
    """

    cluster: ControlPlane

    def multiply(self, model: str, names: Sequence[str]) -> None:
        """Put copies of the job `model` under other names, with new identities."""
        found = self._call("range", {"key": _code(f"{FOLDER}/{model}")})["kvs"][0]["value"]
        text = base64.b64decode(found).decode()
        uid = json.loads(text)["metadata"]["uid"]
        for start in range(0, len(names), AT_A_TIME):
            puts = list(_puts(text, model, uid, names[start : start + AT_A_TIME]))
            self._call("txn", {"success": puts})

    def _call(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        keys = self.cluster.directory / "pki"
        context = ssl.create_default_context(cafile=str(keys / "etcd-ca.crt"))
        context.load_cert_chain(keys / "etcd.crt", keys / "etcd.key")
        url = f"https://127.0.0.1:{self.cluster.ports.etcd}/v3/kv/{method}"
        request = urllib.request.Request(url, json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=60, context=context) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found


def _puts(text: str, model: str, uid: str, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    for name in names:
        own = str(uuid.uuid4())
        value = text.replace(model, name).replace(uid, own).replace(uid[:12], own[:12])
        yield {"requestPut": {"key": _code(f"{FOLDER}/{name}"), "value": _code(value)}}


def _code(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
