"""`fulcrum promote`: asks that a channel moves to the model of a job, or of a run without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fulcrum_operator.cli.cluster_commands import (
    DEFAULT_WAIT_S,
    ApproveOption,
    KubeconfigOption,
    NamespaceOption,
    ReasonOption,
    WaitOption,
    work_on,
)
from fulcrum_operator.cli.saying import say

if TYPE_CHECKING:
    from fulcrum_operator.cli.cluster_commands import Desk

ChannelOption = Annotated[
    str,
    typer.Option(help="Channel; by default that of the job's spec.promotion.", show_default=False),
]


def promote(
    job: Annotated[
        str, typer.Argument(metavar="[JOB]", help="A CompressionJob with a verdict.")
    ] = "",
    channel: ChannelOption = "",
    run: Annotated[
        str, typer.Option(help="Instead of JOB: the key of a run that no job owns.")
    ] = "",
    store: Annotated[str, typer.Option(help="Directory or URL of the store that has RUN.")] = "",
    reason: ReasonOption = "",
    approve: ApproveOption = False,
    wait: WaitOption = DEFAULT_WAIT_S,
    namespace: NamespaceOption = "",
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Request that a channel moves to the model of a job, or of a run that no job owns.

    Exit codes: 0 moved or waiting for approval, 1 refused, 2 wrong usage.
    """
    from fulcrum_pipelines.errors import UserError

    if bool(job) == bool(run) or bool(run) != bool(store):
        raise UserError("give JOB, or --run and --store")
    if run and not channel:
        raise UserError("a run names no channel: give one with --channel")
    made = made_by_run(run, store) if run else None

    async def work(desk: Desk) -> None:
        from fulcrum_operator.resources.names import COMPRESSION_JOB

        if made is None:
            spec = await promotion_of(desk, await desk.get(COMPRESSION_JOB, job), channel)
        else:
            spec = {"channel": channel, "from": await _held(desk, channel), **made}
        created = await desk.request(job or run, spec, reason=reason, approve=approve)
        say(f"created ModelPromotion {created['metadata']['name']}")
        await desk.report(created["metadata"]["name"], wait)

    work_on(kubeconfig, namespace, work)


def made_by_run(run: str, store: str) -> dict[str, Any]:
    """Return what a promotion says of a run that no job owns: its model and its evidence.

    Args:
        run: Its key.
        store: Directory or URL of the store.

    Raises:
        CommandError: The gates of its plan fail.
        FulcrumError: The store has no whole evidence of it, or does not answer.
    """
    from fulcrum_operator.cli.refusals import CommandError
    from fulcrum_pipelines.errors import UserError
    from fulcrum_pipelines.gates import decide
    from fulcrum_pipelines.storage.store import Store, object_path

    there = Store(store)
    evidence = there.evidence(run)
    if evidence is None:
        raise UserError(f"there is no evidence of run {run}", where=there.url)
    verdict = decide(evidence, there.plan(evidence.plan).spec.gates)
    validate = evidence.stage("validate")
    passed = verdict.outcome in ("Pass", "Inconclusive")
    if not passed or validate is None or validate.details.kind != "validate":
        message = (
            f"run {run} has verdict {verdict.outcome}; only Pass, or Inconclusive with approval, "
            "moves"
        )
        raise CommandError(message)
    digest = validate.details.candidate_model
    return {
        "to": {"digest": digest, "uri": there.locate(object_path(digest))},
        "evidence": {"run": run, "digest": verdict.evidence, "plan": evidence.plan},
    }


async def _held(desk: Desk, channel: str) -> str:
    """Return the digest that a channel holds, empty if none."""
    from fulcrum_operator.resources.names import MODEL_CHANNEL

    status = (await desk.get(MODEL_CHANNEL, channel)).get("status") or {}
    digest: str = (status.get("current") or {}).get("digest", "")
    return digest


async def promotion_of(desk: Desk, job: dict[str, Any], channel: str) -> dict[str, Any]:
    """Return the specification of a promotion of what `job` made.

    Args:
        desk: The cluster and namespace of the channel.
        job: A CompressionJob.
        channel: Its name; by default that of the job's own promotion.

    Raises:
        CommandError: The job has nothing that could be promoted.
        UserError: No channel is named.
    """
    from fulcrum_operator.cli.refusals import CommandError
    from fulcrum_pipelines.errors import UserError

    name, status = job["metadata"]["name"], job.get("status") or {}
    verdict = status.get("verdict")
    if verdict not in ("Pass", "Inconclusive"):
        has = f"verdict {verdict}" if verdict else f"no verdict yet ({status.get('phase')})"
        message = (
            f"CompressionJob {name} has {has}; only Pass, or Inconclusive with approval, moves"
        )
        raise CommandError(message)
    channel = channel or (job["spec"].get("promotion") or {}).get("channel", "")
    if not channel:
        raise UserError(f"CompressionJob {name} names no channel: give one with --channel")
    return {
        "channel": channel,
        "from": await _held(desk, channel),
        "to": {"digest": status["candidate"]["digest"], "uri": status["candidate"]["uri"]},
        "job": {"name": name, "uid": job["metadata"]["uid"]},
        "evidence": {"run": status["run"]["key"], "digest": status["evidence"]["digest"]},
    }
