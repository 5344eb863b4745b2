"""Runs helm, with nothing of the user's own configuration."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cluster.installing import ROOT

CHART = ROOT / "charts" / "fulcrum"
RELEASE, NAMESPACE = "fulcrum", "fulcrum-system"
TIMEOUT_S = 120.0

Object = dict[str, Any]


class HelmError(Exception):
    """A helm command failed; the message is what it said."""


@dataclass(frozen=True)
class Helm:
    """helm with a separate home; without a kubeconfig it only renders."""

    binary: Path
    home: Path
    kubeconfig: Path | None = None

    def __call__(self, *words: str, values: Mapping[str, Any] | None = None) -> str:
        """Return what the command printed; `values` are given to it as a file.

        Raises:
            HelmError: It failed.
        """
        given = () if values is None else ("--values", "-")
        done = subprocess.run(
            [str(self.binary), *words, *given],
            input="" if values is None else yaml.safe_dump(dict(values)),
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
            env=self._environment(),
        )
        if done.returncode:
            message = f"helm {' '.join(words)}: {done.stderr.strip()}"
            raise HelmError(message)
        return done.stdout

    def render(
        self, values: Mapping[str, Any], release: str = RELEASE, namespace: str = NAMESPACE
    ) -> str:
        """Return the manifests of the chart with `values`."""
        return self("template", release, str(CHART), "--namespace", namespace, values=values)

    def objects(self, values: Mapping[str, Any], release: str = RELEASE) -> list[Object]:
        """Return the objects of the chart with `values`."""
        return read_all(self.render(values, release))

    def _environment(self) -> dict[str, str]:
        folders = {f"HELM_{what}_HOME": str(self.home) for what in ("CACHE", "CONFIG", "DATA")}
        environment = {"PATH": os.defpath, "HOME": str(self.home), **folders}
        if self.kubeconfig is not None:
            environment["KUBECONFIG"] = str(self.kubeconfig)
        return environment


def read_all(manifests: str) -> list[Object]:
    """Return the objects in a text; schemas are long, so the reader is the one in C."""
    return [each for each in yaml.load_all(manifests, yaml.CSafeLoader) if each]


def of_kind(objects: list[Object], kind: str, name: str = "") -> list[Object]:
    """Return the objects of a kind, those of one name or all."""
    named = (each for each in objects if each["kind"] == kind)
    return [each for each in named if not name or each["metadata"]["name"] == name]
