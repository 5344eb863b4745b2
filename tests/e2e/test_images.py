"""The images as they were built: what is in them, and that it runs where nothing can be written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from images.building import IMAGES, archive_of, name_of, storage
from images.contents import Contents

from images import host, running

PACKAGES = "opt/fulcrum/lib/python3.11/site-packages"
INSTALLERS = ("pip", "pip3", "uv", "easy_install", "apt", "apt-get")
COMPILERS = ("gcc", "cc", "g++", "c++", "clang", "ld", "as", "make", "nvcc", "ptxas", "rustc")
CONFIGURATION = ("pip.conf", "uv.toml", "sources.list", "debian.sources", ".netrc", ".pypirc")
IMPORT_STAGES = (
    "import importlib.util as u, pkgutil, torch, fulcrum_components.stages as s;"
    " assert not any(u.find_spec(name) for name in ('fulcrum_operator', 'kopf'));"
    " import fulcrum_pipelines.runner.pod;"
    " [__import__(m.name) for m in pkgutil.walk_packages(s.__path__, s.__name__ + '.')];"
    " print(torch.__version__)"
)
FIND_PIPELINE = (
    "from fulcrum_pipelines.compiled import IR_PATH; from kfp.components import"
    " load_component_from_file as load; print(load(str(IR_PATH)).name)"
)


@cache
def contents(image: str) -> Contents:
    """Return what was built, or skip."""
    archive = archive_of(image)
    if not archive.exists():
        pytest.skip(f"no {archive}: `make images` builds it")
    return Contents.read(archive)


@dataclass(frozen=True)
class Limit:
    """Maximum size of an image: the measured size (docs/images.md) plus 10 %."""

    image: str
    image_mb: float
    code_mb: float


LIMITS = [Limit("operator", 237, 4), Limit("components", 5540, 6)]


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.image)
def test_size(limit: Limit) -> None:
    found = contents(limit.image)
    assert found.size_mb < limit.image_mb
    assert found.layer_sizes[-1] / 1e6 < limit.code_mb, "the last layer is our code alone"


@pytest.mark.parametrize("image", IMAGES)
def test_configuration(image: str) -> None:
    configuration = contents(image).configuration["config"]
    assert configuration["User"] == "65532:65532"
    assert "HOME=/tmp" in configuration["Env"]
    assert configuration["Labels"]["org.opencontainers.image.version"] != "unknown"
    assert "Healthcheck" not in configuration


@pytest.mark.parametrize("image", IMAGES)
def test_no_program_raises_rights(image: str) -> None:
    files = contents(image).files
    assert not [path for path, file in files.items() if file.isreg() and file.mode & 0o6000]


@pytest.mark.parametrize("image", IMAGES)
def test_nothing_can_be_replaced_by_the_user(image: str) -> None:
    """Even on a writable root: nothing is the user's own, and only sticky folders are open."""
    files = contents(image).files
    assert [path for path, file in files.items() if file.uid == 65532] == ["scratch"]
    wide = {path: file for path, file in files.items() if file.mode & 0o002 and not file.issym()}
    assert not [path for path, file in wide.items() if not (file.isdir() and file.mode & 0o1000)]


@pytest.mark.parametrize("name", [*INSTALLERS, *COMPILERS, *CONFIGURATION])
@pytest.mark.parametrize("image", IMAGES)
def test_there_is_no_file(image: str, name: str) -> None:
    found = contents(image)
    assert not [path for path in found.named(name) if not found.files[path].isdir()]


@pytest.mark.parametrize("package", ["torch", "kfp", "numpy", "onnx", "onnxruntime", "kubernetes"])
def test_operator_has_no(package: str) -> None:
    assert f"{PACKAGES}/{package}" not in contents("operator").files
    assert f"{PACKAGES}/{package}" in contents("components").files


@pytest.mark.parametrize("package", ["pip", "hatchling", "uv", "ensurepip"])
@pytest.mark.parametrize("image", IMAGES)
def test_no_python_package_installs_others(image: str, package: str) -> None:
    found = contents(image)
    assert not [path for path in found.named(package) if f"{path}/__init__.py" in found.files]


@pytest.mark.parametrize("image", IMAGES)
def test_no_file_names_the_package_index(image: str) -> None:
    found = contents(image)
    assert not found.named("direct_url.json")
    assert "://" not in str(found.configuration["history"])


@pytest.mark.parametrize("image", IMAGES)
def test_no_byte_names_the_package_index(image: str) -> None:
    addresses = {address.encode() for address in host.addresses()}
    if not addresses:
        pytest.skip("this machine uses the public index: there is no address to find")
    assert not contents(image).layers_with(addresses)


@pytest.mark.parametrize("image", IMAGES)
def test_build_leaves_nothing_of_itself(image: str) -> None:
    files = contents(image).files
    assert not {"images", "src", "tools", "wheels", "apart", "run/secrets"} & set(files)


# --- what runs


@pytest.fixture(scope="module")
def roots() -> Iterator[dict[str, Path]]:
    """The files of both images."""
    if os.geteuid():
        pytest.skip("mounting an image needs root")
    found: dict[str, Path] = {}
    containers = []
    buildah = storage()
    try:
        for image in IMAGES:
            if archive_of(image).exists() and buildah.has(name_of(image)):
                containers.append(buildah.start(name_of(image)))
                found[image] = buildah.mount(containers[-1])
        yield found
    finally:
        for container in containers:
            buildah.remove(container)


def run_in(image: str, roots: dict[str, Path], *command: str) -> subprocess.CompletedProcess[str]:
    """Run `command` in `image`, or skip where it cannot be mounted."""
    configuration = contents(image).configuration
    if image not in roots:
        pytest.skip(f"{name_of(image)} is not in the builder's storage: `make images`")
    return running.run(roots[image], configuration, command)


@dataclass(frozen=True)
class Command:
    """A command in an image, and a word of what it must print."""

    name: str
    image: str
    command: tuple[str, ...]
    prints: str


COMMANDS = [
    Command("help", "operator", ("fulcrum", "--help"), "Usage: fulcrum"),
    Command("version", "operator", ("fulcrum", "--version"), "fulcrum "),
    Command("operator", "operator", ("fulcrum", "operator", "--help"), "--config"),
    Command("user", "operator", ("id",), "uid=65532(fulcrum) gid=65532(fulcrum)"),
    Command(
        "S3",
        "operator",
        ("python", "-c", "import s3fs, fsspec; print(fsspec.filesystem('s3', anon=True).protocol)"),
        "s3",
    ),
    Command("stages", "components", ("python", "-c", IMPORT_STAGES), "."),
    Command("pipeline", "components", ("python3", "-c", FIND_PIPELINE), "fulcrum"),
    Command("shell", "components", ("sh", "-c", "d=$(mktemp -d) && echo $d"), "/tmp/"),
]


@pytest.mark.parametrize("case", COMMANDS, ids=lambda case: case.name)
def test_runs_where_only_tmp_can_be_written(case: Command, roots: dict[str, Path]) -> None:
    done = run_in(case.image, roots, *case.command)
    assert done.returncode == 0, done.stderr
    assert case.prints in done.stdout


def test_root_cannot_be_written(roots: dict[str, Path]) -> None:
    """Shown, so that the tests above are known to test something."""
    done = run_in("operator", roots, "touch", "/opt/fulcrum/x")
    assert done.returncode
    assert "Read-only file system" in done.stderr
