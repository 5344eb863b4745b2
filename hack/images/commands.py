"""Runs the programs that building needs, and says which Debian package has one that is missing."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from images.errors import ImageError

LAST_LINES = 40


def run(command: Sequence[str], *, cwd: Path | None = None, log: Path | None = None) -> str:
    """Run `command` and return what it prints; with `log`, that goes to a file instead.

    Raises:
        ImageError: It failed, with its last lines, or is not installed.
    """
    try:
        if log is None:
            done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
            said, printed = done.stderr, done.stdout
        else:
            with log.open("w") as stream:
                done = subprocess.run(
                    command,
                    cwd=cwd,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    text=True,
                    check=False,
                )
            said, printed = log.read_text(), ""
    except FileNotFoundError as error:
        message = f"{command[0]} is not installed: `apt-get install {command[0]}`"
        raise ImageError(message) from error
    if done.returncode:
        last = "\n".join(said.splitlines()[-LAST_LINES:])
        message = f"`{' '.join(command[:2])} ...` ended with {done.returncode}:\n{last}"
        raise ImageError(message)
    return printed
