"""A schedule on a real API server: one job for each slot, also if the operator dies at it."""

from __future__ import annotations

import json
from typing import Any

from builders.plans import make_spec
from operator_site import Site
from operators import OperatorProcess, wait_until
from typer.testing import CliRunner

from fulcrum_operator.cli.main import app

MINUTE_S = 75.0
NAMES = ("succeed.one", "succeed.two")


def create(site: Site, name: str, schedule: str, **spec: Any) -> None:
    """Create a schedule; the names of its jobs say how the stand-in behaves, up to a dot."""
    job = make_spec().model_dump(mode="json", by_alias=True, exclude_unset=True)
    fields = {"schedule": schedule, "jobTemplate": {"spec": job}, **spec}
    site.jobs.create("CompressionSchedule", name, fields)


def jobs_of(site: Site, name: str) -> list[dict[str, Any]]:
    labelled = [
        job
        for job in site.jobs.items()
        if (job["metadata"].get("labels") or {}).get("fulcrum.dev/schedule") == name
    ]
    return sorted(labelled, key=lambda job: job["metadata"]["name"])


def succeeded(site: Site, name: str) -> None:
    """Wait until a schedule knows of a job that succeeded."""
    wait_until(
        lambda: "lastSuccess" in site.jobs.status(name, "CompressionSchedule"),
        MINUTE_S,
        lambda: json.dumps(site.jobs.get(name, "CompressionSchedule"), indent=1),
    )


def test_operator_is_killed_after_each_effect_of_a_slot(
    site: Site, operator: OperatorProcess
) -> None:
    """Two slots go by; each effect of the first ends a process, which is started again."""
    operator.order("KILL", "schedule-job")
    for name in NAMES:
        create(site, name, "* * * * *", concurrencyPolicy="Allow")
    operator.wait_for_kill(MINUTE_S)
    operator.order("KILL", "schedule-status")
    operator.start(ready=False)
    operator.wait_for_kill(MINUTE_S)
    operator.start()
    for name in NAMES:
        wait_until(
            lambda name=name: site.jobs.status(name, "CompressionSchedule").get("lastSuccess"),
            MINUTE_S,
        )
        site.jobs.patch(name, {"suspend": True}, "CompressionSchedule")
        jobs = jobs_of(site, name)
        slots = [job["metadata"]["annotations"]["fulcrum.dev/slot"] for job in jobs]
        assert len(slots) == len(set(slots))
        started = [
            message
            for reason, message in site.jobs.events(name, "CompressionSchedule")
            if reason == "SlotStarted"
        ]
        assert len(started) == len(slots)
        status = site.jobs.status(name, "CompressionSchedule")
        assert status["lastSlot"]["outcome"] == "Started"
        uid = site.jobs.get(name, "CompressionSchedule")["metadata"]["uid"]
        assert {job["metadata"]["ownerReferences"][0]["uid"] for job in jobs} == {uid}


def test_a_slot_is_started_by_hand(site: Site, operator: OperatorProcess) -> None:
    name = "succeed.hand"
    create(site, name, "0 2 * * *", suspend=True, timeZone="Europe/Berlin")
    kubeconfig = str(site.plane.kubectl.kubeconfig)
    where = ["--namespace", site.namespace, "--kubeconfig", kubeconfig]
    command = ["trigger", name, "--as-of", "2026-11-29T02:00", *where]
    said = CliRunner().invoke(app, command)
    assert (said.exit_code, said.output) == (
        0,
        f"created CompressionJob {name}-202611290100 for slot 2026-11-29T01:00:00Z\n",
    )
    site.jobs.ended(f"{name}-202611290100")
    succeeded(site, name)
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 1
    assert "exists; delete it" in str(again.exception)


def test_quota_of_the_cluster_is_named(site: Site, operator: OperatorProcess) -> None:
    """The API server's own words reach the schedule's status, and the slot waits."""
    quota = {"hard": {"count/compressionjobs.fulcrum.dev": "0"}}
    body = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": site.namespace},
        "spec": quota,
    }
    site.plane.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    words = ("patch", "resourcequota", "none", "-n", site.namespace, "--subresource=status")
    full = {"status": {**quota, "used": {"count/compressionjobs.fulcrum.dev": "0"}}}
    site.plane.kubectl(*words, "--type=merge", "-p", json.dumps(full))
    name = "succeed.quota"
    create(site, name, "* * * * *")

    def condition() -> str:
        conditions = site.jobs.status(name, "CompressionSchedule").get("conditions") or ()
        return " ".join(each["message"] for each in conditions if each["reason"] == "JobRefused")

    wait_until(lambda: "exceeded quota" in condition(), MINUTE_S)
    site.plane.kubectl("delete", "resourcequota", "none", "-n", site.namespace)
    site.jobs.patch(name, {"suspend": True}, "CompressionSchedule")
    assert jobs_of(site, name) == []
