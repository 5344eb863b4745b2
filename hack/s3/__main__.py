"""`python -m s3 build|up|down|status`: an S3 server for trying Fulcrum out, with a bucket.

`up` prints what a shell needs to use it: `eval "$(PYTHONPATH=hack python -m s3 up)"`. Its state is
under `.fulcrum/s3`.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys

from cluster.cache import exclusive
from cluster.errors import ClusterError
from cluster.installing import ROOT

from s3.building import server_binary
from s3.server import HOST, Server

DIRECTORY = ROOT / ".fulcrum" / "s3"
BUCKET = "fulcrum"


def main() -> int:
    """Run one command; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m s3", description=__doc__)
    parser.add_argument("command", choices=["build", "up", "down", "status"])
    parser.add_argument("--address", default=HOST, help="where it listens, if pods are to reach it")
    options = parser.parse_args()
    try:
        server = Server(DIRECTORY, server_binary(), address=options.address)
        with exclusive(DIRECTORY):
            return _run(options.command, server)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1


def _run(command: str, server: Server) -> int:
    if command == "up":
        _up(server)
    elif command == "down":
        server.stop()
        shutil.rmtree(DIRECTORY, ignore_errors=True)
    elif command == "status":
        up = server.is_up()
        print(server.url if up else "not running")
        return 0 if up else 1
    return 0


def _up(server: Server) -> None:
    if not server.is_up():
        server.start()
    if BUCKET not in {each["Name"] for each in server.client().list_buckets()["Buckets"]}:
        server.make_bucket(BUCKET)
    for name, value in server.environment().items():
        print(f"export {name}={shlex.quote(value)}")
    print(f"# the store: s3://{BUCKET}/store")


if __name__ == "__main__":
    sys.exit(main())
