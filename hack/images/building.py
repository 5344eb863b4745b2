"""From a Containerfile to an archive, one image at a time on a machine."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from cluster.cache import cache_directory, exclusive

from images import archive, host
from images.base import base
from images.buildah import Buildah
from images.errors import ImageError
from images.layout import Layout

ROOT = Path(__file__).resolve().parents[2]
ARCHIVES = ROOT / ".fulcrum" / "images"
IMAGES = ("operator", "components")
INPUTS = ROOT / "images"
"""Scripts and locks; a change of any is taken for one of both images."""

ARGUMENTS = ("TORCH",)
"""Arguments of the Containerfiles that are taken from the environment."""


def name_of(image: str) -> str:
    """Return the name under which a node knows `image`."""
    return f"localhost/fulcrum-{image}:dev"


def archive_of(image: str) -> Path:
    """Return where the archive of `image` is written."""
    return ARCHIVES / f"{image}.tar"


def storage() -> Buildah:
    """Return the storage that all checkouts of one user share."""
    return Buildah(cache_directory().with_name("images"))


def build(image: str) -> Path:
    """Build `image` from the tree as it is; return its archive, which is up to date.

    Raises:
        ImageError: The user is not root, a program is missing, or a step failed.
    """
    if os.geteuid():
        message = "building images here needs root; docker or podman build them without"
        raise ImageError(message)
    buildah = storage()
    with exclusive(buildah.storage):
        _build(buildah, image)
        _write(buildah, image)
    return archive_of(image)


def _build(buildah: Buildah, image: str) -> None:
    """Build the libraries unless they are there, then our code on top of them.

    One build would do, and does elsewhere. But Buildah reads all of CUDA to see that it can take a
    layer from its cache, which is a minute for each change of our code.
    """
    ARCHIVES.mkdir(parents=True, exist_ok=True)
    arguments = {name: os.environ[name] for name in ARGUMENTS if os.environ.get(name)}
    arguments["BASE"] = os.environ.get("BASE") or base(buildah)
    libraries = f"localhost/fulcrum-{image}-libraries:{_digest(image, arguments)}"
    if not buildah.has(libraries):
        _run(buildah, image, libraries, arguments, target="libraries")
    labels = {"VERSION": _version(), "REVISION": _revision()}
    _run(buildah, image, name_of(image), arguments | labels, ready={"libraries": libraries})


def _run(
    buildah: Buildah,
    image: str,
    name: str,
    arguments: dict[str, str],
    *,
    target: str | None = None,
    ready: dict[str, str] | None = None,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        buildah.build(
            ROOT / image / "Containerfile",
            name,
            context=ROOT,
            log=ARCHIVES / f"{image}.log",
            arguments=arguments,
            secrets=host.secrets(Path(folder)),
            target=target,
            ready=ready,
        )


def _digest(image: str, arguments: dict[str, str]) -> str:
    """Return what the libraries of `image` depend on, in 12 characters."""
    digest = hashlib.sha256(repr(sorted(arguments.items())).encode())
    inputs = sorted([*INPUTS.glob("*.sh"), *INPUTS.glob("locks/*.txt")])
    for path in (ROOT / image / "Containerfile", ROOT / "LICENSE", *inputs):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _write(buildah: Buildah, image: str) -> None:
    """Write the archive; what is given up in a layout is good only with the archive beside it."""
    path, layout = archive_of(image), ARCHIVES / f"{image}.layout"
    if not path.exists():
        shutil.rmtree(layout, ignore_errors=True)
    buildah.copy(name_of(image), layout)
    try:
        archive.update(path, Layout.read(layout), name_of(image))
    except archive.HollowError:
        shutil.rmtree(layout)
        buildah.copy(name_of(image), layout)
        archive.update(path, Layout.read(layout), name_of(image))


def _version() -> str:
    text = (ROOT / "pipelines" / "fulcrum_pipelines" / "__init__.py").read_text()
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    assert found is not None
    return found[1]


def _revision() -> str:
    """Return the commit, marked where the tree differs from it."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
