"""`python -m node up|down|status|build|import FILE...`: real nodes on this machine, as root.

The variable K8S chooses the version of Kubernetes.
"""

from __future__ import annotations

import argparse
import sys

from cluster.errors import ClusterError

from node import local


def main() -> int:
    """Run one command; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m node", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "status", "build", "import"])
    parser.add_argument("archives", nargs="*", help="for import: OCI or Docker archives")
    options = parser.parse_args()
    try:
        return _run(options.command, options.archives)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1


def _run(command: str, archives: list[str]) -> int:
    if command == "up":
        local.up()
    elif command == "down":
        local.down()
    elif command == "build":
        local.build()
    elif command == "import":
        local.import_images(archives)
    else:
        return 0 if local.status() else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
