"""Check the repository's promises about itself."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text()


def test_operator_folder_is_no_package() -> None:
    """With an `__init__.py` it would shadow the standard library's `operator`."""
    assert not (ROOT / "operator" / "__init__.py").exists()
    import operator

    assert operator.add(1, 1) == 2


def test_readme_shows_the_manifest_of_the_demo() -> None:
    (shown,) = (
        yaml.safe_load(block)
        for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
        if "CompressionJob" in block
    )
    assert shown == yaml.safe_load((ROOT / "examples/mnist/job.yaml").read_text())


@pytest.mark.parametrize("target", re.findall(r"`make ([a-z]+)`", README))
def test_make_targets_of_the_readme_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_links_of_the_documents_lead_somewhere() -> None:
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_lock_has_hashes_and_no_addresses() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert not [line for line in lines if "://" in line or line.startswith("-")]
    pinned = [line for line in lines if re.match(r"[a-z0-9]", line)]
    assert pinned
    assert all("==" in line and line.endswith("\\") for line in pinned)


@pytest.mark.parametrize(
    ("image", "absent"),
    [
        # Typer and rich come with the package of CEL, kfp-server-api and kubernetes with kfp.
        ("components", ("kopf", "prometheus-client", "pydantic-settings")),
        ("operator", ("torch", "numpy", "onnx", "onnxruntime", "kfp")),
    ],
)
def test_image_has_nothing_of_the_other_side(image: str, absent: tuple[str, ...]) -> None:
    lock = (ROOT / "images" / "locks" / f"{image}.txt").read_text()
    packages = set(re.findall(r"^([a-z0-9._-]+)==", lock, re.MULTILINE))
    assert packages.isdisjoint(absent)
    assert "pydantic" in packages
    copied = re.findall(r"^COPY (\w+) /src/", (ROOT / image / "Containerfile").read_text(), re.M)
    assert sorted(copied) == sorted(["pipelines", image])


@pytest.mark.parametrize(
    "script",
    [
        "docs/generate.py",
        "crds/generate_types.py",
        "charts/generate.py",
        "components/kubeflow/generate.py",
    ],
)
def test_generated_files_are_fresh(script: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / script), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("module", ["torch", "onnxruntime", "onnx", "numpy", "kfp"])
def test_command_line_does_not_load(module: str) -> None:
    """The operator's image has none of these, and `--help` must not wait for them."""
    assert importlib.util.find_spec(module)
    code = (
        "import sys, fulcrum_operator.cli.main as main, fulcrum_operator.cli.local_run,"
        " fulcrum_pipelines.validation, fulcrum_pipelines.gates, fulcrum_pipelines.report;"
        f"sys.exit({module!r} in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
