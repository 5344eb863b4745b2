"""The API server as an administrator's program sees it, for tests that look often.

kubectl is what people use, and tests of what they see run it; as a process a call it is too slow to
poll with.
"""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fulcrum_operator.kubernetes.credentials import Credentials, ssl_context
from fulcrum_operator.kubernetes.kubeconfig import from_kubeconfig

TIMEOUT_S = 60.0
MERGE = "application/merge-patch+json"


class RefusedError(Exception):
    """The API server did not do it; the message is what it said."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class ClusterApi:
    """Calls as the user of a kubeconfig that has a certificate or a token."""

    kubeconfig: Path
    _credentials: Credentials = field(init=False)
    _context: ssl.SSLContext = field(init=False)

    def __post_init__(self) -> None:
        """Read the credentials once."""
        self._credentials = from_kubeconfig(self.kubeconfig)
        self._context = ssl_context(self._credentials)

    def __call__(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the answer to a call.

        Raises:
            RefusedError: It was refused.
        """
        kind = MERGE if method == "PATCH" else "application/json"
        request = urllib.request.Request(
            f"{self._credentials.server}{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Content-Type": kind, "Accept": "application/json"},
        )
        try:
            with urllib.request.urlopen(
                request, timeout=TIMEOUT_S, context=self._context
            ) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            raise RefusedError(error.code, json.loads(text).get("message", text)) from error
