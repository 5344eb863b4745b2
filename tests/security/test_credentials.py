"""A model's code cannot read the store's credentials from a process beside it.

Both run in separate name spaces, as in a pod, without root's right to read every process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.bundles import hostile

from fulcrum_pipelines.runner.isolation import without_secrets
from fulcrum_pipelines.storage.store import Store, object_path
from security.namespaces import AS_IN_A_POD, THE_NODES, needs_root
from security.supervised import ARTIFACT, CONTENT, ROUNDS

TESTS = Path(__file__).parents[1]
pytestmark = pytest.mark.timeout(450)

SECRETS = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "of-the-store"}


def log_of(how: str, directory: Path) -> str:
    """Return what the hostile code prints where it is `protected` or `open`."""
    store = Store(str(directory / "s3/bucket/fulcrum"))
    store.write("runs/other-1/evidence.json", b"{}")
    store.write(object_path(ARTIFACT), CONTENT)
    (home := directory / "home").mkdir()
    places = {"HOME": str(home), "TMPDIR": str(directory), "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-m", "security.supervised", how, str(directory)]
    done = subprocess.run(
        [*AS_IN_A_POD, *command],
        env={**os.environ, **SECRETS, **places},
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@needs_root
def test_a_models_code_gets_nowhere(tmp_path: Path) -> None:
    got = hostile.got(log_of("protected", tmp_path), ROUNDS)
    assert {name: what for name, what in got.items() if name not in THE_NODES} == {}
    store = tmp_path / "s3/bucket/fulcrum"
    assert (store / "runs/other-1/evidence.json").read_bytes() == b"{}"
    assert (store / object_path(ARTIFACT)).read_bytes() == CONTENT


@needs_root
def test_the_same_code_beside_credentials_gets_them(tmp_path: Path) -> None:
    """Or the test above would say nothing."""
    got = hostile.got(log_of("open", tmp_path), ROUNDS)
    assert got.keys() >= {
        "own environment",
        "others' environments",
        "others' memory",
        "tracing the supervisor",
        "others' open files",
        "listing all runs",
        "another run's evidence",
        "writing another run's evidence",
        "another artifact under its name",
        "removing an artifact",
        "modules planted before",
        "a process left behind before",
    }


def test_what_is_secret_by_its_name() -> None:
    secret = ("AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "FSSPEC_S3_KEY", "KUBERNETES_SERVICE_HOST",
              "GOOGLE_APPLICATION_CREDENTIALS", "HF_TOKEN", "db_password", "AZURE_STORAGE_KEY",
              "SOME_API_KEY", "KUBECONFIG")  # fmt: skip
    harmless = ("PATH", "HOME", "TMPDIR", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "LANG",
                "NVIDIA_DRIVER_CAPABILITIES", "FULCRUM_STORE", "MY_DATA")  # fmt: skip
    assert without_secrets(dict.fromkeys((*secret, *harmless), "x")) == dict.fromkeys(harmless, "x")
