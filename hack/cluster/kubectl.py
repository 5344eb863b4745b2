"""Runs kubectl, so that all callers use the API as users do."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import ClusterError

TIMEOUT_S = 120.0  # every wait of ours is shorter; without it a lost server would hang a test


class KubectlError(ClusterError):
    """A kubectl command failed; the message is what it said."""


@dataclass(frozen=True)
class Kubectl:
    """kubectl as the user of a kubeconfig; call it with a command's words."""

    binary: Path
    kubeconfig: Path

    def __call__(self, *words: str, stdin: str | None = None) -> str:
        """Return what the command printed.

        Raises:
            KubectlError: It failed.
        """
        done = self._run(words, stdin)
        if done.returncode:
            message = f"kubectl {' '.join(words)}: {done.stderr.strip()}"
            raise KubectlError(message)
        return done.stdout

    def _run(self, words: Sequence[str], stdin: str | None) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [str(self.binary), *words],
                input=stdin or "",
                capture_output=True,
                text=True,
                check=False,
                timeout=TIMEOUT_S,
                env=self._environment(),
            )
        except subprocess.TimeoutExpired as error:
            message = f"kubectl {' '.join(words)}: no end after {TIMEOUT_S:.0f} s"
            raise KubectlError(message) from error

    def _environment(self) -> dict[str, str]:
        cache = self.kubeconfig.parent / "cache"
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.kubeconfig.parent),
            "KUBECONFIG": str(self.kubeconfig),
            "KUBECACHEDIR": str(cache),
        }
