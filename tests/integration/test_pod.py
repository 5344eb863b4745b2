"""Run a pod's command as a process with real stages: its exit codes, parts and resumption.

An attempt that the cluster ended leaves its finished stages and epochs in the store; the next
attempt, on any machine, begins after them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders.plans import make_spec
from model_files import examples, write_bundle

from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.runner.exit_codes import EXIT_CODES
from fulcrum_pipelines.runner.results import part_status
from fulcrum_pipelines.storage.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EPOCHS = 12
TIMEOUT_S = 240.0


@dataclass(frozen=True)
class Pods:
    """Runs pods over one store."""

    directory: Path
    store: Store

    def plan(self, attempt: int = 1, **changes: Any) -> Plan:
        """Return a plan of training and quantizing a linear classifier."""
        data = {name: {"uri": f"{self.directory}/{name}.npz"} for name in ("train", "validation")}
        fields: dict[str, Any] = {
            "model": {"uri": str(self.directory / "model")},
            "data": {"task": "classification", **data, "test": data["validation"]},
            "recipe": {
                "finetune": {"epochs": EPOCHS, "batchSize": 1},
                "quantize": {"method": "dynamic"},
            },
            "measure": {"batchSizes": [1], "pairs": 200},
        }
        spec = make_spec(**{**fields, **changes})
        return Plan(name="linear", uid="0" * 36, attempt=attempt, spec=spec, fulcrum_version="0")

    def start(self, plan: Plan, part: str = "all") -> subprocess.Popen[str]:
        """Start a pod that runs `part` of `plan`."""
        scratch = self.directory / f"scratch-{plan.attempt}-{part}"
        scratch.mkdir()
        digest = self.store.put_record(plan)
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "fulcrum_pipelines.runner.pod"),
                *("--plan", digest, "--part", part, "--work-dir", str(scratch)),
            ],
            env={**os.environ, "FULCRUM_STORE": self.store.url, "TMPDIR": str(scratch)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, plan: Plan, part: str = "all") -> tuple[int, str]:
        """Run a pod to its end; return its exit code and what it printed."""
        with self.start(plan, part) as process:
            out, _ = process.communicate(timeout=TIMEOUT_S)
        return process.returncode, out


@pytest.fixture(scope="module")
def pods(tmp_path_factory: pytest.TempPathFactory) -> Pods:
    """A model, its data and a store."""
    directory = tmp_path_factory.mktemp("pods")
    write_bundle(directory / "model")
    for name, count in (("train", 300), ("validation", 200)):
        np.savez(directory / f"{name}.npz", **examples(count, seed=count))
    return Pods(directory, Store(f"file://{directory}/store"))


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until_s
        time.sleep(0.05)


def test_preempted_attempt_is_taken_up_where_it_was_and_measured_apart(pods: Pods) -> None:
    first, second = pods.plan(1), pods.plan(2)
    with pods.start(first, "compute") as process:
        wait_for(lambda: pods.store.names("checkpoints") != (), process)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == EXIT_CODES["infrastructure"], out

    code, out = pods.run(second, "compute")
    assert code == 0, out
    evaluate = pods.store.stage_evidence(second.run, "evaluate")
    finetune = pods.store.stage_evidence(second.run, "finetune")
    assert evaluate is not None
    assert finetune is not None
    assert evaluate.cached_from == first.run
    assert finetune.details.kind == "finetune"
    assert (finetune.details.resumed_from_epoch or 0) >= 1
    assert len(finetune.details.epochs) == EPOCHS
    assert pods.store.evidence(second.run) is None

    code, out = pods.run(second, "measure")
    assert code == 0, out
    digest = pods.store.put_record(second)
    assert part_status(pods.store, second, digest, "measure").state == "Succeeded"


def test_part_without_the_one_before_it_ends_with_its_class(pods: Pods) -> None:
    code, out = pods.run(pods.plan(3), "measure")
    assert code == EXIT_CODES["infrastructure"], out
    assert "no evidence of stage" in out
