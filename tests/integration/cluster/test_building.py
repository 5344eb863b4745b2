"""Binaries are built once, taken only whole, and by a Go that is new enough."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from cluster import building, toolchain
from cluster.building import Binaries, binaries, chosen_minor, minors, modules
from cluster.cache import cache_directory
from cluster.errors import ClusterError
from helm import building as helm
from node.building import DNS, node_binaries
from s3 import building as s3

HACK = Path(__file__).resolve().parents[3] / "hack"
BUILD = "from cluster.building import binaries; binaries('1.37')"
FAKE_GO = """#!/bin/sh
if [ "$1" = env ]; then echo go1.99.0; exit; fi
echo "$@" >> "$FAKE_GO_LOG"
while [ "$1" != -o ]; do shift; done
echo half > "$2"
sleep "${FAKE_GO_SLEEP_S:-0}"
[ -z "$FAKE_GO_ERROR" ] || { echo "$FAKE_GO_ERROR" >&2; exit 1; }
echo whole > "$2"
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Go that builds in no time, an empty cache, and the file with that Go's arguments."""
    folder = tmp_path / "go"
    folder.mkdir()
    (folder / "go").write_text(FAKE_GO)
    (folder / "go").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FAKE_GO_LOG", str(tmp_path / "calls"))
    monkeypatch.setenv("PYTHONPATH", str(HACK))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return tmp_path / "calls"


def start_building() -> subprocess.Popen[bytes]:
    """Build in another process."""
    return subprocess.Popen(
        [sys.executable, "-c", BUILD], stderr=subprocess.DEVNULL, start_new_session=True
    )


def built_times(calls: Path) -> int:
    """Return how often something was built."""
    return len(calls.read_text().splitlines()) if calls.exists() else 0


def test_second_asking_builds_nothing(calls: Path) -> None:
    first = binaries("1.37")
    assert built_times(calls) == 5
    assert binaries("1.37") == first
    assert built_times(calls) == 5
    assert first.kubectl.read_text() == "whole\n"
    binaries("1.36")
    assert built_times(calls) == 9, "etcd is the same for all versions"


def test_versions_are_stamped_and_the_tree_is_only_read(calls: Path) -> None:
    binaries("1.37")
    (kubectl,) = (line for line in calls.read_text().splitlines() if line.endswith("/kubectl"))
    version = modules("1.37")[1].version
    assert version.startswith("v1.37.")
    assert f"-X k8s.io/component-base/version.gitVersion={version}" in kubectl
    assert "-mod=readonly -trimpath" in kubectl


def test_two_builders_build_once(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GO_SLEEP_S", "0.2")
    builders = [start_building(), start_building()]
    assert [builder.wait() for builder in builders] == [0, 0]
    assert built_times(calls) == 5


def test_half_built_binary_is_not_taken(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GO_SLEEP_S", "60")
    killed = start_building()
    while not list(cache_directory().glob("*/etcd.partial")):
        assert killed.poll() is None
        time.sleep(0.02)
    os.killpg(killed.pid, 9)
    killed.wait()
    monkeypatch.setenv("FAKE_GO_SLEEP_S", "0")
    assert binaries("1.37").etcd.read_text() == "whole\n"
    assert not list(cache_directory().glob("*/*.partial"))


def test_compiler_is_quoted_where_it_fails(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GO_ERROR", "server.go:1: it does not compile")
    with pytest.raises(ClusterError, match=r"etcd could not(.*\n)+server.go:1: it does not"):
        binaries("1.37")


@dataclass(frozen=True)
class Assets:
    """A folder of ready binaries: what its API server says, and the expected outcome."""

    name: str
    says: str
    error: str = ""


@pytest.mark.parametrize(
    "case",
    [
        Assets("wanted version", "Kubernetes v1.37.0"),
        Assets("other version", "Kubernetes v1.3.7", error=r"v1.3.7.*Kubernetes 1.37 is wanted"),
        Assets("no version", "", error="1.37 is wanted"),
    ],
    ids=lambda case: case.name,
)
def test_ready_binaries_are_used(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Assets
) -> None:
    assets = tmp_path / "assets"
    assets.mkdir()
    for name in ("etcd", "kube-apiserver"):
        (assets / name).write_text(f"#!/bin/sh\necho {case.says}\n")
        (assets / name).chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    if case.error:
        with pytest.raises(ClusterError, match=case.error):
            binaries("1.37")
        return
    taken = binaries("1.37")
    assert (taken.etcd.parent, taken.apiserver.parent) == (assets, assets)
    assert built_times(calls) == 3, "only what the folder lacks is built"


def test_modules_agree_so_that_what_they_share_is_compiled_once() -> None:
    """Compiling modules again that differ by a patch took most of helm's and CoreDNS's time."""
    newest = modules(minors()[-1])
    versions: dict[str, set[str]] = {}
    for built in (*newest, DNS, helm.module(), s3.MODULE):
        text = (built.directory / "go.mod").read_text()
        replaced = dict(re.findall(r"^\t(\S+) => \S+ (v\S+)$", text, re.MULTILINE))
        for name, version in re.findall(r"^\t(\S+) (v\S+)", text, re.MULTILINE):
            versions.setdefault(name, set()).add(replaced.get(name, version))
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}
    assert len(versions) > 100


def test_version_without_nodes_names_those_that_have_them(calls: Path) -> None:
    assert node_binaries("1.37").kubelet.read_text() == "whole\n"
    with pytest.raises(ClusterError, match=r"K8S=1\.36: nodes are there for 1\.37 only"):
        node_binaries("1.36")


def test_digest_depends_on_flags_compiler_and_files(monkeypatch: pytest.MonkeyPatch) -> None:
    module = modules("1.37")[1]
    old, new = (toolchain.Toolchain(Path("go"), (1, 26, patch)) for patch in (6, 7))
    digests = {module.digest(old), module.digest(new), modules("1.36")[1].digest(old)}
    monkeypatch.setattr(building, "VERSION_VARIABLES", ())
    assert len({*digests, module.digest(old)}) == 4


def test_old_go_is_passed_over_for_the_pinned_one(calls: Path) -> None:
    assert toolchain.toolchain((1, 99)).go.parent.name == "go"
    pinned = toolchain.toolchain((2, 0))
    assert pinned.go.is_relative_to(cache_directory())
    assert all(module.go_version <= pinned.version for module in modules("1.37"))


def test_every_version_pins_names_and_hashes_only() -> None:
    assert minors()[-1] == chosen_minor({})
    for minor in minors():
        for module in modules(minor):
            assert not [line for line in _lines(module.directory) if "://" in line]
        assert module.version.startswith(f"v{minor}.")
    assert "://" not in toolchain.LOCK.read_text()


def test_unknown_version_is_named() -> None:
    with pytest.raises(ClusterError, match=r"K8S=1.2: no such version here; there are 1.35, 1.36"):
        chosen_minor({"K8S": "1.2"})


def test_binaries_have_no_paths_of_this_machine(built: Binaries) -> None:
    """Otherwise one digest in the cache could name different files."""
    assert str(Path.home()).encode() + b"/go/pkg" not in built.etcd.read_bytes()


def _lines(directory: Path) -> list[str]:
    return [
        line for name in ("go.mod", "go.sum") for line in (directory / name).read_text().split("\n")
    ]
