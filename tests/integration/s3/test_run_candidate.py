"""`fulcrum run` says Pass of no candidate that is damaged or missing in a bucket."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harmed_runs import fulcrum_run
from harms import TO_CANDIDATE, Harm

from fulcrum_pipelines.storage.store import Store


@pytest.mark.parametrize("harm", TO_CANDIDATE, ids=lambda harm: harm.__name__)
def test_candidate_is_read_from_the_bucket(
    monkeypatch: pytest.MonkeyPatch, store: Store, tmp_path: Path, harm: Harm
) -> None:
    ended = fulcrum_run(monkeypatch, store, tmp_path, harm, 100, "json", backoffLimit=0)
    assert ended.exit_code == 1, ended.output
    assert "Pass" not in ended.output
    assert json.loads(ended.stdout)["outcome"] == "Failed"
    again = fulcrum_run(monkeypatch, store, tmp_path, harm, 1, "json", backoffLimit=1)
    assert again.exit_code == 0, again.output
    result = json.loads(again.stdout)
    assert (result["outcome"], result["run"][-2:]) == ("Pass", "-2")
    assert store.verify(result["candidate"]["digest"]) == result["candidate"]["size_bytes"]
