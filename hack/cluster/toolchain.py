"""Finds Go, or installs the pinned toolchain if Go is missing or too old."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cluster.cache import cache_directory, exclusive
from cluster.errors import ClusterError

LOCK = Path(__file__).with_name("toolchain.txt")


@dataclass(frozen=True)
class Toolchain:
    """A Go toolchain; `go` may not be there yet if it is the pinned one."""

    go: Path
    version: tuple[int, ...]

    def installed(self) -> Path:
        """Return the `go` command, installed now if need be."""
        if not self.go.exists():
            _install(_pinned_directory())
        return self.go


def toolchain(needed: tuple[int, ...]) -> Toolchain:
    """Return the toolchain on PATH if it is at least `needed`, else the pinned one."""
    found = shutil.which("go")
    if found:
        version = _version_of(found)
        if version >= needed:
            return Toolchain(Path(found), version)
    pinned = _numbers(LOCK.read_text().partition("==")[2].split()[0])
    return Toolchain(_pinned_directory() / "go" / "bin" / "go", pinned)


def go_environment() -> dict[str, str]:
    """Return an environment in which Go uses neither another toolchain nor a user's flags."""
    return {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOFLAGS": "",
        # Compilers live for seconds: collecting garbage is a fifth of their work, by the default.
        "GOGC": os.environ.get("GOGC", "400"),
    }


def _version_of(go: str) -> tuple[int, ...]:
    done = subprocess.run(
        [go, "env", "GOVERSION"], capture_output=True, text=True, env=go_environment(), check=False
    )
    return _numbers(done.stdout)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("-")[0])[:3])


def _pinned_directory() -> Path:
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]
    return cache_directory() / f"go-{digest}"


def _install(directory: Path) -> None:
    with exclusive(directory):
        if directory.exists():
            return
        partial = directory.with_name(f"{directory.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        _pip_install(partial)
        partial.rename(directory)


def _pip_install(target: Path) -> None:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        message = f"neither {beside} nor uv on PATH; `make setup` installs it, or install Go"
        raise ClusterError(message)
    command = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--require-hashes"]
    command += ["--target", str(target), "-r", str(LOCK)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"the Go toolchain of {LOCK} could not be installed:\n{done.stderr.strip()}"
        raise ClusterError(message)
