"""`python -m helm`: rewrites the reviewed renders of the chart, for `make charts`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from cluster.errors import ClusterError

from helm.building import helm_binary
from helm.renders import reviewed
from helm.running import Helm, HelmError
from helm.value_sets import golden, value_sets


def main() -> int:
    """Write what changed; return the exit code."""
    try:
        with tempfile.TemporaryDirectory() as home:
            write(Helm(helm_binary(), Path(home)))
    except (ClusterError, HelmError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def write(helm: Helm) -> None:
    """Render every set, and forget renders of sets that are no more."""
    found = {golden(name): reviewed(helm, values) for name, values in value_sets().items()}
    for path in golden("x").parent.glob("*.yaml"):
        if path not in found:
            path.unlink()
    for path, text in found.items():
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            print(f"written: {path.name}")


if __name__ == "__main__":
    sys.exit(main())
