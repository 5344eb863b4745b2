"""`python -m cluster build|up|down|status|user`, which is behind `make cluster` and its like.

The variable K8S chooses the version of Kubernetes.
"""

from __future__ import annotations

import argparse
import sys

from cluster import local
from cluster.building import binaries, chosen_minor
from cluster.errors import ClusterError


def main() -> int:
    """Run one command; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cluster", description=__doc__)
    parser.add_argument("command", choices=["build", "up", "down", "status", "user"])
    parser.add_argument("name", nargs="?", default="", help="for user: whose credentials to make")
    options = parser.parse_args()
    try:
        return _run(options.command, options.name)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1


def _run(command: str, name: str) -> int:
    if command == "build":
        print(binaries(chosen_minor()).kubectl.parent)
    elif command == "up":
        local.up()
    elif command == "down":
        local.down()
    elif command == "user":
        local.user(name)
    else:
        return 0 if local.status() else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
