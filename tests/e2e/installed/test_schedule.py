"""A schedule starts jobs on nodes: at its slots, and by hand with the dates of another slot."""

from __future__ import annotations

from installation import JOB_S, TEAM, Installation, small_job
from operators import wait_until

MINUTE_S = 90.0


def test_schedule_runs_a_slot_and_one_by_hand(fulcrum: Installation, name: str) -> None:
    schedule = name[:39].rstrip("-")
    spec = {"schedule": "* * * * *", "jobTemplate": {"spec": small_job({})}}
    fulcrum.jobs.create("CompressionSchedule", schedule, spec)

    def last() -> dict[str, str]:
        found: dict[str, str] = (
            fulcrum.jobs.status(schedule, "CompressionSchedule").get("lastSlot") or {}
        )
        return found

    wait_until(lambda: last().get("outcome") == "Started", MINUTE_S, lambda: str(last()))
    job = last()["job"]
    fulcrum.jobs.patch(schedule, {"suspend": True}, "CompressionSchedule")
    assert fulcrum.jobs.ended(job, JOB_S)["phase"] == "Succeeded"

    said = fulcrum.run(f".venv/bin/fulcrum trigger {schedule} -n {TEAM} --as-of 2026-11-29T02:00")
    by_hand = f"{schedule}-202611290200"
    assert said == f"created CompressionJob {by_hand} for slot 2026-11-29T02:00:00Z\n"
    assert fulcrum.jobs.ended(by_hand, JOB_S)["phase"] == "Succeeded"
    kubectl = fulcrum.cluster.kubectl
    kubectl("delete", "compressionschedule", schedule, f"-n={TEAM}", "--timeout=60s")
    wait_until(lambda: not {job, by_hand} & set(fulcrum.jobs.names()), MINUTE_S)
