"""Kueue's own manifests, changed only in the address of its controller.

The controller runs beside the control plane and not in a pod. The API server finds it by the name
of the service as usual, which leads to this machine; the controller makes and distributes the
certificates for that name itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cluster.programs import HOST

Object = dict[str, Any]

LEFT_OUT = ("APIService", "Deployment", "Service", "ConfigMap")
"""Kinds left out: those that lead to a pod, and the settings that the pod would mount."""
NAMESPACE, SERVICE = "kueue-system", "kueue-webhook-service"
SETTINGS = "controller_manager_config.yaml"


@dataclass(frozen=True)
class Ports:
    """The controller's ports on the loopback interface."""

    webhook: int
    health: int


@dataclass(frozen=True)
class Manifests:
    """The manifests of one version of Kueue.

    Attributes:
        schemas: The kinds, which must be served before anything else.
        others: Roles, accounts, webhooks.
        settings: Of the controller.
    """

    schemas: list[Object]
    others: list[Object]
    settings: Object


def read_manifests(path: Path, ports: Ports, certificates: Path) -> Manifests:
    """Return the manifests at `path` for a controller on this machine.

    Args:
        path: From `built`.
        ports: Of the controller.
        certificates: Folder with its certificate.
    """
    found: list[Object] = list(yaml.load_all(path.read_text(), yaml.CSafeLoader))
    for client in _clients(found):
        client["service"]["port"] = ports.webhook
    kept = [each for each in found if each["kind"] not in LEFT_OUT]
    is_schema = [each["kind"] == "CustomResourceDefinition" for each in kept]
    return Manifests(
        schemas=[each for each, yes in zip(kept, is_schema, strict=True) if yes],
        others=[*(each for each, yes in zip(kept, is_schema, strict=True) if not yes), _service()],
        settings=_settings(found, ports, certificates),
    )


def _clients(objects: list[Object]) -> Iterator[Object]:
    """Return the parts that give the API server the address of webhooks and conversions."""
    for each in objects:
        yield from (webhook["clientConfig"] for webhook in each.get("webhooks", ()))
        conversion = (each.get("spec") or {}).get("conversion") or {}
        if "webhook" in conversion:
            yield conversion["webhook"]["clientConfig"]


def _service() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE},
        "spec": {"type": "ExternalName", "externalName": HOST},
    }


def _settings(objects: list[Object], ports: Ports, certificates: Path) -> Object:
    (kept,) = (each for each in objects if each["kind"] == "ConfigMap")
    return {
        **yaml.safe_load(kept["data"][SETTINGS]),
        "health": {"healthProbeBindAddress": f"{HOST}:{ports.health}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": HOST, "port": ports.webhook, "certDir": str(certificates)},
        "leaderElection": {"leaderElect": False},
    }
