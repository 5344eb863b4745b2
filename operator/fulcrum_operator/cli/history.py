"""`fulcrum history`: how a channel came to hold what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fulcrum_operator.cli.cluster_commands import KubeconfigOption, NamespaceOption, work_on
from fulcrum_operator.cli.run import OutputFormat
from fulcrum_operator.cli.saying import say, say_json

if TYPE_CHECKING:
    from fulcrum_operator.cli.cluster_commands import Desk
    from fulcrum_operator.promotion.seen import Channel

HEADS = ("TIME", "KIND", "FROM", "TO", "VERDICT", "JOB OR RUN", "BY", "APPROVED BY", "REASON")


def history(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="A ModelChannel.")],
    output: Annotated[OutputFormat, typer.Option(help="Format of the answer.")] = OutputFormat.TEXT,
    namespace: NamespaceOption = "",
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Show the moves of a channel, the newest last, and its holds."""

    async def work(desk: Desk) -> dict[str, Any]:
        from fulcrum_operator.resources.names import MODEL_CHANNEL

        return await desk.get(MODEL_CHANNEL, channel)

    from fulcrum_operator.promotion.seen import read_channel

    found = read_channel(work_on(kubeconfig, namespace, work))
    if output is OutputFormat.JSON:
        import json

        fields = {"current", "history", "holds", "moves"}
        status = found.status.model_dump(mode="json", by_alias=True, include=fields)
        say_json(json.dumps({"channel": found.name, **status}, indent=1, ensure_ascii=False))
        return
    for line in lines(found):
        say(line)


def lines(channel: Channel) -> list[str]:
    """Return the history as a table, and what is not in it: older moves, and active holds."""
    from fulcrum_operator.promotion.seen import short

    rows: list[tuple[str, ...]] = [HEADS]
    for move in channel.status.history:
        digests = short(move.from_) or "-", short(move.to)
        rest = (move.verdict, move.job or move.run, move.by, move.approved_by, move.reason)
        rows.append((move.time, move.kind, *digests, *(each or "-" for each in rest)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    older = channel.status.moves - len(channel.status.history)
    if older > 0:
        table.append(f"{older} older moves are no longer kept (spec.historyLimit)")
    table += [
        f"held since {hold.since} by {hold.by}, {hold.name}: {hold.reason or 'no reason given'}"
        for hold in channel.active_holds
    ]
    return table
