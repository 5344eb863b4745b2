"""`fulcrum run` with model, data and store on a real S3 server, which may be away for a while."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import yaml
from cluster.installing import ROOT
from s3.server import Server

from fulcrum_components.sources.fetching import MissingError, fetch
from fulcrum_pipelines.errors import FulcrumError, UserError
from fulcrum_pipelines.evidence import Evidence, ValidateDetails
from fulcrum_pipelines.storage.remote import UnreachableError
from fulcrum_pipelines.storage.store import PATIENCE, Store, object_path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DIGITS = ROOT / "examples" / "digits"
SPLITS = ("train", "validation", "test")
RECIPE: dict[str, Any] = {"quantize": {"method": "dynamic"}}
AWAY_S = 5.0
GATES = [
    {"name": "accuracy", "kind": "nonInferiority", "metric": "accuracy", "margin": 0.1},
    {"name": "size", "kind": "size", "max": 0.8},
]


@dataclass(frozen=True)
class Project:
    """A job whose model and data are in a bucket, beside its store.

    Attributes:
        directory: Where `fulcrum` is called.
        bucket: URL of the bucket.
    """

    directory: Path
    bucket: str

    @property
    def store_url(self) -> str:
        return f"{self.bucket}/store"

    def start(self, *arguments: str, **changes: Any) -> subprocess.Popen[str]:
        """Call `fulcrum run` with some of the specification changed."""
        spec: dict[str, Any] = {
            "model": {"uri": f"{self.bucket}/models/digits"},
            "data": {
                "task": "classification",
                **{split: {"uri": f"{self.bucket}/data/{split}.npz"} for split in SPLITS},
            },
            "recipe": RECIPE,
            "gates": GATES,
            "measure": {"batchSizes": [1], "pairs": 200},
            "backoffLimit": 0,
            **changes,
        }
        manifest = self.directory / "job.yaml"
        head = {"apiVersion": "fulcrum.dev/v1alpha1", "kind": "CompressionJob"}
        manifest.write_text(yaml.safe_dump({**head, "metadata": {"name": "digits"}, "spec": spec}))
        command = [sys.executable, "-m", "fulcrum_operator.cli.main", "run", str(manifest)]
        return subprocess.Popen(
            [*command, "--store", self.store_url, "--output", "json", *arguments],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **changes: Any) -> tuple[int, str, str]:
        """Call it, and return exit code, output and complaints at its end."""
        return ended(self.start(*arguments, **changes))


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    assert "Traceback" not in out + err
    return process.returncode, out, err


@pytest.fixture(scope="module")
def bucket(shared: Server) -> str:
    """A bucket with the digits example, for all tests of this file."""
    url = shared.make_bucket("digits-example")
    keys = shared.accounts.owner
    filesystem = fsspec.filesystem(
        "s3", endpoint_url=shared.url, key=keys.access, secret=keys.secret
    )
    for path in (DIGITS / "model").iterdir():
        if path.is_file():
            filesystem.put_file(str(path), f"{url}/models/digits/{path.name}")
    load = runpy.run_path(str(DIGITS / "data.py"))["load"]
    for split in SPLITS:
        with filesystem.open(f"{url}/data/{split}.npz", "wb") as file:
            np.savez(file, **load(split))
    return url


@pytest.fixture
def project(tmp_path: Path, bucket: str, be: Callable[..., None]) -> Project:
    """The job of this file."""
    return Project(tmp_path, bucket)


@pytest.fixture
def no_secret_is_left(server: Server, tmp_path: Path) -> Iterator[None]:
    """Look for the server's secrets in all that the test leaves on disk and in the bucket."""
    yield
    secrets = [keys.secret.encode() for keys in (server.accounts.owner, server.accounts.reader)]
    for root in (tmp_path, server.file("s3://digits-example")):
        for path in root.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert not any(secret in content for secret in secrets), path


def test_whole_job_outlasts_a_restart_of_the_server(
    project: Project, server: Server, no_secret_is_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATIENCE, "120")
    store = Store(project.store_url)
    process = project.start()
    until(lambda: store.names("runs"), process)
    (run,) = store.names("runs")
    until(lambda: store.stage_state(run, "evaluate"), process)
    server.kill()
    time.sleep(AWAY_S)
    server.start()
    code, out, err = ended(process)
    assert code == 0, err
    assert "the run goes on" in err
    result = json.loads(out)
    assert (result["run"], result["outcome"]) == (run, "Pass")
    evidence = store.evidence(run)
    assert evidence is not None
    outputs = [output for stage in evidence.stages for output in stage.outputs]
    assert {candidate_of(evidence), evidence.stages[0].outputs[0].digest} <= {
        output.digest for output in outputs
    }
    for output in outputs:
        assert store.verify(output.digest) == output.size_bytes
    candidate = candidate_of(evidence)
    assert result["candidate"]["path"] == f"{project.store_url}/{object_path(candidate)}"
    names = {"evidence.json", "plan.json", "report.html", "verdict.json"}
    assert names <= set(store.names(f"runs/{run}"))
    assert server.accounts.owner.secret not in out + err

    server.file(store.locate(object_path(candidate))).write_bytes(b"damaged")
    code, out, err = project.run()
    assert code == 0, err
    done = {stage["stage"]: stage["cached"] for stage in json.loads(out)["stages"]}
    del done["validate"]  # is repeated where a busy machine made its times unreliable
    assert done == {"evaluate": True, "quantize": False}
    assert store.is_intact(candidate)


def until(holds: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait while the run goes on."""
    while not holds():
        assert process.poll() is None, ended(process)
        time.sleep(0.2)


def candidate_of(evidence: Evidence) -> str:
    """Return the digest of what was validated."""
    stage = evidence.stage("validate")
    assert stage is not None
    assert isinstance(stage.details, ValidateDetails)
    return stage.details.candidate_model


@dataclass(frozen=True)
class Refusal:
    """A run that cannot be, and what is said of it."""

    name: str
    message: str
    changes: dict[str, Any]
    environment: dict[str, str]


REFUSALS = (
    Refusal("unknown-key", "access was denied at http://127.0.0.1:", {},
            {"AWS_ACCESS_KEY_ID": "unknown", "AWS_SECRET_ACCESS_KEY": "an-invalid-secret"}),
    Refusal("no-listener", "no answer at http://127.0.0.1:9", {},
            {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}),
    Refusal("missing-model", "spec.model.uri: nothing is at 's3://digits-example/none'",
            {"model": {"uri": "s3://digits-example/none"}}, {}),
)  # fmt: skip


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda each: each.name)
def test_refusal_is_one_line(
    project: Project, be: Callable[..., None], refusal: Refusal, no_secret_is_left: None
) -> None:
    be(**refusal.environment)
    code, out, err = project.run(**refusal.changes)
    assert code == 1, err
    assert refusal.message in err
    assert "an-invalid-secret" not in out + err


def test_missing_addresses_are_skipped_and_named(project: Project) -> None:
    """As the stage's supervisor reads them for it."""
    there, file, glob = (
        f"{project.bucket}/data/{name}.npz" for name in ("train", "none", "none-*")
    )
    data = {
        "task": "classification",
        "train": {"uris": [file, there, glob], "missing": "Skip", "minimum": 1},
        "test": {"uri": f"{project.bucket}/data/test.npz"},
    }
    code, out, err = project.run(data=data)
    assert code == 0, err
    evidence = Store(project.store_url).evidence(json.loads(out)["run"])
    assert evidence is not None
    for stage in (evidence.stages[0], evidence.stages[-1]):
        train = next(each for each in stage.data if each.data == "train")
        assert train.skipped == (file, glob)
        assert [each.address for each in train.addresses] == [there]


def test_store_that_may_only_be_read(
    project: Project, server: Server, be: Callable[..., None]
) -> None:
    be(server.accounts.reader)
    code, _, err = project.run()
    assert code == 1
    assert f"{project.store_url}: cannot " in err
    assert "access was denied" in err


def test_model_that_may_not_be_read_is_the_users_to_mend(
    server: Server, be: Callable[..., None], tmp_path: Path
) -> None:
    client = server.client()
    client.create_bucket(Bucket="private-data")
    client.put_object(Bucket="private-data", Key="x.npz", Body=b"x")
    be(server.accounts.reader)
    with pytest.raises(UserError, match=r"access to 's3://private-data/x.npz' was denied"):
        fetch("s3://private-data/x.npz", cache_dir=tmp_path, where="spec.data.test")
    with pytest.raises(UserError, match=r"nothing is at 's3://nowhere-at-all/x.npz'"):
        fetch("s3://nowhere-at-all/x.npz", cache_dir=tmp_path, where="spec.data.test")


def test_data_that_may_not_be_read_are_not_missing(
    server: Server, be: Callable[..., None], tmp_path: Path
) -> None:
    server.client().create_bucket(Bucket="private-days")
    be(server.accounts.reader)
    for name in ("x.npz", "*.npz"):
        with pytest.raises(FulcrumError) as caught:
            fetch(f"s3://private-days/{name}", cache_dir=tmp_path, where="spec.data.test")
        assert not isinstance(caught.value, MissingError), caught.value


def test_data_behind_a_server_that_is_down_are_nobodys_fault(
    server: Server, bucket: str, be: Callable[..., None], tmp_path: Path
) -> None:
    server.stop()
    with pytest.raises(UnreachableError, match=r"spec.data.test: reading 's3://.*' failed: no ans"):
        fetch(f"{bucket}/data/test.npz", cache_dir=tmp_path, where="spec.data.test")
    server.start()
    found = fetch(f"{bucket}/data/test.npz", cache_dir=tmp_path, where="")
    assert set(np.load(found)) == {"pixels", "y"}
