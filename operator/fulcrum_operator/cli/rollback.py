"""`fulcrum rollback`: asks that a channel goes back to a model that it held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

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
    from fulcrum_operator.resources.modelchannel import ModelChannelStatus, Move


def rollback(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="A ModelChannel.")],
    to: Annotated[
        str,
        typer.Option(help="Digest in the history, or its first characters.", show_default=False),
    ] = "",
    steps: Annotated[int, typer.Option(min=1, help="Number of models to go back.")] = 1,
    reason: ReasonOption = "",
    approve: ApproveOption = False,
    wait: WaitOption = DEFAULT_WAIT_S,
    namespace: NamespaceOption = "",
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Go back to a model that the channel held, and hold automatic promotions.

    Exit codes: 0 moved or waiting for approval, 1 refused, 2 wrong usage.
    """

    async def work(desk: Desk) -> None:
        from fulcrum_operator.promotion.seen import read_channel
        from fulcrum_operator.resources.names import MODEL_CHANNEL

        found = read_channel(await desk.get(MODEL_CHANNEL, channel))
        target = choose(found.status, to, steps)
        spec = {
            "channel": channel,
            "kind": "Rollback",
            "from": found.digest,
            "to": {"digest": target.to, "uri": target.uri},
        }
        made = await desk.request(f"{channel}-rollback", spec, reason=reason, approve=approve)
        say(f"created ModelPromotion {made['metadata']['name']}, back to {target.to}")
        await desk.report(made["metadata"]["name"], wait)

    work_on(kubeconfig, namespace, work)


def choose(status: ModelChannelStatus, to: str, steps: int) -> Move:
    """Return the move that put there what to go back to.

    Args:
        status: Of the channel.
        to: The beginning of a digest, with or without `sha256:`; empty to count steps.
        steps: How many models back; a rollback's own model counts as never left.

    Raises:
        CommandError: The history has no such model, or several.
    """
    from fulcrum_operator.cli.refusals import CommandError

    if not to:
        line = lineage(status.history)
        if len(line) <= steps:
            message = f"the history has {max(len(line) - 1, 0)} models to go back to, not {steps}"
            raise CommandError(message)
        return line[-1 - steps]
    wanted = to.removeprefix("sha256:")
    moves = {move.to: move for move in status.history}
    found = [digest for digest in moves if digest.removeprefix("sha256:").startswith(wanted)]
    if len(found) != 1:
        count = "no model" if not found else f"{len(found)} models"
        raise CommandError(f"the history has {count} whose digest begins with {to}")
    return moves[found[0]]


def lineage(history: tuple[Move, ...]) -> list[Move]:
    """Return the moves that led to the current model, the oldest first, without what was undone.

    So that two rollbacks go back twice, and do not return to what the first one left.
    """
    line: list[Move] = []
    for move in history:
        places = [place for place, each in enumerate(line) if each.to == move.to]
        if move.kind == "Rollback" and places:
            del line[places[-1] + 1 :]
        else:
            line.append(move)
    return line
