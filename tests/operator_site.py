"""A namespace with operators that look after it, and with the runs that they start."""

from __future__ import annotations

import secrets
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml
from cluster.control_plane import ControlPlane
from operators import START_TIMEOUT_S, Jobs, OperatorProcess, wait_until

from fulcrum_operator.cli.report import stored_at
from fulcrum_pipelines.report.files import fetch_report
from fulcrum_pipelines.storage.store import Store


@dataclass
class Site:
    """One namespace; its operators share store, work directory and Lease.

    Attributes:
        plane: The control plane.
        namespace: The namespace.
        directory: For everything that is not in the API server.
    """

    plane: ControlPlane
    namespace: str
    directory: Path
    operators: list[OperatorProcess] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Let operators use a Lease of this namespace's own; their role names the cluster's."""
        self.jobs = Jobs(self.plane.kubectl, self.namespace)
        self.lease = f"fulcrum-{self.namespace}"
        self._signs.mkdir(parents=True)
        here = ("-n", "fulcrum-system")
        kubectl, account = self.plane.kubectl, "fulcrum-system:fulcrum-operator"
        of = ("--resource=leases.coordination.k8s.io", f"--resource-name={self.lease}")
        kubectl("create", "role", self.lease, "--verb=get,update,patch", *of, *here)
        bound = (f"--role={self.lease}", f"--serviceaccount={account}")
        kubectl("create", "rolebinding", self.lease, *bound, *here)
        self._token = self.plane.token_kubeconfig("fulcrum-system", "fulcrum-operator")

    @property
    def _signs(self) -> Path:
        return self.directory / "signs"

    def new_operator(
        self, name: str = "one", kubeconfig: Path | None = None, **changes: Any
    ) -> OperatorProcess:
        """Make an operator, without starting it; `changes` are merged into its settings."""
        directory = self.directory / f"operator-{name}"
        directory.mkdir()
        settings = {
            "identity": name,
            "namespaces": [self.namespace],
            "kubeconfig": str(kubeconfig or self._token),
            "store": f"file://{self.directory / 'store'}",
            "source_root": "file:///sources",
            "log_format": "text",
            "http": {"port": 0},
            "process": {"work_root": str(self.directory / "work"), "max_running": 4},
            "election": {
                "lease_name": self.lease,
                "lease_duration_s": 4.0,
                "renew_every_s": 1.0,
                "margin_s": 1.0,
            },
            "reconcile": {"poll_s": 0.2, "sweep_every_s": 1.0, "first_backoff_s": 0.2},
        }
        config = directory / "settings.yaml"
        config.write_text(yaml.safe_dump(_merged(settings, changes)))
        made = OperatorProcess(directory, config, {"STAND_IN_DIRECTORY": str(self._signs)})
        self.operators.append(made)
        return made

    def let_go(self, name: str) -> None:
        """Let the run of a job that waits go on."""
        (self._signs / f"go-{name}").touch()

    def starts(self, name: str = "") -> Counter[str]:
        """Return how often each run was started, those of one job or all, by key."""
        pattern = f"started-{name}-[0-9a-f]*" if name else "started-*"
        names = (path.name for path in self._signs.glob(pattern))
        return Counter(each.removeprefix("started-").rpartition("-")[0] for each in names)

    def runs_now(self, name: str) -> None:
        """Wait until a job runs, and the stand-in works for it."""
        self.jobs.reaches(name, "Running")
        wait_until(lambda: self.starts(name).total() > 0, START_TIMEOUT_S)

    def runs(self) -> list[psutil.Process]:
        """Return the processes of runs that are there."""
        store = f"file://{self.directory / 'store'}"
        return [each for each in psutil.process_iter(["cmdline"]) if _works_with(each, store)]

    def close(self) -> None:
        """End all operators and runs."""
        for operator in self.operators:
            operator.stop(signal.SIGKILL)
        for process in self.runs():
            process.kill()


def open_site(plane: ControlPlane, directory: Path) -> Site:
    """Return a site in a new namespace."""
    namespace = f"test-{secrets.token_hex(4)}"
    plane.kubectl("create", "namespace", namespace)
    return Site(plane, namespace, directory)


def promoting_job(site: Site, name: str, **spec: Any) -> str:
    """Create a job and the channel that it moves."""
    site.jobs.create("ModelChannel", name, {"description": "production"})
    return site.jobs.apply(name, promotion={"channel": name, "mode": "Automatic"}, **spec)


def check_promoted(site: Site, name: str, *, attempts: int = 1) -> None:
    """Nothing of the job happened twice, and everything did."""
    job = site.jobs.get(name)
    status, uid = job["status"], job["metadata"]["uid"]
    assert status["phase"] == "Succeeded"
    assert "finalizers" not in job["metadata"]
    keys = [f"{name}-{uid[:12]}-{number}" for number in range(1, attempts + 1)]
    assert site.starts(name) == dict.fromkeys(keys, 1)
    assert status["attempt"] == attempts
    (promotion,) = site.jobs.promotions_of(name)
    assert promotion["status"]["phase"] == "Promoted"
    assert site.jobs.reasons(promotion["metadata"]["name"], "ModelPromotion") == ["Promoted"]
    channel = site.jobs.status(name, "ModelChannel")
    assert channel["moves"] == 1
    assert [each["promotion"] for each in channel["history"]] == [promotion["metadata"]["name"]]
    assert channel["current"]["digest"] == status["candidate"]["digest"]
    check_reported(job)


def check_reported(job: dict[str, Any]) -> None:
    """The report is where the status says, and is that of the evidence."""
    url, run = stored_at(job)
    store, path = Store(url), f"runs/{run}/report.html"
    assert job["status"]["report"] == store.locate(path)
    page = store.read(path)
    assert page is not None
    store.delete(path)
    assert fetch_report(store, run) == page
    store.write(path, page)


def _works_with(process: psutil.Process, store: str) -> bool:
    return store in (process.info["cmdline"] or ())


def _merged(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {
        **settings,
        **{
            name: {**settings.get(name, {}), **value} if isinstance(value, dict) else value
            for name, value in changes.items()
        },
    }
