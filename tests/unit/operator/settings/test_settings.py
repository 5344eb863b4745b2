"""Settings: the promised defaults, precedence, and reports of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fulcrum_operator.settings import load_settings
from fulcrum_pipelines.errors import UserError


def test_promised_defaults() -> None:
    settings = load_settings(None)
    assert settings.namespace == "fulcrum-system"
    assert settings.election.lease_duration_s == 15.0
    assert settings.http.host == "127.0.0.1"
    assert settings.process.max_running == 1


def test_environment_goes_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("store: s3://from-file\nreconcile: {workers: 3, poll_s: 9}\n")
    monkeypatch.setenv("FULCRUM_RECONCILE__WORKERS", "5")
    settings = load_settings(path)
    assert settings.store == "s3://from-file"
    assert settings.reconcile.workers == 5
    assert settings.reconcile.poll_s == 9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("strore: x", "strore: Extra inputs are not permitted"),
        ("reconcile: {wokers: 3}", "reconcile.wokers: Extra inputs"),
        ("http: {port: 70000}", "http.port: Input should be less than or equal to 65535"),
        ("election: {lease_duration_s: 5}", "lease_duration_s must be longer than"),
        ("log_format: xml", "log_format: String should match"),
        ("- a\n- b", "must be a mapping of settings"),
        ("a: [", "cannot be read"),
    ],
)
def test_mistake_is_named_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message.replace("(", r"\(")) as caught:
        load_settings(path)
    assert str(path) in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml: cannot be read"):
        load_settings(tmp_path / "nowhere.yaml")
