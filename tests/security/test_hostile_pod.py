"""The hostile bundle in a whole run, as a pod runs it: evaluated, trained, quantized and measured.

The store is a folder here, which any code of the same user can write to; what keeps it apart where
it is remote is tried beside this.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from builders.plans import make_spec
from e2e.bundles import hostile
from model_files import examples

from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.storage.store import Store
from security.namespaces import AS_IN_A_POD, THE_NODES, needs_root

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

THE_STORES = frozenset(
    (
        "listing all runs",
        "another run's evidence",
        "another run's evidence, around",
        "writing another run's evidence",
        "removing another run",
        "another artifact under its name",
        "removing an artifact",
    )
)
SECRETS = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "of-the-store"}


def plan_with(directory: Path) -> Plan:
    """Return a plan in which two stages run the hostile code."""
    what = hostile.targets(
        f"file://{directory}/store",
        other_run="runs/other-1/evidence.json",
        artifact="objects/sha256/00/0",
        api_server="127.0.0.1:6443",
        other_pod="127.0.0.1:80",
        modules=str(directory / "modules"),
        writable=f"{directory / 'scratch'}:{directory / 'home'}",
    )
    hostile.write_hostile_bundle(directory / "model", what)
    for name, count in (("train", 120), ("test", 80)):
        np.savez(directory / f"{name}.npz", **examples(count, seed=count))
    sets = {name: {"uri": f"{directory}/{name}.npz"} for name in ("train", "test")}
    spec = make_spec(
        model={"uri": str(directory / "model")},
        data={"task": "classification", **sets},
        recipe={"finetune": {"epochs": 1}, "quantize": {"method": "dynamic"}},
        measure={"batchSizes": [1], "pairs": 200, "threads": 1},
    )
    return Plan(name="hostile", uid="0" * 36, spec=spec, fulcrum_version="0")


@needs_root
def test_the_run_ends_well_and_its_model_got_nothing(tmp_path: Path) -> None:
    store, home, scratch = (
        Store(f"file://{tmp_path}/store"),
        tmp_path / "home",
        tmp_path / "scratch",
    )
    home.mkdir()
    scratch.mkdir()
    plan = plan_with(tmp_path)
    command = [sys.executable, "-m", "fulcrum_pipelines.runner.pod"]
    done = subprocess.run(
        [*AS_IN_A_POD, *command, "--plan", store.put_record(plan), "--work-dir", str(scratch)],
        env={
            **os.environ,
            **SECRETS,
            "FULCRUM_STORE": store.url,
            "HOME": str(home),
            "TMPDIR": str(scratch),
            "PYTHONSAFEPATH": "1",
            "PYTHONNOUSERSITE": "1",  # as the engine's pods have
        },
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert store.evidence(plan.run) is not None
    got = hostile.got(done.stdout, times=2)
    assert {name: what for name, what in got.items() if name not in THE_NODES | THE_STORES} == {}
