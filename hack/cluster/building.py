"""Builds the binaries of a control plane from pinned Go modules, once a machine and user.

Building all of Kubernetes takes minutes, so a binary is kept under the digest of everything that it
was built from. It appears there by a rename: what is half built is never taken for built.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster.cache import cache_directory, exclusive
from cluster.errors import ClusterError
from cluster.toolchain import Toolchain, go_environment, toolchain

HERE = Path(__file__).parent
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
NODE = ("kubelet", "kube-proxy")
"""Not in the modules of all versions."""
VERSION_VARIABLES = (
    "k8s.io/component-base/version.gitVersion",
    "k8s.io/client-go/pkg/version.gitVersion",
)
ASSETS = "KUBEBUILDER_ASSETS"


@dataclass(frozen=True)
class Module:
    """One of our Go modules: `packages` are its commands by name, `main` where they come from."""

    directory: Path
    main: str
    packages: Mapping[str, str]

    @property
    def version(self) -> str:
        """The pinned version of `main`."""
        return self._line(rf"require {re.escape(self.main)} (\S+)")

    @property
    def go_version(self) -> tuple[int, ...]:
        """The oldest Go that can build it."""
        return tuple(int(part) for part in self._line(r"go (\S+)").split("."))

    @property
    def flags(self) -> list[str]:
        """Arguments of `go build` besides the package and the output."""
        stamps = [f"-X {variable}={self.version}" for variable in VERSION_VARIABLES]
        return ["-mod=readonly", "-trimpath", "-ldflags", " ".join(["-s", "-w", *stamps])]

    def digest(self, go: Toolchain) -> str:
        """Return what the binaries depend on, in 16 characters."""
        built_by = [sys.platform, platform.machine(), *map(str, go.version), *self.flags]
        digest = hashlib.sha256("\0".join(built_by).encode())
        for name in ("go.mod", "go.sum", "tools.go"):
            digest.update((self.directory / name).read_bytes())
        return digest.hexdigest()[:16]

    def _line(self, pattern: str) -> str:
        path = self.directory / "go.mod"
        found = re.search(rf"^{pattern}$", path.read_text(), re.MULTILINE)
        if found is None:
            message = f"{path}: no line like {pattern}"
            raise ClusterError(message)
        return found[1]


@dataclass(frozen=True)
class Binaries:
    """The commands of one version of Kubernetes, and etcd."""

    etcd: Path
    apiserver: Path
    controller_manager: Path
    scheduler: Path
    kubectl: Path


def minors() -> list[str]:
    """Return the Kubernetes versions that can be built, the oldest first."""
    found = (path.parent.name for path in HERE.glob("kubernetes/*/go.mod"))
    return sorted(found, key=lambda minor: [int(part) for part in minor.split(".")])


def chosen_minor(environment: Mapping[str, str] = os.environ) -> str:
    """Return the version that the variable K8S names, by default the newest."""
    known = minors()
    chosen = environment.get("K8S") or known[-1]
    if chosen not in known:
        message = f"K8S={chosen}: no such version here; there are {', '.join(known)}"
        raise ClusterError(message)
    return chosen


def modules(minor: str) -> tuple[Module, Module]:
    """Return the modules of etcd and of Kubernetes `minor`, with the commands that each has."""
    etcd = "go.etcd.io/etcd/server/v3"
    directory = HERE / "kubernetes" / minor
    commands = re.findall(r'"(k8s\.io/kubernetes/cmd/(.+))"', (directory / "tools.go").read_text())
    return (
        Module(HERE / "etcd", etcd, {"etcd": etcd}),
        Module(directory, "k8s.io/kubernetes", {name: package for package, name in commands}),
    )


def say_aside(message: str) -> None:
    """Print to standard error: what a command prints itself may be read by a shell."""
    print(message, file=sys.stderr, flush=True)


def binaries(minor: str, say: Callable[[str], None] = say_aside) -> Binaries:
    """Return the binaries of Kubernetes `minor`, built now where they are neither cached nor given.

    Ready ones are taken from the folder that KUBEBUILDER_ASSETS names.
    """
    paths = _ready_made(minor)
    for module in modules(minor):
        missing = [name for name in module.packages if name not in (*NODE, *paths)]
        paths |= build(module, missing, say) if missing else {}
    return Binaries(
        etcd=paths["etcd"],
        apiserver=paths["kube-apiserver"],
        controller_manager=paths["kube-controller-manager"],
        scheduler=paths["kube-scheduler"],
        kubectl=paths["kubectl"],
    )


def build(module: Module, names: list[str], say: Callable[[str], None]) -> dict[str, Path]:
    """Return the commands `names` of `module`; each is built once, however many ask."""
    go = toolchain(module.go_version)
    directory = cache_directory() / module.digest(go)
    paths = {name: directory / name for name in names}
    if not all(path.exists() for path in paths.values()):
        with exclusive(directory):
            directory.mkdir(exist_ok=True)
            for path in paths.values():
                if not path.exists():
                    say(
                        f"building {path.name} {module.version}, once; minutes if nothing is cached"
                    )
                    _build(module, path, go.installed())
    return paths


def _build(module: Module, path: Path, go: Path) -> None:
    partial = path.with_name(f"{path.name}.partial")
    command = [str(go), "build", *module.flags, "-o", str(partial), module.packages[path.name]]
    done = subprocess.run(
        command,
        cwd=module.directory,
        env=go_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        message = f"{path.name} could not be built from {module.directory}:\n{done.stderr[-2000:]}"
        raise ClusterError(message)
    partial.rename(path)


def _ready_made(minor: str) -> dict[str, Path]:
    folder = os.environ.get(ASSETS)
    if not folder:
        return {}
    found = {
        name: Path(folder, name) for name in ("etcd", *CONTROL_PLANE) if Path(folder, name).exists()
    }
    for name in set(found) & {"kube-apiserver", "kube-controller-manager", "kube-scheduler"}:
        _check_version(found[name], minor)
    return found


def _check_version(path: Path, minor: str) -> None:
    done = subprocess.run([str(path), "--version"], capture_output=True, text=True, check=False)
    if f" v{minor}." not in done.stdout:
        said = (done.stdout or done.stderr).strip()
        message = f"{ASSETS}: {path} says {said!r}; Kubernetes {minor} is wanted (K8S chooses it)"
        raise ClusterError(message)
