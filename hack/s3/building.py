"""Builds the S3 server, once a machine and user."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cluster.building import Module, build, say_aside

NAME = "versitygw"
MAIN = "github.com/versity/versitygw"
MODULE = Module(Path(__file__).parent, MAIN, {NAME: f"{MAIN}/cmd/{NAME}"})


def server_binary(say: Callable[[str], None] = say_aside) -> Path:
    """Return the server's command, built now if it is not cached."""
    return build(MODULE, [NAME], say)[NAME]
