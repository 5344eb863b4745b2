"""The operator with its store on a real S3 server: what it reads, and what it makes of trouble."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from cluster.control_plane import ControlPlane
from cluster.processes import this_process
from operator_site import Site, check_promoted, open_site, promoting_job
from operators import OperatorProcess, wait_until
from s3.accounts import Keys
from s3.building import server_binary
from s3.server import Server
from typer.testing import CliRunner, Result

from fulcrum_operator.cli.main import app
from fulcrum_operator.cli.refusals import CommandError
from fulcrum_pipelines.storage.s3 import BoundedS3
from fulcrum_pipelines.storage.store import PATIENCE, Store, object_path

pytestmark = pytest.mark.timeout(600)  # the server may have to be built first

WAIT_S = 90.0
BUCKET = "fulcrum"


@dataclass(frozen=True)
class Remote:
    """A namespace whose operator keeps everything in a bucket.

    Attributes:
        site: The namespace.
        server: Of S3.
        operator: With the rights of the bucket's owner.
    """

    site: Site
    server: Server
    operator: OperatorProcess

    @property
    def url(self) -> str:
        return f"s3://{BUCKET}/{self.site.namespace}"

    def object_file(self, digest: str) -> Path:
        """Return the file on the server's disk of an artifact."""
        return self.server.file(f"{self.url}/{object_path(digest)}")

    def visible(self, name: str) -> str:
        """Return everything that a reader of the API finds about a job."""
        return json.dumps([self.site.jobs.get(name), self.site.jobs.events(name)])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that all tests share, with one bucket."""
    made = Server(tmp_path_factory.mktemp("s3"), server_binary(), owner=this_process())
    made.start()
    made.make_bucket(BUCKET)
    yield made
    made.stop()


@pytest.fixture
def remote(
    control_plane: ControlPlane,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Remote]:
    """A namespace with an operator that is not started; checks that no secret is left anywhere."""
    for name, value in {**server.environment(), PATIENCE: "60"}.items():
        monkeypatch.setenv(name, value)
    BoundedS3.clear_instance_cache()
    site = open_site(control_plane, tmp_path)
    made = Remote(site, server, new_operator(site, server))
    try:
        yield made
    finally:
        if not server.is_up():
            server.start()
        made.operator.stop()
        site.close()
        for process in psutil.process_iter(["cmdline"]):
            if made.url in (process.info["cmdline"] or ()):
                process.kill()
        control_plane.kubectl("delete", "namespace", site.namespace, "--wait=false")
    assert "defect" not in made.operator.log
    for path in (*tmp_path.rglob("*"), *server.file(f"s3://{BUCKET}").rglob("*")):
        if path.is_file():
            assert server.accounts.owner.secret.encode() not in path.read_bytes(), path


def new_operator(
    site: Site, server: Server, name: str = "one", keys: Keys | None = None
) -> OperatorProcess:
    made = site.new_operator(name, store=f"s3://{BUCKET}/{site.namespace}")
    made.environment.update(server.environment(keys))
    return made


def test_job_is_judged_and_promoted_from_the_bucket(remote: Remote) -> None:
    remote.operator.start()
    site, name = remote.site, promoting_job(remote.site, "succeed")
    status = site.jobs.ended(name)
    check_promoted(site, name)
    store = Store(remote.url)
    assert status["candidate"]["uri"] == store.locate(object_path(status["candidate"]["digest"]))
    assert status["evidence"]["uri"].startswith(f"{remote.url}/runs/")
    assert store.is_intact(status["candidate"]["digest"])
    assert not (site.directory / "store").exists()


def fetch(remote: Remote, name: str, target: Path) -> Result:
    """Run `fulcrum report` for a job, as a user with the test's keys."""
    kubeconfig = str(remote.site.plane.admin_kubeconfig)
    where = ("-n", remote.site.namespace, "--kubeconfig", kubeconfig)
    return CliRunner().invoke(app, ["report", name, *where, "-o", str(target)])


def test_report_is_fetched_from_the_bucket_also_after_a_crash(
    remote: Remote, tmp_path: Path
) -> None:
    site, target = remote.site, tmp_path / "report.html"
    name = promoting_job(site, "wait.reported")
    remote.operator.start()
    site.runs_now(name)
    early = fetch(remote, name, target).exception
    assert isinstance(early, CommandError)
    assert "has no verdict yet" in str(early)
    remote.operator.order("KILL", "verdict-written")
    site.let_go(name)
    remote.operator.wait_for_kill()
    assert "report" not in site.jobs.status(name)
    remote.operator.start()
    status = site.jobs.ended(name, WAIT_S)
    check_promoted(site, name)
    assert status["report"] == f"{remote.url}/runs/{status['run']['key']}/report.html"
    described = site.plane.kubectl("describe", "compressionjob", name, "-n", site.namespace)
    assert ["Report:", status["report"]] in [line.split() for line in described.splitlines()]
    assert fetch(remote, name, target).exit_code == 0
    assert target.read_bytes() == remote.server.file(status["report"]).read_bytes()
    missing = fetch(remote, "absent", target).exception
    assert "there is no CompressionJob absent" in str(missing)
    assert "no file or folder of that name" in str(missing)


def test_damaged_candidate_is_made_again_and_never_promoted(remote: Remote) -> None:
    site = remote.site
    name = promoting_job(site, "wait.damaged")
    remote.operator.start()
    site.runs_now(name)
    remote.operator.stop()  # so that the run ends unseen
    site.let_go(name)
    store = Store(remote.url)
    key = next(iter(site.starts(name)))
    wait_until(lambda: store.evidence(key) is not None, WAIT_S)
    digest = Store(remote.url).evidence(key).stage("quantize").outputs[0].digest  # type: ignore[union-attr]
    remote.object_file(digest).write_bytes(b"damaged")
    remote.operator.start()
    status = site.jobs.ended(name, WAIT_S)
    assert status["failures"] == {"evidence": 1}
    assert any(f"artifact {digest} is corrupt" in message for _, message in site.jobs.events(name))
    check_promoted(site, name, attempts=2)
    assert store.is_intact(digest)


def test_server_that_is_away_stops_nothing(remote: Remote) -> None:
    site, operator = remote.site, remote.operator
    operator.start()
    name = promoting_job(site, "wait.away")
    site.runs_now(name)
    remote.server.stop()
    site.let_go(name)
    later = promoting_job(site, "succeed.later")
    wait_until(lambda: "ReconcileError" in site.jobs.reasons(later), WAIT_S)
    message = dict(site.jobs.events(later))["ReconcileError"]
    assert f"no answer at {remote.server.url}" in message
    assert remote.url in message
    assert operator.get("healthz")[0] == operator.get("readyz")[0] == 200
    remote.server.start()
    for each in (name, later):
        site.jobs.ended(each, WAIT_S)
        check_promoted(site, each)


def test_silent_server_does_not_hold_the_event_loop(remote: Remote) -> None:
    site, operator = remote.site, remote.operator
    operator.environment["FSSPEC_S3"] = json.dumps({"config_kwargs": {"read_timeout": 2}})
    operator.start()
    names = [promoting_job(site, f"wait.silent-{number}") for number in range(4)]
    for name in names:
        site.runs_now(name)
    lease = (
        "get",
        "lease",
        site.lease,
        "-n",
        "fulcrum-system",
        "-o=jsonpath={.spec.leaseTransitions}",
    )
    before = site.plane.kubectl(*lease)
    with remote.server.hanging():
        more = [promoting_job(site, f"succeed.silent-{number}") for number in range(8)]
        for name in names:
            site.let_go(name)
        wait_until(
            lambda: all("ReconcileError" in site.jobs.reasons(each) for each in names), WAIT_S
        )
        assert operator.get("healthz")[0] == operator.get("readyz")[0] == 200
    for name in (*names, *more):
        site.jobs.ended(name, WAIT_S)
        check_promoted(site, name)
    assert site.plane.kubectl(*lease) == before


@pytest.mark.parametrize("trouble", ["no-rights", "no-bucket"])
def test_store_error_is_reported_at_the_job(remote: Remote, trouble: str) -> None:
    site, server = remote.site, remote.server
    if trouble == "no-rights":
        operator = new_operator(site, server, "other", server.accounts.reader)
        expected = f"access was denied at {server.url}"
    else:
        operator = site.new_operator("other", store="s3://nowhere-at-all/store")
        operator.environment.update(server.environment())
        expected = f"there is no bucket 'nowhere-at-all' at {server.url}"
    operator.start()
    name = promoting_job(site, "succeed")
    wait_until(lambda: "ReconcileError" in site.jobs.reasons(name), WAIT_S)
    assert expected in dict(site.jobs.events(name))["ReconcileError"]
    assert site.jobs.status(name)["phase"] not in ("Succeeded", "Failed")
    for keys in (server.accounts.owner, server.accounts.reader):
        assert keys.secret not in remote.visible(name) + operator.log
    operator.stop()
    remote.operator.start()
    site.jobs.ended(name, WAIT_S)
    check_promoted(site, name)
