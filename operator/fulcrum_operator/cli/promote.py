"""`fulcrum promote`: asks that a channel moves to the model of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fulcrum_operator.cli.cluster import (
    DEFAULT_WAIT_S,
    ApproveOption,
    KubeconfigOption,
    NamespaceOption,
    ReasonOption,
    WaitOption,
    work_on,
)

if TYPE_CHECKING:
    from fulcrum_operator.cli.cluster import Desk

ChannelOption = Annotated[
    str,
    typer.Option(help="Channel; by default that of the job's spec.promotion.", show_default=False),
]


def promote(
    job: Annotated[str, typer.Argument(metavar="JOB", help="A CompressionJob with a verdict.")],
    channel: ChannelOption = "",
    reason: ReasonOption = "",
    approve: ApproveOption = False,
    wait: WaitOption = DEFAULT_WAIT_S,
    namespace: NamespaceOption = "",
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Request that a channel moves to the model of a job.

    Exit codes: 0 moved or waiting for approval, 1 refused, 2 wrong usage.
    """

    async def work(desk: Desk) -> None:
        from fulcrum_operator.resources.names import COMPRESSION_JOB

        spec = await promotion_of(desk, await desk.get(COMPRESSION_JOB, job), channel)
        made = await desk.request(job, spec, reason=reason, approve=approve)
        typer.echo(f"created ModelPromotion {made['metadata']['name']}")
        await desk.report(made["metadata"]["name"], wait)

    work_on(kubeconfig, namespace, work)


async def promotion_of(desk: Desk, job: dict[str, Any], channel: str) -> dict[str, Any]:
    """Return the specification of a promotion of what `job` made.

    Args:
        desk: Where the channel is looked up.
        job: A CompressionJob.
        channel: Its name; by default that of the job's own promotion.

    Raises:
        CommandError: The job has nothing that could be promoted.
        UserError: No channel is named.
    """
    from fulcrum_operator.cli.refusals import CommandError
    from fulcrum_operator.resources.names import MODEL_CHANNEL
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
    found = await desk.get(MODEL_CHANNEL, channel)
    current = (found.get("status") or {}).get("current") or {}
    return {
        "channel": channel,
        "from": current.get("digest", ""),
        "to": {"digest": status["candidate"]["digest"], "uri": status["candidate"]["uri"]},
        "job": {"name": name, "uid": job["metadata"]["uid"]},
        "evidence": {"run": status["run"]["key"], "digest": status["evidence"]["digest"]},
    }
