"""Fulcrum as the README installs it: its own commands, on real nodes, with a real S3 server."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cluster.installing import ROOT
from helm.running import NAMESPACE as SYSTEM
from helm.value_sets import of_readme
from node.real_cluster import RealCluster
from operators import Jobs, wait_until
from s3.server import Server

TEAM = "team-a"
BUCKET = "models"
STORE = "fulcrum"
FIRST_JOB = "digits"
JOB_S = 300.0
SAY_S = 120.0
"""Until the cluster has said why something waits, and the operator has heard it."""
POD_LIMITS = {"cpu": "1", "memory": "2Gi"}
"""Limits of a pod, in place of the README's for a node with a real accelerator."""
SHIM = """\
#!{python}
import sys
sys.path[:0] = {path!r}
from installation import copy_to_bucket
copy_to_bucket(sys.argv[1:])
"""


@dataclass
class Installation:
    """The release, and the namespace of a team that uses it.

    Attributes:
        cluster: Control plane and nodes.
        store: The S3 server, which all pods reach.
        directory: Working directory of commands; it looks like a checkout with `values.yaml` in it.
        helm: The command.
    """

    cluster: RealCluster
    store: Server
    directory: Path
    helm: Path

    def __post_init__(self) -> None:
        """Lay out what the README's commands expect."""
        self.jobs = Jobs(self.cluster.kubectl, TEAM)
        for name in ("charts", "examples", ".venv"):
            (self.directory / name).symlink_to(ROOT / name)
        tools = self.directory / "tools"
        tools.mkdir()
        (tools / "helm").symlink_to(self.helm)
        (tools / "kubectl").symlink_to(self.cluster.plane.binaries.kubectl)
        aws = tools / "aws"
        aws.write_text(SHIM.format(python=sys.executable, path=sys.path))
        aws.chmod(aws.stat().st_mode | stat.S_IXUSR)

    def values(self) -> dict[str, Any]:
        """Return the README's values, with the addresses of this machine."""
        values = of_readme()
        for part, name in ((values, "operator"), (values["components"], "components")):
            part["image"] = {"repository": f"localhost/fulcrum-{name}", "tag": "dev"}
        usual = {**values["pools"]["gpu-a"], **POD_LIMITS}
        values["pools"] = {"gpu-a": usual, **_further_pools(usual)}
        host, port = self.store.url.partition("://")[2].rsplit(":", 1)
        values["networkPolicy"] = {
            "store": {"to": [{"ipBlock": {"cidr": f"{host}/32"}}], "ports": [int(port)]}
        }
        values["engines"]["job"] |= {"start_limit_s": 20.0, "scratch_size": "200Mi"}
        values["settings"] = {"log_level": "INFO"}
        return values

    def install(self) -> None:
        """Run the commands of the README's section, up to the end of its first job.

        Until then that job has the only accelerator.
        """
        (self.directory / "values.yaml").write_text(yaml.safe_dump(self.values()))
        before, _, first_job = readme_commands().partition("\n---\n")
        self.run(before)
        self.run(first_job.replace(" --watch", ""))
        self.jobs.ended(FIRST_JOB, JOB_S)

    def run(self, commands: str) -> str:
        """Run `commands` as a reader of the README would; return what they printed."""
        for known, here in self._addresses().items():
            commands = commands.replace(known, here)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self.directory,
            env={**os.environ, **self.store.environment(), **self._environment()},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def apply(self, name: str, source: Mapping[str, Any] | None = None, **spec: Any) -> str:
        """Create a job that is over in seconds, but for what `source` makes its test data do."""
        self.jobs.create("CompressionJob", name, small_job(source or {}) | spec)
        return name

    def unfinished(self) -> list[str]:
        """Return the jobs that are not over."""
        items = self.jobs.items()
        ended = "completionTime"
        return [e["metadata"]["name"] for e in items if ended not in (e.get("status") or {})]

    def pods(self, job: str) -> list[dict[str, Any]]:
        """Return the existing pods of a job, the oldest first."""
        selector = f"--selector=fulcrum.dev/job={job}"
        listed = self.cluster.kubectl("get", "pods", f"-n={TEAM}", selector, "--output=json")
        items = json.loads(listed)["items"]
        return sorted(items, key=lambda item: str(item["metadata"]["creationTimestamp"]))

    def pod_works(self, job: str, attempt: int = 1, timeout_s: float = 120.0) -> str:
        """Wait until the pod of an attempt is in the midst of a stage; return its name."""

        def working() -> bool:
            status = self.jobs.status(job)
            going = [each for each in status.get("stages") or () if each["state"] == "Running"]
            return status.get("attempt") == attempt and bool(going)

        wait_until(working, timeout_s, lambda: json.dumps(self.jobs.status(job), indent=1))
        return str(self.pods(job)[-1]["metadata"]["name"])

    def holder(self) -> str:
        """Return who holds the Lease of the operators, or nothing."""
        words = ("get", "lease", f"-n={SYSTEM}", "--output=json")
        (lease,) = json.loads(self.cluster.kubectl(*words))["items"]
        return str(lease["spec"].get("holderIdentity") or "")

    def leader(self) -> str:
        """Return the name of the operator's pod that leads."""
        return self.holder().rpartition("_")[0]

    def metrics(self) -> str:
        """Return the leading operator's metrics."""
        fetch = (
            "import urllib.request as r;"
            "print(r.urlopen('http://127.0.0.1:8080/metrics').read().decode())"
        )
        return self.cluster.kubectl(
            "exec", self.leader(), f"-n={SYSTEM}", "--", "python", "-c", fetch
        )

    def objects(self, prefix: str) -> list[str]:
        """Return the keys in the bucket under `prefix`."""
        root = self.store.file(f"s3://{BUCKET}")
        return [str(p.relative_to(root)) for p in sorted((root / prefix).rglob("*")) if p.is_file()]

    @contextmanager
    def store_away(self, seconds: float) -> Iterator[None]:
        """Stop the S3 server for at least `seconds`."""
        self.store.stop()
        until_s = time.monotonic() + seconds
        try:
            yield
            time.sleep(max(0.0, until_s - time.monotonic()))
        finally:
            self.store.start()

    def _addresses(self) -> dict[str, str]:
        owner = self.store.accounts.owner
        return {
            "AWS_ACCESS_KEY_ID=...": f"AWS_ACCESS_KEY_ID={owner.access}",
            "AWS_SECRET_ACCESS_KEY=...": f"AWS_SECRET_ACCESS_KEY={owner.secret}",
            "https://s3.example": self.store.url,
        }

    def _environment(self) -> dict[str, str]:
        return {
            "KUBECONFIG": str(self.cluster.plane.admin_kubeconfig),
            "PATH": f"{self.directory / 'tools'}:{os.environ['PATH']}",
            **{f"HELM_{what}_HOME": str(self.directory) for what in ("CACHE", "CONFIG", "DATA")},
        }


def readme_commands() -> str:
    """Return the commands of the README's section, its blocks parted by a line `---`."""
    text = (ROOT / "README.md").read_text()
    section = text.split("## Install on your cluster")[1].split("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    return "\n---\n".join(re.sub(r"(?m)^\$ ", "", block) for block in blocks)


def copy_to_bucket(words: list[str]) -> None:
    """Do what `aws s3 cp [--recursive] SOURCE s3://BUCKET/KEY` does; nodes need no such tool."""
    assert words[:2] == ["s3", "cp"], words
    source, target = (each for each in words[2:] if not each.startswith("--"))
    bucket, _, key = target.removeprefix("s3://").partition("/")
    import botocore.session

    client = botocore.session.get_session().create_client("s3")
    path = Path(source)
    files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
    for file in files:
        name = str(file.relative_to(path)) if path.is_dir() else file.name
        whole = f"{key.rstrip('/')}/{name}" if path.is_dir() or key.endswith("/") else key
        client.put_object(Bucket=bucket, Key=whole, Body=file.read_bytes())


def small_job(source: Mapping[str, Any]) -> dict[str, Any]:
    """Return the specification of a job with few stages; its test data come by `arguments`."""
    data = {"uri": "small/data.py", "format": "python", "function": "load"}
    sets = {
        name: {**data, "arguments": {"split": name, **(source if name == "test" else {})}}
        for name in ("train", "test")
    }
    return {
        "engine": "job",
        "placement": {"compute": "gpu-a"},
        "model": {"uri": "small/model"},
        "data": {"task": "classification", **sets},
        "recipe": {"quantize": {"method": "dynamic"}},
        "gates": [{"name": "size", "kind": "size", "max": 10}],
        "allowWeakBaseline": True,  # the model is not trained
        "measure": {"batchSizes": [1], "threads": 1, "pairs": 200},
        "backoffLimit": 1,
        "activeDeadlineSeconds": 600,
    }


def _further_pools(usual: Mapping[str, Any]) -> dict[str, Any]:
    """Pools that each lack something."""
    no_gpu = {key: value for key, value in usual.items() if key != "accelerator_count"}
    return {
        "little-memory": {**no_gpu, "memory": "200Mi"},
        "no-image": {**no_gpu, "image": "localhost/fulcrum-components:missing"},
        "no-gpu": no_gpu,
    }
