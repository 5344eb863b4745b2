"""Get the Debian package dataset-fashion-mnist and unpack it beside this file, without installing.

It needs apt-get and dpkg-deb, but no root: the package comes from the archive that the machine is
configured for, 31 MB, once.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from data import PLACES

PACKAGE = "dataset-fashion-mnist"
CACHE = Path(__file__).parent / ".cache"


def fetch() -> None:
    """Download and unpack the package into the cache.

    Raises:
        subprocess.CalledProcessError: The archive does not have it, or cannot be reached.
    """
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        subprocess.run(["apt-get", "download", "--quiet", PACKAGE], cwd=directory, check=True)
        package = next(Path(directory).glob("*.deb"))
        subprocess.run(["dpkg-deb", "--extract", package, CACHE], check=True)


def main() -> int:
    """Fetch the data where they are missing; return the exit code."""
    if any(place.is_dir() for place in PLACES):
        return 0
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        print(f"{' and '.join(missing)} not found: this needs a Debian system", file=sys.stderr)
        return 1
    try:
        fetch()
    except subprocess.CalledProcessError:
        message = f"getting {PACKAGE} failed; `apt-get update` as root may help"
        print(message, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
