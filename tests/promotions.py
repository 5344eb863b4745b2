"""Promotions to one channel of a store at the same time, each in a separate process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from stored_runs import Validated

from fulcrum_pipelines.composed import ChannelFile, promote
from fulcrum_pipelines.storage.store import Store

CHANNEL = "digits"
PROMOTE = """
import sys
from promotions import promote_all
print("ready", flush=True)
sys.stdin.readline()
promote_all(sys.argv[1], *sys.argv[2:])
"""


def promote_all(url: str, *artifacts: str) -> None:
    """Promote each pair of candidate and evidence in turn."""
    for candidate, evidence in zip(artifacts[::2], artifacts[1::2], strict=True):
        promote(CHANNEL, candidate, evidence, url, lambda: datetime.now(UTC))


def promote_at_once(url: str, made: Sequence[Sequence[Validated]]) -> None:
    """Promote each inner sequence in turn, in a process that starts together with the others."""
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", PROMOTE, url),
                *(str(path) for each in mine for path in (each.candidate, each.evidence)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        )
        for mine in made
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err


def channel_of(store: Store) -> ChannelFile:
    """Return what the channel's file holds."""
    found = store.read_record(f"channels/{CHANNEL}.json", ChannelFile)
    assert found is not None
    return found


def digests(channel: ChannelFile) -> list[str]:
    """Return all models that the channel names, the newest first."""
    return [each.digest for each in (channel.current, *channel.history)]
