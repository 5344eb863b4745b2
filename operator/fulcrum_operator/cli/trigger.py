"""`fulcrum trigger`: starts the job of a schedule now, for this moment or for another slot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fulcrum_operator.cli.cluster_commands import KubeconfigOption, NamespaceOption, work_on
from fulcrum_operator.cli.saying import say

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from fulcrum_operator.cli.cluster_commands import Desk


def trigger(
    schedule: Annotated[str, typer.Argument(metavar="SCHEDULE", help="A CompressionSchedule.")],
    as_of: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="The slot, such as 2026-11-29T02:00; without an offset in the schedule's zone. "
            "By default this minute.",
            show_default=False,
        ),
    ] = "",
    namespace: NamespaceOption = "",
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Create the job of a schedule for one slot, also if the schedule is suspended.

    Dates in its addresses are those of the slot. Its schedule does not start the same slot again.
    Exit codes: 0 created, 1 refused, 2 wrong usage.
    """

    async def work(desk: Desk) -> None:
        from datetime import UTC, datetime

        from fulcrum_operator.cli.refusals import CommandError
        from fulcrum_operator.kubernetes.errors import AlreadyExists
        from fulcrum_operator.resources.names import COMPRESSION_JOB, COMPRESSION_SCHEDULE
        from fulcrum_operator.resources.times import write_time
        from fulcrum_operator.scheduling.children import job_of, name_of
        from fulcrum_operator.scheduling.cron import ScheduleError, parse
        from fulcrum_operator.scheduling.inputs import read_schedule
        from fulcrum_operator.scheduling.placeholders import PlaceholderError
        from fulcrum_pipelines.errors import UserError

        found = read_schedule(await desk.get(COMPRESSION_SCHEDULE, schedule))
        try:
            cron = parse(found.spec.schedule, found.spec.time_zone)
            now = datetime.now(UTC)
            slot = _moment(as_of, cron.zone) if as_of else now.replace(second=0, microsecond=0)
            body = dict(job_of(found, cron, slot))
        except (ScheduleError, PlaceholderError) as error:
            raise UserError(str(error), where=schedule) from error
        name = name_of(schedule, slot)
        try:
            await desk.kube.create(COMPRESSION_JOB, body)
        except AlreadyExists as error:
            message = f"job {name} of slot {write_time(slot)} exists; delete it to run it again"
            raise CommandError(message, where=schedule) from error
        say(f"created CompressionJob {name} for slot {write_time(slot)}")

    work_on(kubeconfig, namespace, work)


def _moment(text: str, zone: ZoneInfo) -> datetime:
    """Return the minute that `text` names.

    Raises:
        UserError: It names none.
    """
    from datetime import UTC, datetime

    from fulcrum_pipelines.errors import UserError

    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        return moment.astimezone(UTC).replace(second=0, microsecond=0)
    except (ValueError, OverflowError) as error:
        message = f"{text!r} is no time; write such as 2026-11-29T02:00 or 2026-11-29T02:00+01:00"
        raise UserError(message, where="--as-of") from error
