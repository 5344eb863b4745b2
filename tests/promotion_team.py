"""A namespace of a real API server in which people promote, with jobs that have ended."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from builders.plans import make_plan
from cluster.control_plane import ControlPlane
from cluster.kubectl import Kubectl, KubectlError
from manifest_tables.job import GOOD
from stored_runs import GATES, PLAN, Outcome, StoredRun, evidence_path, store_run

from fulcrum_operator.cli.main import main
from fulcrum_operator.controllers.promotion_reconciler import PromotionReconciler
from fulcrum_operator.kubernetes.api import Kube, connect
from fulcrum_operator.kubernetes.events import Events
from fulcrum_operator.kubernetes.finding import load_credentials
from fulcrum_operator.kubernetes.object_cache import Objects, key_of
from fulcrum_operator.resources.names import (
    COMPRESSION_JOB,
    CONFIG_MAP,
    MODEL_CHANNEL,
    MODEL_PROMOTION,
    OPERATOR_NAME,
    OPERATOR_NAMESPACE,
    SNAPSHOT_KEY,
    Kind,
)
from fulcrum_pipelines.contract import canonical_json, digest_of
from fulcrum_pipelines.storage.store import Store, object_path

T = TypeVar("T")
ROLES = {
    "ann": ("fulcrum-view", "fulcrum-promoter"),
    "eve": ("fulcrum-view", "fulcrum-promoter", "fulcrum-approver"),
    "bob": ("fulcrum-view", "fulcrum-edit"),
    "kim": ("fulcrum-view",),
    "ada": ("fulcrum-view", "fulcrum-edit", "fulcrum-admin"),
}
RIGHTS_WITHIN_S = 30.0


@dataclass
class Team:
    """The namespace, and what is done there.

    Attributes:
        plane: The API server.
        namespace: The team's.
        store: On disk.
        decided: The operator's decisions, as its metrics receive them.
        probed: The effects that it had.
    """

    plane: ControlPlane
    namespace: str
    store: Store
    decided: list[tuple[str, str]] = field(default_factory=list)
    probed: list[str] = field(default_factory=list)

    # --- people

    @property
    def kubectl(self) -> Kubectl:
        """As the administrator."""
        return self.plane.kubectl

    def kubeconfig(self, user: str) -> Path:
        """Return the credentials of one of `ROLES`, with the team's namespace."""
        path = self.plane.kubeconfig_for(user)
        content = yaml.safe_load(path.read_text())
        content["contexts"][0]["context"]["namespace"] = self.namespace
        own = path.with_name(f"{user}-{self.namespace}")
        own.write_text(yaml.safe_dump(content))
        return own

    def as_user(self, user: str) -> Kubectl:
        """Return kubectl as one of `ROLES`."""
        return Kubectl(self.plane.binaries.kubectl, self.kubeconfig(user))

    def grant(self) -> None:
        """Bind the roles of all users, and wait until the API server knows of them."""
        bindings = [
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": f"{user}-{role}", "namespace": self.namespace},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": role,
                },
                "subjects": [
                    {"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
                ],
            }
            for user, roles in ROLES.items()
            for role in roles
        ]
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(bindings))
        words = ("auth", "can-i", f"--namespace={self.namespace}")
        for user, *asked in (
            ("ann", "promote", "modelchannels/production"),
            ("eve", "approve", "modelchannels/production"),
            ("bob", "create", "modelpromotions"),
            ("ada", "patch", "modelchannels"),
        ):
            eventually(lambda user=user, asked=asked: self.kubectl(*words, f"--as={user}", *asked))
        eventually(self._policies_hold)

    def _policies_hold(self) -> None:
        probe = {
            "apiVersion": "fulcrum.dev/v1alpha1",
            "kind": "ModelPromotion",
            "metadata": {"name": "probe", "namespace": self.namespace},
            "spec": {
                "channel": "production",
                "kind": "Rollback",
                "from": "",
                "requestedBy": "bob",
                "to": {"digest": PLAN, "uri": "u"},
            },
        }
        try:
            words = ("create", "--dry-run=server", "--as=bob", "-f", "-")
            self.kubectl(*words, stdin=json.dumps(probe))
        except KubectlError as error:
            if "denied request" in str(error):
                return
            raise
        raise KubectlError("the admission policies are not in force yet")

    def fulcrum(self, user: str, *words: str, answer: str = "") -> tuple[int, str, str]:
        """Return exit code, output and errors of the command as one of `ROLES`.

        Args:
            user: Who.
            words: Of the command.
            answer: What they type when asked.
        """
        return run_command(*words, "--kubeconfig", str(self.kubeconfig(user)), answer=answer)

    # --- objects

    def apply(self, *manifests: dict[str, Any]) -> None:
        """Create or change objects as the administrator."""
        documents = yaml.safe_dump_all(manifests)
        self.kubectl("apply", f"--namespace={self.namespace}", "-f", "-", stdin=documents)

    def channel(self, name: str = "production", **spec: Any) -> None:
        """Make or change a channel."""
        self.apply(
            {
                "apiVersion": "fulcrum.dev/v1alpha1",
                "kind": "ModelChannel",
                "metadata": {"name": name},
                "spec": spec,
            }
        )

    def get(self, kind: Kind, name: str) -> dict[str, Any]:
        """Return an object."""
        words = (f"--namespace={self.namespace}", "--output=json")
        found: dict[str, Any] = json.loads(self.kubectl("get", kind.plural, name, *words))
        return found

    def status(self, name: str = "production") -> dict[str, Any]:
        """Return the status of a channel."""
        found: dict[str, Any] = self.get(MODEL_CHANNEL, name).get("status", {})
        return found

    def promotions(self) -> list[dict[str, Any]]:
        """Return all promotions, the oldest first."""
        words = (f"--namespace={self.namespace}", "--output=json")
        found = json.loads(self.kubectl("get", MODEL_PROMOTION.plural, *words))["items"]
        return sorted(found, key=lambda each: str(each["metadata"]["creationTimestamp"]))

    def ended_job(self, name: str, outcome: Outcome = "Pass", channel: str = "production") -> str:
        """Make a job that ran and was judged; return the digest of its candidate."""
        spec = {**GOOD["spec"], "promotion": {"channel": channel, "mode": "Automatic"}}
        self.apply({**GOOD, "metadata": {"name": name}, "spec": spec})
        job = self.get(COMPRESSION_JOB, name)
        run = f"{name}-{job['metadata']['uid'][:12]}-1"
        stored = store_run(self.store, run, outcome, content=f"model of {name}".encode())
        return self.as_operator(lambda kube: self._end(kube, job, stored, outcome))

    def ended_run(self, occurrence: str, outcome: Outcome = "Pass", namespace: str = "") -> str:
        """Leave a run that no job owns in the store; return its key."""
        changes = {"occurrence": occurrence, "namespace": namespace or self.namespace}
        gates = [gate.model_dump(mode="json", exclude_unset=True) for gate in GATES]
        plan = make_plan(gates=gates).model_copy(update=changes)
        digest = self.store.put_record(plan)
        store_run(self.store, plan.run, outcome, f"model of {plan.run}".encode(), digest)
        return plan.run

    async def _end(
        self, kube: Kube, job: dict[str, Any], stored: StoredRun, outcome: Outcome
    ) -> str:
        metadata = job["metadata"]
        snapshot = f"{metadata['name']}-{metadata['uid'][:8]}"
        content = canonical_json(job["spec"]).decode()
        await kube.create(
            CONFIG_MAP,
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "immutable": True,
                "metadata": {"name": snapshot, "namespace": self.namespace},
                "data": {SNAPSHOT_KEY: content, "sources.json": "{}"},
            },
        )
        status = {
            "phase": "Inconclusive" if outcome == "Inconclusive" else "Promoting",
            "snapshot": {"name": snapshot, "digest": digest_of(content.encode())},
            "run": {"key": stored.run, "plan": PLAN, "engine": "process"},
            "verdict": outcome,
            "gates": [
                {
                    "name": "acc",
                    "kind": "nonInferiority",
                    "mode": "Enforce",
                    "verdict": outcome,
                    "reason": f"it is {outcome}",
                }
            ],
            "evidence": {
                "uri": self.store.locate(evidence_path(stored.run)),
                "digest": stored.digest,
            },
            "candidate": {
                "digest": stored.candidate,
                "uri": self.store.locate(object_path(stored.candidate)),
                "sizeBytes": 9,
            },
        }
        patch = {"status": status}
        name = metadata["name"]
        await kube.patch(COMPRESSION_JOB, name, self.namespace, patch, subresource="status")
        return stored.candidate

    def automatic(self, job: str, from_: str | None = None) -> str:
        """Ask as the operator does for a job that passed; return the promotion's name."""
        if from_ is None:
            from_ = (self.status().get("current") or {}).get("digest", "")
        body = self.get(COMPRESSION_JOB, job)
        metadata, status = body["metadata"], body["status"]
        name = f"{job}-{metadata['uid'][:8]}"
        spec = {
            "channel": "production",
            "kind": "Promotion",
            "automatic": True,
            "from": from_,
            "to": {each: status["candidate"][each] for each in ("digest", "uri")},
            "job": {"name": job, "uid": metadata["uid"]},
            "evidence": {"run": status["run"]["key"], "digest": status["evidence"]["digest"]},
            "reason": f"CompressionJob {job} passed its gates",
        }

        async def create(kube: Kube) -> None:
            body = {
                "apiVersion": "fulcrum.dev/v1alpha1",
                "kind": "ModelPromotion",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {**spec, "requestedBy": await kube.whoami()},
            }
            await kube.create(MODEL_PROMOTION, body)

        self.as_operator(create)
        return name

    # --- the operator

    def as_operator(self, work: Callable[[Kube], Coroutine[Any, Any, T]]) -> T:
        """Return what `work` returns with the operator's own rights."""
        path = self.plane.token_kubeconfig(OPERATOR_NAMESPACE, OPERATOR_NAME)

        async def go() -> T:
            async with connect(load_credentials(path)) as kube:
                return await work(kube)

        return asyncio.run(go())

    def reconciler(
        self, kube: Kube, probe: Callable[[str], None] | None = None
    ) -> PromotionReconciler:
        """Return a reconciler that has just started, so that it remembers nothing."""
        return PromotionReconciler(
            kube=kube,
            store=self.store,
            channels=Objects(MODEL_CHANNEL),
            promotions=Objects(MODEL_PROMOTION),
            events=Events(kube, "test"),
            decided=lambda kind, phase: self.decided.append((kind, phase)),
            probe=probe or self.probed.append,
        )

    async def look(self, kube: Kube, probe: Callable[[str], None] | None = None) -> None:
        """Look at every channel and promotion once, as after a start."""
        reconciler = self.reconciler(kube, probe)
        async for body in kube.list(MODEL_CHANNEL, self.namespace):
            reconciler.channels.learn(body)
        async for body in kube.list(MODEL_PROMOTION, self.namespace):
            reconciler.promotions.learn(body)
        for body in reconciler.channels:
            await reconciler.reconcile_channel(key_of(body))
        for body in reconciler.promotions:
            while await reconciler.reconcile(key_of(body)) is not None:
                pass

    def reconcile(self) -> None:
        """Let the operator look at everything once."""
        self.as_operator(self.look)


def run_command(*words: str, answer: str = "") -> tuple[int, str, str]:
    """Return exit code, output and errors of the command.

    Args:
        words: Of the command.
        answer: What a person types when asked.
    """
    out, err, before = io.StringIO(), io.StringIO(), (sys.argv, sys.stdin)
    sys.argv = ["fulcrum", *words]
    sys.stdin = io.StringIO(answer)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.argv, sys.stdin = before
    assert isinstance(code, int)
    return code, out.getvalue(), err.getvalue()


def eventually(read: Callable[[], Any]) -> None:
    """Wait until kubectl succeeds; the API server learns of roles and policies by watches."""
    until_s = time.monotonic() + RIGHTS_WITHIN_S
    while True:
        try:
            read()
        except KubectlError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.1)
        else:
            return
