"""Chooses ports that are free now; only listening on a port shows whether it still is."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import socket

from cluster.programs import HOST, Ports

# Below the range that the kernel gives to outgoing connections: a port that is free while its
# program restarts must not be handed to another connection.
CANDIDATES = range(20_000, 32_000)


def free_ports() -> Ports:
    """Return ports that are free at this moment."""
    with contextlib.ExitStack() as held:
        return Ports(*(_hold_one(held) for _ in dataclasses.fields(Ports)))


def free_port() -> int:
    """Return one port that is free at this moment."""
    with contextlib.ExitStack() as held:
        return _hold_one(held)


def _hold_one(held: contextlib.ExitStack) -> int:
    while True:
        port = random.choice(CANDIDATES)
        listener = held.enter_context(socket.socket())
        with contextlib.suppress(OSError):
            listener.bind((HOST, port))
            return port
