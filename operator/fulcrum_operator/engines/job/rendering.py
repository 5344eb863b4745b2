"""Render a Job from a plan and a pool: everything that Kubernetes gets about a run.

Pure, so that the rights and the place of users' code can be read, and tested, in one place. The
pod gets the address of the plan, never its content, and nothing that it does not need: no account's
token, no capability, no file system to write to but its own two volumes.
"""

from __future__ import annotations

from dataclasses import dataclass

from fulcrum_operator.engines.job.naming import (
    JOB,
    JOB_LABEL,
    KEY_ANNOTATION,
    KEY_LABEL,
    MANAGED_BY,
    MANAGER,
    OPERATOR_LABEL,
    PART_LABEL,
    PLAN_ANNOTATION,
    QUEUE_LABEL,
    job_name,
    key_hash,
    label_value,
)
from fulcrum_operator.kubernetes.requests import Object
from fulcrum_operator.resources.names import API_VERSION, COMPRESSION_JOB
from fulcrum_operator.settings import JobEngineSettings
from fulcrum_operator.settings.pools import Pool
from fulcrum_pipelines.compiled import Part
from fulcrum_pipelines.contract import Plan
from fulcrum_pipelines.runner.exit_codes import EXIT_CODES, NO_EVIDENCE

CONTAINER = "pipeline"
COMMAND = ("python", "-m", "fulcrum_pipelines.runner.pod")
SCRATCH = "/scratch"
HOME = "/tmp"
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
"""Libraries size their pools by the machine, and would get the CPU limit's time in slices."""
CPU_UNITS = {"m": 0.001, "k": 1000.0}


@dataclass(frozen=True)
class Order:
    """The work of one Job.

    Attributes:
        plan: Stored already.
        plan_digest: Under which it is.
        part: What of it.
        pool: Where.
        store: URL, as pods reach it.
        operator: Who made it.
    """

    plan: Plan
    plan_digest: str
    part: Part
    pool: Pool
    store: str
    operator: str


def render(order: Order, settings: JobEngineSettings) -> Object:
    """Return the Job of `order`."""
    labels = labels_of(order)
    queue = {QUEUE_LABEL: order.pool.queue} if order.pool.queue else {}
    spec: Object = {
        "parallelism": 1,
        "completions": 1,
        # Kubernetes tries nothing again: the operator does, by the class of the failure.
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": failure_rules()},
        "podReplacementPolicy": "Failed",
        "ttlSecondsAfterFinished": settings.ttl_seconds,
        "suspend": bool(queue),
        "template": {
            "metadata": {"labels": labels, "annotations": _annotations(order)},
            "spec": pod_spec(order, settings),
        },
    }
    if (limit_s := order.plan.spec.active_deadline_seconds) is not None:
        # The operator keeps this time too; it may be away.
        spec["activeDeadlineSeconds"] = limit_s
    return {
        "apiVersion": JOB.api_version,
        "kind": JOB.kind,
        "metadata": {
            "name": job_name(order.plan.run, order.part),
            "namespace": order.plan.namespace,
            "labels": {**labels, **queue},
            "annotations": _annotations(order),
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": COMPRESSION_JOB.kind,
                    "name": order.plan.name,
                    "uid": order.plan.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": spec,
    }


def labels_of(order: Order) -> dict[str, str]:
    """Return the labels of the Job and of its pods."""
    return {
        MANAGED_BY: MANAGER,
        JOB_LABEL: label_value(order.plan.name),
        KEY_LABEL: key_hash(order.plan.run),
        OPERATOR_LABEL: label_value(order.operator),
        PART_LABEL: order.part,
    }


def failure_rules() -> list[Object]:
    """Return the failure policy: what came from outside, then each class of the pod's own.

    All of them end the Job. Which rule it was, and so the class, stays in the Job's condition after
    the pod is gone. No rule matches a pod that was asked to stop: Kubernetes applies rules to pods
    of a suspended Job too, and would end a Job that a queue only sends back.
    """
    disrupted = [{"type": "DisruptionTarget", "status": "True"}]
    codes = sorted({*EXIT_CODES.values(), NO_EVIDENCE} - {EXIT_CODES["infrastructure"]})
    return [
        {"action": "FailJob", "onPodConditions": disrupted},
        *(
            {
                "action": "FailJob",
                "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [code]},
            }
            for code in codes
        ),
    ]


def pod_spec(order: Order, settings: JobEngineSettings) -> Object:
    """Return the pod's specification."""
    pool = order.pool
    optional: Object = {
        "nodeSelector": dict(pool.node_selector),
        "tolerations": [toleration.as_json() for toleration in pool.tolerations],
        "priorityClassName": pool.priority_class,
        "serviceAccountName": settings.service_account,
        "imagePullSecrets": [{"name": name} for name in settings.image_pull_secrets],
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": settings.termination_grace_s,
        "securityContext": {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **{name: value for name, value in optional.items() if value},
        "containers": [_container(order, settings)],
        "volumes": [
            {"name": "scratch", "emptyDir": {"sizeLimit": settings.scratch_size}},
            {"name": "tmp", "emptyDir": {"sizeLimit": settings.tmp_size}},
        ],
    }


def _container(order: Order, settings: JobEngineSettings) -> Object:
    container: Object = {
        "name": CONTAINER,
        "image": order.pool.image or settings.image,
        "command": list(COMMAND),
        "args": ["--plan", order.plan_digest, "--part", order.part, "--work-dir", SCRATCH],
        "env": [{"name": name, "value": value} for name, value in _environment(order).items()],
        "resources": {"requests": resources(order.pool), "limits": resources(order.pool)},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "scratch", "mountPath": SCRATCH},
            {"name": "tmp", "mountPath": HOME},
        ],
    }
    if settings.image_pull_policy:
        container["imagePullPolicy"] = settings.image_pull_policy
    if settings.store_secret:
        container["envFrom"] = [{"secretRef": {"name": settings.store_secret}}]
    return container


def _environment(order: Order) -> dict[str, str]:
    count = str(threads(order.pool.cpu))
    return {
        "FULCRUM_STORE": order.store,
        "HOME": HOME,
        "TMPDIR": SCRATCH,
        # Modules come from the image, and not from where a model's code may write.
        "PYTHONSAFEPATH": "1",
        "PYTHONNOUSERSITE": "1",
        **dict.fromkeys(THREAD_VARIABLES, count),
    }


def resources(pool: Pool) -> dict[str, str]:
    """Return what a pod gets on a node of `pool`, reserved and at most, for steady timings."""
    found = {"cpu": pool.cpu, "memory": pool.memory}
    if pool.accelerator_count:
        found[pool.accelerator] = str(pool.accelerator_count)
    if pool.ephemeral_storage:
        found["ephemeral-storage"] = pool.ephemeral_storage
    return found


def threads(cpu: str) -> int:
    """Return how many threads a CPU limit has room for: whole CPUs, and one at least."""
    number = cpu.rstrip("mkMGTPi")
    return max(1, int(float(number) * CPU_UNITS.get(cpu.removeprefix(number), 1.0)))


def _annotations(order: Order) -> dict[str, str]:
    return {KEY_ANNOTATION: order.plan.run, PLAN_ANNOTATION: order.plan_digest}
