"""The pod's first process reports the pipeline's end in its exit code and last message."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import stand_in
from stand_in import stand_in_plan

from fulcrum_pipelines.compiled import Part
from fulcrum_pipelines.errors import FailureClass
from fulcrum_pipelines.runner.exit_codes import EXIT_CODES, NO_EVIDENCE, LastWords, last_words
from fulcrum_pipelines.storage.store import Store

PROGRAM = Path(stand_in.__file__).with_name("pod_stand_in.py")
TIMEOUT_S = 60.0


class Pod:
    """A pod over the stand-in pipeline."""

    def __init__(self, directory: Path, digest: str, part: Part = "all") -> None:
        self.last_message = directory / f"message-{part}"
        self.process = subprocess.Popen(
            [
                *(sys.executable, str(PROGRAM), str(self.last_message)),
                *("--plan", digest, "--part", part, "--work-dir", str(directory)),
            ],
            env={**os.environ, "FULCRUM_STORE": str(directory / "store")},
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def end(self) -> tuple[int, LastWords | None]:
        """Return exit code and last words."""
        code = self.process.wait(TIMEOUT_S)
        text = self.last_message.read_text() if self.last_message.exists() else ""
        return code, last_words(text)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(str(tmp_path / "store"))


@pytest.mark.parametrize(
    ("behaviour", "code", "reason", "failure_class"),
    [
        pytest.param("succeed", 0, None, None, id="all evidence is there"),
        pytest.param("fail", EXIT_CODES["user"], "StageFailed", "user", id="the user's fault"),
        pytest.param(
            "broken", EXIT_CODES["infrastructure"], "StageFailed", "infrastructure", id="disk full"
        ),
        pytest.param("no-evidence", NO_EVIDENCE, "NoEvidence", "infrastructure", id="exit 0"),
        pytest.param("early-end", NO_EVIDENCE, "NoEvidence", "infrastructure", id="stages missing"),
    ],
)
def test_exit_code_encodes_the_class(
    store: Store,
    tmp_path: Path,
    behaviour: str,
    code: int,
    reason: str | None,
    failure_class: FailureClass | None,
) -> None:
    found, words = Pod(tmp_path, store.put_record(stand_in_plan(behaviour))).end()
    assert found == code
    assert (words and words.reason, words and words.failure_class) == (reason, failure_class)


def test_parts_pass_results_through_the_store(store: Store, tmp_path: Path) -> None:
    plan = stand_in_plan("succeed")
    digest = store.put_record(plan)
    assert Pod(tmp_path, digest, "compute").end() == (0, None)
    assert store.evidence(plan.run) is None
    assert Pod(tmp_path, digest, "measure").end() == (0, None)
    assert store.evidence(plan.run) is not None


def test_plan_with_another_content_than_its_digest_is_not_run(store: Store, tmp_path: Path) -> None:
    plan = stand_in_plan("succeed")
    digest = store.put_record(plan)
    (path,) = (tmp_path / "store" / "objects").rglob(digest.removeprefix("sha256:"))
    path.write_bytes(path.read_bytes().replace(b"succeed", b"forged!"))
    code, words = Pod(tmp_path, digest).end()
    assert code == EXIT_CODES["infrastructure"]
    assert words is not None
    assert "corrupt" in words.message
    assert store.evidence(plan.run) is None


def test_pod_that_is_to_go_ends_at_once_as_infrastructure(store: Store, tmp_path: Path) -> None:
    plan = stand_in_plan("ignore-sigterm")
    pod = Pod(tmp_path, store.put_record(plan))
    until_s = time.monotonic() + TIMEOUT_S
    while store.stage_state(plan.run, "evaluate") is None:
        assert time.monotonic() < until_s
        time.sleep(0.05)
    pod.process.send_signal(signal.SIGTERM)
    code, words = pod.end()
    assert code == EXIT_CODES["infrastructure"]
    assert words is not None
    assert words.reason == "Stopped"


def test_pod_loads_nothing_of_the_operators_framework() -> None:
    unwanted = ("kopf", "aiohttp", "kubernetes", "kfp_server_api", "torch")
    code = (
        "import sys, fulcrum_pipelines.runner.pod;"
        f"print(*(name for name in {unwanted} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
