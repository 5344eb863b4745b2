"""`python -m images [operator] [components]`, which is behind `make images`.

Writes `.fulcrum/images/<image>.tar`, which `ctr -n k8s.io images import`, `docker load` and `podman
load` take. The variable BASE names another base image than the one that is made here; TORCH is the
argument of the components' Containerfile.
"""

from __future__ import annotations

import argparse
import sys

from images.building import IMAGES, build
from images.errors import ImageError


def main() -> int:
    """Build the images that are named, or all; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m images", description=__doc__)
    parser.add_argument("image", nargs="*", help=f"of {', '.join(IMAGES)}; all by default")
    chosen = parser.parse_args().image or IMAGES
    unknown = set(chosen) - set(IMAGES)
    if unknown:
        parser.error(f"no image {', '.join(sorted(unknown))}; there are {', '.join(IMAGES)}")
    try:
        for image in chosen:
            print(build(image), flush=True)
    except ImageError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
