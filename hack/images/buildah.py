"""Buildah, as far as it is used here: builds from a Containerfile without a daemon.

Its storage is our own, so that nothing of the machine's is touched and deleting one folder frees
all of it. Layers in it are the cache: a build runs only the steps whose inputs changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from images.commands import run
from images.errors import ImageError


@dataclass(frozen=True)
class Buildah:
    """Buildah with its images under `storage`."""

    storage: Path

    def build(
        self,
        containerfile: Path,
        name: str,
        *,
        context: Path,
        log: Path,
        arguments: Mapping[str, str] | None = None,
        secrets: Mapping[str, Path] | None = None,
        target: str | None = None,
        ready: Mapping[str, str] | None = None,
    ) -> None:
        """Build `name`; what the steps print goes to `log`.

        Args:
            containerfile: The definition.
            name: What to call the image.
            context: The folder that it copies from.
            log: A file.
            arguments: Values of its arguments.
            secrets: Files by the names of its secrets.
            target: The stage to build, by default the last.
            ready: Images to take in place of stages, which are then not run.
        """
        options = [f"--build-arg={key}={value}" for key, value in (arguments or {}).items()]
        options += [f"--secret=id={key},src={path}" for key, path in (secrets or {}).items()]
        options += [f"--target={target}"] if target else []
        for stage, image in (ready or {}).items():
            options.append(f"--build-context={stage}=container-image://{image}")
        command = self._command("bud", "--layers", "--isolation=chroot", "--pull-never")
        command += [*options, f"--file={containerfile}", f"--tag={name}", str(context)]
        run(command, log=log)

    def has(self, name: str) -> bool:
        """Return whether there is an image `name`."""
        try:
            run(self._command("inspect", "--type=image", name))
        except ImageError:
            return False
        return True

    def copy(self, name: str, layout: Path) -> None:
        """Make `name` the one image of an OCI layout; layers that are in it stay as they are.

        Skopeo does that, since Buildah compresses layers on this way, which takes minutes with CUDA
        and is undone on the same machine.
        """
        (layout / "index.json").unlink(missing_ok=True)  # would go on naming the image before
        source = f"containers-storage:[overlay@{self.storage}+{self._state}]{name}"
        command = ["skopeo", "copy", "--quiet", "--dest-oci-accept-uncompressed-layers"]
        run([*command, source, f"oci:{layout}:image"])

    def start(self, name: str) -> str:
        """Make a container of `name`, without running anything; return its name."""
        return run(self._command("from", "--pull-never", name)).strip()

    def mount(self, container: str) -> Path:
        """Return where the files of `container` are."""
        return Path(run(self._command("mount", container)).strip())

    def remove(self, container: str) -> None:
        """Remove `container` and its mount."""
        run(self._command("rm", container))

    @property
    def _state(self) -> str:
        return f"{self.storage}-state"

    def _command(self, verb: str, *arguments: str) -> list[str]:
        return [
            *("buildah", f"--root={self.storage}", f"--runroot={self._state}"),
            *("--storage-driver=overlay", verb, *arguments),
        ]
