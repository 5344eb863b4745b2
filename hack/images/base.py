"""The base image of a machine that reaches no image registry: Debian's Python, from its packages.

It stands in for the default of the Containerfiles' argument BASE, an ordinary Python image of the
same Debian release, and has what that has: Python with `venv`, C++'s library and the certificates
of authorities.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from images.buildah import Buildah
from images.commands import run

SUITE = "bookworm"  # its Python is 3.11
PACKAGES = ("ca-certificates", "libstdc++6", "python3", "python3-venv")
LEFT_OUT = ("doc", "info", "locale", "man")
HOSTS_OWN = ("etc/resolv.conf", "etc/hostname")
"""Files that name the machine which the image is made on."""


def base(buildah: Buildah) -> str:
    """Return the name of the base image, made now unless it is there."""
    command = ["mmdebstrap", "--quiet", "--variant=essential", "--skip=output/dev"]
    command += [f"--include={','.join(PACKAGES)}"]
    command += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEFT_OUT]
    command += [f'--customize-hook=rm -f "$1"/{name}' for name in HOSTS_OWN]
    digest = hashlib.sha256("\0".join([*command, SUITE]).encode()).hexdigest()[:12]
    name = f"localhost/fulcrum-base:{digest}"
    if not buildah.has(name):
        with tempfile.TemporaryDirectory() as folder:
            run([*command, SUITE, f"{folder}/base.tar"])
            recipe = Path(folder, "Containerfile")
            recipe.write_text("FROM scratch\nADD base.tar /\n")
            buildah.build(recipe, name, context=Path(folder), log=Path(folder, "log"))
    return name
