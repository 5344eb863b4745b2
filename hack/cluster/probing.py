"""Asks a server of ours one question, without the cost of a kubectl process."""

from __future__ import annotations

import contextlib
import ssl
import urllib.request
from pathlib import Path

from cluster.certificates import Pair

TIMEOUT_S = 5.0


def answers(url: str, authority: Path, client: Pair) -> bool:
    """Return whether `url` answers with success; no listener or another server is a failure."""
    context = ssl.create_default_context(cafile=authority)
    context.load_cert_chain(client.certificate, client.key)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    with contextlib.suppress(OSError), opener.open(url, timeout=TIMEOUT_S):
        return True
    return False
