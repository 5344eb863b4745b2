"""Helm is the pinned one, and is built only if that was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from helm.building import cached, module
from helm.running import Helm


def test_module_pins_names_and_hashes_only() -> None:
    texts = [(module().directory / name).read_text() for name in ("go.mod", "go.sum")]
    assert not any("://" in text or "replace" in text for text in texts)
    assert f"helm.sh/helm/v4 {module().version} h1:" in texts[1]


def test_helm_is_of_the_pinned_version(helm: Helm) -> None:
    minor = module().version.rpartition(".")[0]
    assert helm("version", "--template", "{{.Version}}").startswith(minor)


def test_nothing_is_built_by_looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cached() is None
    assert list(tmp_path.rglob("*")) == []
