"""`fulcrum approve`: a person decides what the gates, or a channel, left to people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fulcrum_operator.cli.cluster_commands import (
    DEFAULT_WAIT_S,
    KubeconfigOption,
    NamespaceOption,
    ReasonOption,
    WaitOption,
    approval,
    work_on,
)
from fulcrum_operator.cli.promote import ChannelOption, promotion_of
from fulcrum_operator.cli.saying import say

if TYPE_CHECKING:
    from fulcrum_operator.cli.cluster_commands import Desk


def approve(
    name: Annotated[
        str,
        typer.Argument(help="A waiting ModelPromotion, or an inconclusive CompressionJob."),
    ],
    channel: ChannelOption = "",
    reason: ReasonOption = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    wait: WaitOption = DEFAULT_WAIT_S,
    namespace: NamespaceOption = "",
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Approve a promotion that waits for it, or the model of an inconclusive job.

    Shows the verdict and asks first. Your name goes into the channel's history. Exit codes: 0
    moved, 1 refused, 2 wrong usage.
    """

    async def work(desk: Desk) -> None:
        from fulcrum_operator.kubernetes.errors import NotFound
        from fulcrum_operator.resources.names import COMPRESSION_JOB, MODEL_PROMOTION

        try:
            promotion = await desk.kube.get(MODEL_PROMOTION, name, desk.namespace)
        except NotFound:
            job = await desk.get(COMPRESSION_JOB, name)
            waiting = _waiting_promotion(job)
            if not waiting:
                made = await _approve_job(desk, job, channel, reason, yes)
                await desk.report(made, wait, past_approval=True)
                return
            promotion = await desk.get(MODEL_PROMOTION, waiting)
        made = await _approve_promotion(desk, promotion, reason, yes)
        await desk.report(made, wait, past_approval=True)

    work_on(kubeconfig, namespace, work)


def _waiting_promotion(job: dict[str, Any]) -> str:
    """Return the name of the promotion through which `job` waits for approval, if there is one."""
    promotion = (job.get("status") or {}).get("promotion") or {}
    return promotion["name"] if promotion.get("phase") == "AwaitingApproval" else ""


async def _approve_promotion(desk: Desk, promotion: dict[str, Any], reason: str, yes: bool) -> str:
    from fulcrum_operator.cli.refusals import CommandError
    from fulcrum_operator.resources.names import COMPRESSION_JOB, MODEL_PROMOTION

    name, spec = promotion["metadata"]["name"], promotion["spec"]
    status = promotion.get("status") or {}
    if status.get("phase") in ("Promoted", "Refused"):
        raise CommandError(f"is {status['phase']} already: {status.get('message')}", where=name)
    if "approval" in spec:
        raise CommandError(f"was approved by {spec['approval']['by']} already", where=name)
    say(
        f"{spec['kind']} {name} of channel {spec['channel']} to {spec['to']['digest']}, "
        f"asked by {spec['requestedBy']}: {spec.get('reason') or 'no reason given'}"
    )
    say(status.get("message") or "not looked at by the operator yet")
    if "job" in spec:
        _show(await desk.get(COMPRESSION_JOB, spec["job"]["name"]))
    _ask(f"Approve promotion {name}?", yes)
    patch = {"spec": {"approval": approval(await desk.kube.whoami(), reason)}}
    version = promotion["metadata"]["resourceVersion"]  # approve exactly the version that was shown
    await desk.kube.patch(MODEL_PROMOTION, name, desk.namespace, patch, resource_version=version)
    return str(name)


async def _approve_job(
    desk: Desk, job: dict[str, Any], channel: str, reason: str, yes: bool
) -> str:
    from fulcrum_operator.cli.refusals import CommandError

    name, verdict = job["metadata"]["name"], (job.get("status") or {}).get("verdict")
    if verdict == "Pass":
        message = f"CompressionJob {name} passed and needs no approval: fulcrum promote {name}"
        raise CommandError(message)
    if verdict in ("Fail", "Anomalous"):
        raise CommandError(f"CompressionJob {name} is {verdict}; no approval overrules that")
    spec = await promotion_of(desk, job, channel)
    _show(job)
    _ask(f"Move channel {spec['channel']} to the model of {name}?", yes)
    made = await desk.request(name, spec, reason=reason, approve=True)
    say(f"created ModelPromotion {made['metadata']['name']}")
    return str(made["metadata"]["name"])


def _show(job: dict[str, Any]) -> None:
    """Print what the gates say of what `job` made."""
    status = job.get("status") or {}
    say(f"CompressionJob {job['metadata']['name']}: {status.get('verdict')}")
    for gate in status.get("gates") or ():
        dry = " (dry run)" if gate.get("mode") == "DryRun" else ""
        say(f"  {gate['verdict']} {gate['name']}{dry}: {gate.get('reason', '')}")


def _ask(question: str, yes: bool) -> None:
    if not yes:
        typer.confirm(question, abort=True)
