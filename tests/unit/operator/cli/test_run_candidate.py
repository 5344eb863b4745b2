"""`fulcrum run` says Pass of a candidate that it has read from the store, and of no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harmed_runs import fulcrum_run
from harms import HARMS, TO_CANDIDATE, Harm

from fulcrum_pipelines.storage.store import Store


@pytest.fixture(params=["directory", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store, on disk and behind a URL."""
    return Store(
        {"directory": str(tmp_path / "store"), "memory": f"memory://{tmp_path.name}"}[request.param]
    )


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_harmed_results_never_pass(
    monkeypatch: pytest.MonkeyPatch, store: Store, tmp_path: Path, harm: Harm
) -> None:
    ended = fulcrum_run(monkeypatch, store, tmp_path, harm, 100, "json", backoffLimit=0)
    assert ended.exit_code == 1, ended.output
    assert "Pass" not in ended.output
    run, *others = store.names("runs")
    assert others == []
    assert not {"verdict.json", "report.html", "candidate.onnx"} & set(store.names(f"runs/{run}"))
    assert f"run {run} failed" in ended.stderr
    result = json.loads(ended.stdout)
    assert (result["outcome"], result["verdict"], result["candidate"]) == ("Failed", None, None)


@pytest.mark.parametrize("harm", TO_CANDIDATE, ids=lambda harm: harm.__name__)
def test_results_that_were_harmed_are_made_again(
    monkeypatch: pytest.MonkeyPatch, store: Store, tmp_path: Path, harm: Harm
) -> None:
    ended = fulcrum_run(monkeypatch, store, tmp_path, harm, 1, "json")
    assert ended.exit_code == 0, ended.output
    result = json.loads(ended.stdout)
    assert result["outcome"] == "Pass"
    assert result["run"].endswith("-2")
    assert store.verify(result["candidate"]["digest"]) == result["candidate"]["size_bytes"]


def test_attempts_that_stay_harmed_end(
    monkeypatch: pytest.MonkeyPatch, store: Store, tmp_path: Path
) -> None:
    ended = fulcrum_run(monkeypatch, store, tmp_path, HARMS[0], 100, backoffLimit=5)
    assert ended.exit_code == 1
    assert ended.stdout == ""
    assert "(BackoffLimitExceeded)" in ended.stderr
    assert "is missing (after 2 failures of class evidence)" in ended.stderr
    assert len(store.names("runs")) == 2
