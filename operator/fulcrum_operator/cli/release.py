"""`fulcrum release`: lets promotions of a channel be automatic again after a rollback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fulcrum_operator.cli.cluster_commands import KubeconfigOption, NamespaceOption, work_on
from fulcrum_operator.cli.saying import say

if TYPE_CHECKING:
    from fulcrum_operator.cli.cluster_commands import Desk

REASON = "fulcrum.dev/release-reason"
"""Annotation of the channel."""


def release(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="A ModelChannel.")],
    reason: Annotated[str, typer.Option(help="Reason, kept as an annotation of the channel.")] = "",
    namespace: NamespaceOption = "",
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Release all holds of a channel, so that its promotions may be automatic again."""

    async def work(desk: Desk) -> None:
        from fulcrum_operator.promotion.seen import read_channel
        from fulcrum_operator.resources.names import MODEL_CHANNEL

        body = await desk.get(MODEL_CHANNEL, channel)
        found = read_channel(body)
        if not found.active_holds:
            say(f"{channel} is not held")
            return
        # Names of removed holds are left out, so that the list stays short.
        names = [hold.name for hold in found.status.holds]
        patch: dict[str, Any] = {"spec": {"releasedHolds": names}}
        if reason:
            patch["metadata"] = {"annotations": {REASON: reason}}
        version = body["metadata"]["resourceVersion"]  # a hold that comes now is not released
        await desk.kube.patch(
            MODEL_CHANNEL, channel, desk.namespace, patch, resource_version=version
        )
        say(f"released {', '.join(hold.name for hold in found.active_holds)}")

    work_on(kubeconfig, namespace, work)
